"""Reads the comment that a sound file carries in its own metadata."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from voxkit.audio import check_readable, native_name
from voxkit.errors import AudioError

_MOST_BYTES = 2**20  # of one comment


def read_comment(path: Path) -> str | None:
    """Return the comment of a sound file, or None.  Raises `AudioError` for what is no sound."""
    import soundfile

    check_readable(path)
    try:
        with soundfile.SoundFile(native_name(path)) as file:
            container, comment = file.format, file.comment
    except soundfile.LibsndfileError:
        raise AudioError(f"{path} cannot be read as sound: it is damaged or no sound.") from None
    if container in ("WAV", "WAVEX") and not comment:  # libsndfile reads no more than 4 kB of it
        with path.open("rb") as source:
            comment = _wav_comment(source)
    return comment or None


def _wav_comment(file: BinaryIO) -> str:
    """Find ICMT in the LIST/INFO chunk of a WAV file (Microsoft, "Multimedia Data Standards")."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"LIST" and size <= _MOST_BYTES and (data := file.read(size))[:4] == b"INFO":
            at = 4
            while at + 8 <= len(data):
                tag, length = struct.unpack_from("<4sI", data, at)
                if tag == b"ICMT":
                    text = data[at + 8 : at + 8 + length].split(b"\0")[0]
                    return text.decode("utf-8", "replace")
                at += 8 + length + length % 2
            return ""
        file.seek(size + size % 2 if name != b"LIST" or size > _MOST_BYTES else size % 2, 1)
    return ""
