"""Where the text of a command comes from: the argument, a file, or a pipe, whole or as it comes."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from voxkit.errors import TextError
from voxkit.files import at_home
from voxkit.markup import Piece

_MOST_BYTES = 2**24  # of text; at fifteen characters a second, two weeks of speech


def wanted_text(words: Sequence[str] | None, input_file: Path | None) -> str | None:
    """Return the text from TEXT, from `-i`, from `-` or from a pipe; None where there is none."""
    if words and len(words) > 1:
        raise typer.BadParameter("must be one piece: put it in quotes", param_hint="TEXT")
    if words and input_file is not None:
        raise typer.BadParameter("cannot go with TEXT", param_hint="--input-file")
    source = words[0] if words else None if input_file is None else str(input_file)
    if source == "-" or (source is None and sys.stdin is not None and not sys.stdin.isatty()):
        if sys.stdin is None:
            raise TextError("Standard input is closed: give the text as an argument or with -i.")
        return decoded(sys.stdin.buffer.read(_MOST_BYTES + 1), "Standard input")
    if words:
        return _checked_argument(words[0])
    return None if input_file is None else decoded(_read(input_file), str(input_file))


def decoded(data: bytes, source: str) -> str:
    """Decode UTF-8 text, with or without a byte order mark.  Raises `TextError`."""
    if len(data) > _MOST_BYTES:
        raise TextError(f"{source} holds more than {_MOST_BYTES:,} bytes: split it into parts.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{source} is not UTF-8 text (byte {error.start}): save it as UTF-8."
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TextError(f"{path} cannot be read ({reason}): give a text file.") from None


def _checked_argument(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TextError("The text is not valid UTF-8: put it in a file and use -i.") from None
    return text


def check_early(model: str, pieces: Sequence[Piece]) -> None:
    """Refuse with `TextError`, before the model is loaded, what it would find nothing to say in.

    The words are looked up later, by the model; a hub model alone can read its text.
    """
    from voxkit import checkpoint
    from voxkit.families import read_spec
    from voxkit.phonemes import GIVEN
    from voxkit.score import write_script
    from voxkit.spec import PhoneTextSpec
    from voxkit.text import prepare

    folder = next((m.path for m in checkpoint.bundled() if m.name == model), at_home(model))
    if not os.path.isfile(folder / "config.json"):
        return  # loading it will say what is wrong
    reads = read_spec(folder / "config.json").text
    if isinstance(reads, PhoneTextSpec):
        read = functools.partial(prepare, language=reads.language, max_words=reads.max_words)
        write_script(pieces, read, frozenset({GIVEN}))
