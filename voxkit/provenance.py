"""What made a sound file, kept inside the file: enough to make the same speech again.

A record is JSON in the file's own comment: LIST/INFO in WAV, Vorbis comments in FLAC, Ogg and Opus,
ID3 in MP3.  Anybody may have written it, so that nothing in it is believed before it is checked.
Where there is no record, a sentence may still say that the speech is synthetic.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxkit.audio import HIGHEST_RATE, LOWEST_RATE
from voxkit.errors import AudioError, VoxkitError
from voxkit.markup import is_library_name
from voxkit.options import Options
from voxkit.precision import Dtype, Quantize
from voxkit.pronunciation import Pronunciation, read_pronunciation
from voxkit.style import FIELDS, LIMITS, NEUTRAL, Style
from voxkit.tags import read_comment
from voxkit.typography import is_control, printable
from voxkit.voice import Voice

SYNTHETIC = "synthetic speech"
_FORMAT = 1  # raised when a record could no longer be read by this version
_MOST_BYTES = 16_000  # of a record; every container carries that much
_LONGEST_REMARK = 400  # characters
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
_LOADING: Mapping[str, tuple[Any, ...]] = {  # flags, and what they may be
    "compat": (None, False, True),
    "dtype": (None, *Dtype),
    "quantize": (None, *Quantize),
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
    told = read_told(path)
    if isinstance(told, Provenance):
        return told
    raise AudioError(
        f"{path} holds no record to replay: it was made of a recording, which `voxkit convert` "
        "needs again, or told to keep none."
    )


def read_told(path: Path) -> Provenance | str:
    """Return the record of a sound file, or the sentence that stands in place of one.

    Raises `AudioError` for a file that says nothing of synthetic speech, or has a damaged record.
    """
    comment = (read_comment(path) or "").strip()
    if comment.casefold().startswith(SYNTHETIC):
        return printable(" ".join(comment.split()))[:_LONGEST_REMARK]
    try:
        data = json.loads(comment)
        ours = isinstance(data, dict) and data.get("about") == SYNTHETIC
    except (ValueError, RecursionError):
        data, ours = {}, comment.startswith(f'{{"about":"{SYNTHETIC}"')
    if not ours:
        raise AudioError(
            f"{path} carries no record of how it was made: voxkit did not write it, or wrote it "
            "into a pipe, or another program took the record out."
        )
    try:
        if data and (type(data.get("format")) is not int or data["format"] != _FORMAT):
            raise AudioError(
                f"{path} was made by another version of voxkit: update voxkit to read it."
            )
        return _record(data)
    except (ValueError, VoxkitError) as error:
        if isinstance(error, AudioError):
            raise
        why = str(error).rstrip(".")
        raise AudioError(f"The record in {path} is damaged ({why}).") from None


def _record(data: dict[str, Any]) -> Provenance:
    """Check a record and return it.  Raises `ValueError` or `VoxkitError`."""
    for name, kind in _KINDS.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if name not in data or type(data[name]) not in kinds:
            raise ValueError(f"{name} is missing or wrong")
    for name in ("voxkit", "model", "revision", "fingerprint", "voice"):
        _check_words(name, data[name], one_line=True)
    for name in ("voices", "lexicon"):
        for key, value in data[name].items():
            _check_words(name, key, one_line=name == "voices")
            _check_words(name, value, one_line=name == "voices")
    if not all(any(map(str.isalnum, word)) for word in data["lexicon"]):
        raise ValueError("lexicon is wrong")
    others = data["voices"].keys() - {data["voice"]}
    if data["voice"] not in data["voices"] or not all(map(is_library_name, others)):
        raise ValueError("voice or voices is wrong")
    rate = data["sample_rate"]
    if rate is not None and not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ValueError("sample_rate is wrong")
    if data["markup"] not in ("inline", "ssml") or not _is_digest(data["text_sha256"]):
        raise ValueError("markup or text_sha256 is wrong")
    if any(unicodedata.category(c) == "Cs" for c in data["text"] or ""):
        raise ValueError("text holds half a character")
    for name, value in data["loading"].items():
        if type(value) not in (str, bool, type(None)) or value not in _LOADING.get(name, ()):
            raise ValueError(f"loading {name[:40]!r} is wrong")
    return Provenance(
        **{name: data[name] for name in _KINDS if name not in ("options", "style", "lexicon")},
        options=_options(data["options"]),
        style=_style(data["style"]),
        lexicon={word: read_pronunciation(said) for word, said in data["lexicon"].items()},
    )


def _options(given: dict[str, Any]) -> Options:
    """Check the options of a record.  Raises `ValueError` or `VoxkitError`."""
    known = {f.name: f for f in dataclasses.fields(Options)}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"there is no option {name[:40]!r}")
        whole = name in ("seed", "top_k", "steps", "first_hop")
        missing = value is None and known[name].default is None
        if not missing and not (_is_number(value) and (type(value) is int or not whole)):
            raise ValueError(f"option {name} is no number")
    return Options(**given)


def _style(given: dict[str, Any]) -> Style:
    """Check the style of a record.  Raises `ValueError` or `VoxkitError`."""
    entries = dict(given)
    for name in ("said", "exact"):
        listed = entries.pop(name, [])
        if not isinstance(listed, list) or not all(f in FIELDS for f in listed):
            raise ValueError(f"style {name} is wrong")
        entries[name] = tuple(listed)
    words = entries.pop("words", "")
    _check_words("style words", words)
    for name in given.keys() - {"said", "exact", "words"}:
        if name not in FIELDS or (name in LIMITS and not _is_number(given[name])):
            raise ValueError(f"style {name[:40]!r} is wrong")
    return dataclasses.replace(NEUTRAL, **entries, words=words)


def _check_words(name: str, value: Any, *, one_line: bool = False) -> None:
    """Raise `ValueError` unless a value is text that may be shown, on one line if asked."""
    if not isinstance(value, str) or any(map(is_control, value)):
        raise ValueError(f"{name} is no plain text")
    if one_line and not value.isprintable():
        raise ValueError(f"{name} is no line of text")


def _is_number(value: Any) -> bool:
    """Tell a finite number from everything else."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_digest(value: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", value) is not None


def digest(voice: Voice) -> str:
    """Return 16 hexadecimal digits of all in a voice that a model hears."""
    heard = hashlib.sha256()
    for array in (voice.tokens, voice.mel, voice.speaker):
        heard.update(repr((array.shape, array.dtype.str)).encode())
        heard.update(np.ascontiguousarray(array).tobytes())
    numbers = {name: float(value) for name, value in voice.attributes.items()}
    facts = [voice.transcript, voice.language, numbers, voice.pitch_factor, voice.rate_factor]
    if voice.formant_factor != 1.0:  # left out where it changes nothing, as older records have it
        facts.append(voice.formant_factor)
    if voice.reading_pitch_factor != 1.0:
        facts.append({"reading_pitch_factor": voice.reading_pitch_factor})
    if voice.timbre is not None:
        heard.update(np.ascontiguousarray(voice.timbre).tobytes())
    heard.update(json.dumps(facts, sort_keys=True).encode())
    return heard.hexdigest()[:16]


def text_digest(text: str) -> str:
    """Return what tells whether a text is the one that was spoken."""
    return hashlib.sha256(text.encode()).hexdigest()
