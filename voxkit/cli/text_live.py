"""Text from a pipe while it is still being written."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from voxkit.errors import TextError
from voxkit.text import MAX_CHARACTERS

PATIENCE_S = 0.25  # with a writer who may be about to finish; `cat` needs a hundredth
_PIECE_BYTES = 2**16  # as much as a pipe holds


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
        self._characters = 0
        self._waiting: list[str] = []
        self._ended = False

    def is_complete(self) -> bool:
        """Take what is written within `PATIENCE_S`, and tell whether that is all of a text.

        A text of more characters than are read whole never is.
        """
        until = time.monotonic() + PATIENCE_S
        while not self._ended and self._characters <= MAX_CHARACTERS:
            left = max(0.0, until - time.monotonic())
            if not select.select([self._descriptor], [], [], left)[0]:
                return False
            self._read()
        return self._characters <= MAX_CHARACTERS

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
        self._characters += len(piece)
        self._ended = not data
        if piece:
            self._waiting.append(piece)
