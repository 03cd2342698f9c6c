"""Text from a pipe while it is still being written."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from voxkit.errors import TextError

_PIECE_BYTES = 2**16  # as much as a pipe holds
_MOST_BYTES = 2**24  # of text that is taken whole


def from_pipe(words: Sequence[str] | None, input_file: Path | None) -> BinaryIO | None:
    """Return the pipe that the text comes from; None if it comes from elsewhere."""
    source = words[0] if words else None if input_file is None else str(input_file)
    if source not in (None, "-") or sys.stdin is None or (source is None and sys.stdin.isatty()):
        return None
    try:
        sys.stdin.fileno()
    except io.UnsupportedOperation:
        return None  # nobody is writing to it
    return None if sys.platform == "win32" else sys.stdin.buffer  # select() needs a socket there


class ArrivingText(Iterator[str]):
    """UTF-8 text as it comes, whatever its bytes are cut in.

    Whoever waits for the writer does no work.  Raises `TextError` at the first byte that is no
    text.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._descriptor = stream.fileno()
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._seen = 0  # bytes
        self._waiting: list[str] = []
        self._ended = False

    def is_complete(self) -> bool:
        """Take what has been written so far, and tell whether the writer is done."""
        while not self._ended and self._seen < _MOST_BYTES:
            if not select.select([self._descriptor], [], [], 0)[0]:
                return False
            self._read()
        return self._ended

    def __next__(self) -> str:
        """Return what has come since, waiting if it is nothing."""
        while not self._waiting:
            if self._ended:
                raise StopIteration
            self._read()
        text, self._waiting = "".join(self._waiting), []
        return text

    def _read(self) -> None:
        data = os.read(self._descriptor, _PIECE_BYTES)
        start = self._seen - len(self._decoder.getstate()[0])  # of what is decoded now
        try:
            piece = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise TextError(
                f"Standard input is not UTF-8 text (byte {start + error.start}): save it as UTF-8."
            ) from None
        self._seen += len(data)
        self._ended = not data
        if piece:
            self._waiting.append(piece)
