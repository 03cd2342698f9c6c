"""Text from a pipe while it is still being written."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from voxkit.errors import TextError

_PIECE_BYTES = 2**16  # as much as a pipe holds


def arriving_text(stream: BinaryIO) -> Iterator[str]:
    """Yield UTF-8 text as it comes, whatever characters its pieces of bytes are cut in.

    Waits for the writer without working.  Raises `TextError` at the first byte that is no text.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    seen = 0
    while True:
        data = stream.read1(_PIECE_BYTES)  # type: ignore[attr-defined]
        start = seen - len(decoder.getstate()[0])  # of what is decoded now
        try:
            piece = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise TextError(
                f"Standard input is not UTF-8 text (byte {start + error.start}): save it as UTF-8."
            ) from None
        seen += len(data)
        if piece:
            yield piece
        if not data:
            return
