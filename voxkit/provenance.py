"""What made a sound file, kept inside the file: enough to make the same speech again.

A record is JSON in the file's own comment: LIST/INFO in WAV, Vorbis comments in FLAC, Ogg and Opus,
ID3 in MP3.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxkit.errors import AudioError, VoxkitError
from voxkit.options import Options
from voxkit.pronunciation import Pronunciation, read_pronunciation
from voxkit.style import FIELDS, NEUTRAL, Style
from voxkit.tags import read_comment
from voxkit.voice import Voice

SYNTHETIC = "synthetic speech"
_FORMAT = 1  # raised when a record could no longer be read by this version
_MOST_BYTES = 16_000  # of a record; every container carries that much
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "voxkit": str,
    "model": str,
    "revision": str,
    "fingerprint": str,
    "loading": dict,
    "voice": str,
    "voices": dict,
    "options": dict,
    "style": dict,
    "markup": str,
    "lexicon": dict,
    "sample_rate": (int, type(None)),
    "text_sha256": str,
    "text": (str, type(None)),
}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How one sound file was made."""

    voxkit: str  # version
    model: str
    revision: str
    fingerprint: str
    loading: Mapping[str, str | bool | None]  # flags that decide how the model computes
    voice: str  # who speaks where the text names nobody
    voices: Mapping[str, str]  # every voice's name and the digest of its numbers
    options: Options
    style: Style
    markup: str  # inline or ssml
    lexicon: Mapping[str, Pronunciation] = field(default_factory=dict)  # words of the text alone
    sample_rate: int | None = None  # Hz, where another than the model's was asked for
    text_sha256: str
    text: str | None = None

    def comment(self) -> str:
        """Return the record as ASCII JSON for a file; a long text is left out."""
        data = _plain(self)
        packed = json.dumps(data, separators=(",", ":"))
        if len(packed) > _MOST_BYTES:
            packed = json.dumps(data | {"text": None}, separators=(",", ":"))
        if len(packed) > _MOST_BYTES:
            raise VoxkitError(
                "What made this speech is too long for the file to tell: use --provenance none."
            )
        return packed

    def report(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return _plain(self)


def _plain(record: Provenance) -> dict[str, Any]:
    """Return what a record is written as."""
    data = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    style = record.style
    return (
        {"about": SYNTHETIC, "format": _FORMAT}
        | data
        | {
            "loading": dict(record.loading),
            "voices": dict(record.voices),
            "options": dataclasses.asdict(record.options),
            "style": style.settings()
            | {name: list(v) for name in ("said", "exact") if (v := getattr(style, name))}
            | ({"words": style.words} if style.words else {}),
            "lexicon": {
                word: f"/{said.value}/" if said.kind == "phones" else said.value
                for word, said in record.lexicon.items()
            },
        }
    )


def read_provenance(path: Path) -> Provenance:
    """Read the record of a sound file.  Raises `AudioError` for a file without a sound one."""
    comment = read_comment(path) or ""
    try:
        data = json.loads(comment)
        ours = isinstance(data, dict) and data.get("about") == SYNTHETIC
    except (ValueError, RecursionError):
        ours = False
    if not ours:
        raise AudioError(
            f"{path} carries no record of how it was made: voxkit did not write it, or another "
            "program took the record out."
        )
    if data.get("format") != _FORMAT:
        raise AudioError(f"{path} was made by another version of voxkit: update voxkit to read it.")
    try:
        return _record(data)
    except (ValueError, TypeError, VoxkitError) as error:
        raise AudioError(f"The record in {path} is damaged ({error}).") from None


def _record(data: dict[str, Any]) -> Provenance:
    """Check a record and return it.  Raises `ValueError`, `TypeError` or `VoxkitError`."""
    for name, kind in _KINDS.items():
        if name not in data or not isinstance(data[name], kind):
            raise ValueError(f"{name} is missing or wrong")
    wanted = data["style"]
    entries: dict[str, Any] = {name: wanted[name] for name in FIELDS if name in wanted}
    for name in ("said", "exact"):
        entries[name] = tuple(wanted.get(name, ()))
        if not set(entries[name]) <= set(FIELDS):
            raise ValueError("style is wrong")
    style = dataclasses.replace(NEUTRAL, **entries, words=str(wanted.get("words", "")))
    if not all(isinstance(value, str | bool | None) for value in data["loading"].values()):
        raise ValueError("loading is wrong")
    if data["markup"] not in ("inline", "ssml") or data["voice"] not in data["voices"]:
        raise ValueError("markup or voice is wrong")
    return Provenance(
        **{name: data[name] for name in _KINDS if name not in ("options", "style", "lexicon")},
        options=Options(**data["options"]),
        style=style,
        lexicon={word: read_pronunciation(said) for word, said in data["lexicon"].items()},
    )


def digest(voice: Voice) -> str:
    """Return 16 hexadecimal digits of all in a voice that a model hears."""
    heard = hashlib.sha256()
    for array in (voice.tokens, voice.mel, voice.speaker):
        heard.update(repr((array.shape, array.dtype.str)).encode())
        heard.update(np.ascontiguousarray(array).tobytes())
    numbers = {name: float(value) for name, value in voice.attributes.items()}
    facts = [voice.transcript, voice.language, numbers, voice.pitch_factor, voice.rate_factor]
    heard.update(json.dumps(facts, sort_keys=True).encode())
    return heard.hexdigest()[:16]


def text_digest(text: str) -> str:
    """Return what tells whether a text is the one that was spoken."""
    return hashlib.sha256(text.encode()).hexdigest()
