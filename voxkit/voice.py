"""A voice: what a model needs to speak like somebody, in one file that is checked when read."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from voxkit.audio import HIGHEST_READ, LOWEST_RATE, Audio
from voxkit.errors import VoiceError
from voxkit.files import output_error, whole_file

SUFFIX = ".safetensors"
_VERSION = "1"  # of the layout below; raised when an older voxkit could no longer read the files
_MAX_BYTES = 32 * 2**20  # sixty times a ten-second voice; a larger file is not a voice
_MAX_HEADER_BYTES = 2**20
MOST_TEXT, MOST_NAME = 20_000, 200  # characters of one text entry, and of a name
_MAX_ENTRIES = 64  # attributes, and things told of how a voice was made
_MEL_RANGE, _SPEAKER_RANGE = (-40.0, 20.0), (-1e3, 1e3)  # of any model; beyond is no sound
_TIMBRE_RANGE = (-5.0, 5.0)  # nepers
_FACTORS = (0.25, 4.0)  # of pitch and rate
_REFERENCE_S = (0.1, 60.0)  # of the recording kept inside; voxkit keeps 1 to 30 s
_ATTRIBUTES = {  # the least and most that can be measured of speech
    "pitch_hz": (20.0, 2000.0),
    "pitch_range_st": (0.0, 60.0),
    "rate_phones_s": (0.01, 10_000.0),  # this high beside a transcript of something else
    "energy_db": (-200.0, 60.0),
}
_LAYOUT = {  # tensor: its type and number of dimensions
    "tokens": ("I32", 1),
    "mel": ("F32", 2),
    "speaker": ("F32", 1),
    "timbre": ("F32", 1),
    "reference": ("I16", 1),
}


Fact = str | int | float | bool


@dataclass(frozen=True, kw_only=True, eq=False)
class About:
    """What is said about a voice in words and numbers."""

    name: str
    made_by: str  # fingerprint of the model whose tokens, mel and speaker vector these are
    transcript: str | None = None  # what the reference says
    attributes: Mapping[str, float] = field(default_factory=dict)  # measured, such as pitch_hz
    language: str | None = None
    description: str | None = None
    source: str | None = None
    licence: str | None = None
    consent: str | None = None
    creation: Mapping[str, Fact] = field(default_factory=dict)  # how it was made, by which options
    pitch_factor: float = 1.0  # by which the model's own pitch is multiplied for this voice
    rate_factor: float = 1.0  # and its rate
    reading_pitch_factor: float = 1.0  # besides, where text is read, and no recording converted
    formant_factor: float = 1.0  # by which resonances are moved; above 1 is a shorter vocal tract

    def __post_init__(self) -> None:
        """Refuse values that could not be shown or saved.  Raises `ValueError`."""
        for entry in dataclasses.fields(About):
            value = getattr(self, entry.name)
            if entry.name == "attributes":
                _check_attributes(value)
            elif entry.name == "creation":
                _check_creation(value)
            elif entry.name.endswith("_factor"):
                if type(value) not in (int, float) or not _FACTORS[0] <= value <= _FACTORS[1]:
                    raise ValueError(f"{entry.name} must be between 0.25 and 4")
            elif not (value is None and entry.default is None):
                check_text(entry.name, value)
        for name, line in (("name", self.name), ("made_by", self.made_by)):
            if not 1 <= len(line) <= MOST_NAME or not line.isprintable():
                raise ValueError(f"{name} must be one line of at most {MOST_NAME} characters")


@dataclass(frozen=True, kw_only=True, eq=False)
class Voice(About):
    """A voice: the reference in the words of one model, and what is known about it."""

    tokens: np.ndarray  # (T,) int64, speech tokens of the reference
    mel: np.ndarray  # (M, F) float32, natural log; F is a multiple of T
    speaker: np.ndarray  # (D,) float32
    timbre: np.ndarray | None = None  # (M,) float32, what is added to its mel where text is read
    reference: Audio | None = None  # the prepared clip, from which another model makes its own

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together.  Raises `ValueError`."""
        super().__post_init__()
        for name, (_, dims) in _LAYOUT.items():
            array, kind = getattr(self, name), np.int64 if name == "tokens" else np.float32
            if name == "reference" or array is None:
                continue
            if array.ndim != dims or array.dtype != kind:
                raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        if len(self.speaker) and not self.speaker.any():
            raise ValueError("speaker holds nothing but zeros")
        ranges = {"mel": _MEL_RANGE, "speaker": _SPEAKER_RANGE, "timbre": _TIMBRE_RANGE}
        for name, (low, high) in ranges.items():
            array = getattr(self, name)
            if array is None or not array.size:
                continue
            if not (low <= array.min() and array.max() <= high):
                raise ValueError(f"{name} holds numbers that no model gives")
        if (self.tokens < 0).any() or (self.tokens >= 2**31).any():
            raise ValueError("tokens holds numbers that are no speech tokens")
        count, frames = len(self.tokens), self.mel.shape[1]
        if not len(self.speaker) or (frames % count if count else frames):
            raise ValueError(
                f"{count} tokens, {frames} mel frames and a speaker vector of "
                f"{len(self.speaker)} do not belong together"
            )
        if self.timbre is not None and self.timbre.shape != self.mel.shape[:1]:
            raise ValueError(f"timbre has {len(self.timbre)} bins and its mel {self.mel.shape[0]}")
        if self.reference is not None and not self.reference.samples.any():
            raise ValueError("its recording is silent")

    def check_fits(self, *, codebook: int, bins: int, ratio: int, speaker: int) -> None:
        """Raise `VoiceError` unless the sizes are those of the model that claims to have made it.

        A model has `codebook` tokens, `bins` mel bins, `ratio` mel frames a token, and a speaker
        vector of `speaker` numbers.
        """
        shapes = (self.mel.shape, self.speaker.shape)
        right = ((bins, ratio * len(self.tokens)), (speaker,))
        if shapes != right or (len(self.tokens) and int(self.tokens.max()) >= codebook):
            raise VoiceError(
                f"The voice {self.name!r} says that it was made by {self.made_by}, but its numbers "
                "are of another model: get it again from where it comes from."
            )

    def check_made_by(self, fingerprint: str, model: str) -> None:
        """Raise `VoiceError` unless the model called `model`, of `fingerprint`, can read this."""
        if self.made_by != fingerprint:
            raise VoiceError(
                f"The voice {self.name!r} was made by {self.made_by} and {model} ({fingerprint}) "
                f"cannot read it: make it again from its recording with "
                f"`voxkit clone RECORDING --name {self.name} --model {model} --force`."
            )


@dataclass(frozen=True, eq=False)
class Description:
    """What a model hears in a reference."""

    tokens: np.ndarray  # (T,) int64
    mel: np.ndarray  # (M, F) float32, natural log
    speaker: np.ndarray  # (D,) float32
    attributes: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class VoiceInfo(About):
    """What the header of a voice file tells, without its numbers."""

    path: Path
    token_count: int
    reference_s: float | None  # duration of the reference kept inside
    builtin: bool = False
    problem: str | None = None  # why a file in the library cannot be used


# ---- files ------------------------------------------------------------------------------------


def save_voice(voice: Voice, path: Path, *, force: bool = False) -> None:
    """Write a voice file, whole or not at all.  Raises `OutputError`."""
    from safetensors.numpy import save

    tensors = {"tokens": voice.tokens.astype(np.int32), "mel": voice.mel, "speaker": voice.speaker}
    about: dict[str, Any] = {f.name: getattr(voice, f.name) for f in dataclasses.fields(About)}
    about |= {"attributes": dict(voice.attributes), "creation": dict(voice.creation)}
    if voice.timbre is not None:
        tensors["timbre"] = voice.timbre
    if voice.reference is not None:
        samples = np.clip(voice.reference.samples, -1.0, 1.0) * 32767.0
        tensors["reference"] = samples.round().astype(np.int16)
        about["reference_rate"] = voice.reference.sample_rate
    metadata = {"voxkit_voice": _VERSION, "about": json.dumps(about, ensure_ascii=False)}
    data = save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata)
    with whole_file(path, force=force) as part:
        try:
            part.write_bytes(data)
        except OSError as error:
            raise output_error(path, error) from None


def load_voice(path: Path) -> Voice:
    """Read and check a voice file from anywhere.  Raises `VoiceError` naming the file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    with _opened(path) as file:
        header = _read_header(file, path)
        file.seek(0)
        data = file.read(_MAX_BYTES + 1)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None
    reference = None
    if header.reference_rate is not None:
        samples = tensors["reference"].astype(np.float32) / np.float32(32767.0)
        reference = Audio(np.clip(samples, -1.0, 1.0), header.reference_rate)
    try:
        return Voice(
            **header.about,
            tokens=tensors["tokens"].astype(np.int64),
            mel=tensors["mel"].copy(),  # writable, which torch.from_numpy asks for
            speaker=tensors["speaker"].copy(),
            timbre=tensors["timbre"].copy() if "timbre" in tensors else None,
            reference=reference,
        )
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def voice_info(path: Path) -> VoiceInfo:
    """Read only the header of a voice file.  Raises `VoiceError` naming the file."""
    with _opened(path) as file:
        header = _read_header(file, path)
    try:
        return VoiceInfo(
            **header.about,
            path=path,
            token_count=header.shapes["tokens"][0],
            reference_s=(
                None
                if header.reference_rate is None
                else header.shapes["reference"][0] / header.reference_rate
            ),
        )
    except ValueError as error:
        raise _damaged(path, str(error)) from None


@dataclass(frozen=True)
class _Header:
    """The checked header of a voice file."""

    about: dict[str, Any]
    reference_rate: int | None
    shapes: dict[str, tuple[int, ...]]


def _opened(path: Path) -> BinaryIO:
    """Open an ordinary file of credible size.  Raises `VoiceError`."""
    try:
        if path.exists() and not path.is_file():
            raise VoiceError(f"{path} is not a file: give a voice file or the name of a voice.")
        if path.stat().st_size > _MAX_BYTES:
            raise VoiceError(f"{path} is too large to be a voice: give a file of `voxkit clone`.")
        return path.open("rb")
    except FileNotFoundError:
        raise VoiceError(f"The voice file {path} does not exist: check the path.") from None
    except OSError as error:
        raise VoiceError(f"{path} cannot be opened: {error.strerror or error}.") from None


def _read_header(file: BinaryIO, path: Path) -> _Header:
    """Read a safetensors header and check every entry of it.  Raises `VoiceError`."""
    size = int.from_bytes(file.read(8), "little")
    foreign = VoiceError(f"{path} is not a voice file: give one made by `voxkit clone`.")
    if not 2 <= size <= _MAX_HEADER_BYTES:
        raise foreign
    try:
        header = json.loads(file.read(size))
        metadata = header.pop("__metadata__")
        version, words = metadata["voxkit_voice"], metadata["about"]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise foreign from None
    if not isinstance(words, str):
        raise foreign
    if version != _VERSION:
        raise VoiceError(f"{path} was made by another version of voxkit: update voxkit to use it.")
    try:
        shapes = {name: _shape(name, entry) for name, entry in header.items()}
        about, rate = _about(json.loads(words))
        if missing := sorted({"tokens", "mel", "speaker"} - shapes.keys()):
            raise ValueError(f"{missing[0]} is missing")
        if (rate is None) != ("reference" not in shapes):
            raise ValueError("reference and reference_rate do not come together")
        length = sum(math.prod(s) * (2 if n == "reference" else 4) for n, s in shapes.items())
        if 8 + size + length != path.stat().st_size:
            raise ValueError("it is longer or shorter than it says")
        if rate is not None:
            _check_length(shapes["reference"][0] / rate)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    return _Header(about, rate, shapes)


def _shape(name: str, entry: Any) -> tuple[int, ...]:
    """Return the shape of one tensor entry.  Raises `ValueError` if it is not in the layout."""
    if name not in _LAYOUT:
        raise ValueError(f"{name!r} is no part of a voice")
    kind, dims = _LAYOUT[name]
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{name} has no shape")
    if len(shape) != dims or entry.get("dtype") != kind:
        raise ValueError(f"{name} must be {kind} with {dims} dimensions")
    return tuple(shape)


def _about(words: Any) -> tuple[dict[str, Any], int | None]:
    """Return the entries of `About`, and the rate of the reference.  Raises `ValueError`."""
    known = {entry.name for entry in dataclasses.fields(About)}
    if not isinstance(words, dict) or not {"name", "made_by"} <= words.keys():
        raise ValueError("its name or its maker is missing")
    if unknown := sorted(words.keys() - known - {"reference_rate"}):
        raise ValueError(f"unknown entry {unknown[0]!r}")
    rate = words.get("reference_rate")
    if rate is not None and (type(rate) is not int or not LOWEST_RATE <= rate <= HIGHEST_READ):
        raise ValueError("reference_rate is not a sample rate")
    return {k: v for k, v in words.items() if k in known}, rate


def _check_length(reference_s: float) -> None:
    """Raise `ValueError` for a recording too short or too long to be a voice's."""
    low, high = _REFERENCE_S
    if not low <= reference_s <= high:
        raise ValueError(f"its recording lasts {reference_s:.3g} s and not {low:g} to {high:g} s")


def check_text(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is text that a terminal can be trusted with."""
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise ValueError(f"{name} must be text of at most {MOST_TEXT} characters")
    if not all(c.isprintable() or c in "\n\t" for c in value):
        raise ValueError(f"{name} holds control characters")


def _check_attributes(value: Any) -> None:
    """Raise `ValueError` unless `value` maps words to finite numbers."""
    if not isinstance(value, Mapping) or len(value) > _MAX_ENTRIES:
        raise ValueError("attributes must be a short table of numbers")
    for key, number in value.items():
        check_text("attributes", key)
        if not _is_number(number):
            raise ValueError(f"attribute {key} is not a number")
        low, high = _ATTRIBUTES.get(key, (number, number))
        if not low <= number <= high:
            raise ValueError(f"attribute {key} must be between {low:g} and {high:g}")


def _check_creation(value: Any) -> None:
    """Raise `ValueError` unless `value` maps words to plain facts."""
    if not isinstance(value, Mapping) or len(value) > _MAX_ENTRIES:
        raise ValueError("creation must be a short table")
    for key, fact in value.items():
        check_text("creation", key)
        if isinstance(fact, str):
            check_text(f"creation {key}", fact)
        elif type(fact) is not bool and not _is_number(fact):
            raise ValueError(f"creation {key} is neither text nor a number")


def _is_number(value: Any) -> bool:
    """Tell a finite number from everything else; a whole one must be such as a float can hold."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _damaged(path: Path, why: str) -> VoiceError:
    return VoiceError(f"The voice file {path} is damaged ({why}): copy it again or make a new one.")
