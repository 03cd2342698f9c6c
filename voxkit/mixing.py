"""Mixes voices: `ann(2)+bob(1)` is a voice between Ann's and Bob's, nearer to Ann's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from voxkit.errors import VoiceError
from voxkit.voice import MOST_NAME, MOST_TEXT, Voice

Weighted = tuple[Voice, float]
_PART = re.compile(r"\s*(?P<name>\w[\w-]*)\s*(?:\((?P<weight>[^()]*)\))?\s*")
_MOST_PARTS, _MOST_WEIGHT = 16, 1000.0


def is_mix(words: str) -> bool:
    """Say whether a name is meant as a mix; no voice of the library has such a name."""
    return any(mark in words for mark in "+()")


def read_mix(words: str) -> tuple[tuple[str, float], ...]:
    """Read `ann(2)+bob` as names with weights that sum to 1.  Raises `VoiceError`."""
    weights: dict[str, float] = {}
    for part in words.split("+"):
        match = _PART.fullmatch(part)
        weight = 1.0
        if match and match["weight"] is not None:
            plain = re.fullmatch(r"\d{1,4}(\.\d{1,6})?", match["weight"].strip(), re.ASCII)
            weight = float(plain[0]) if plain else 0.0
        if not match or not 0 < weight <= _MOST_WEIGHT:
            raise VoiceError(
                f"{words[:80]!r} is no mix of voices: write it like ann(2)+bob(1), with weights "
                "above 0."
            )
        weights[match["name"]] = weights.get(match["name"], 0.0) + weight
    if len(weights) > _MOST_PARTS:
        raise VoiceError(f"{len(weights)} voices are too many: mix at most {_MOST_PARTS}.")
    total = sum(weights.values())
    return tuple((name, weight / total) for name, weight in weights.items())


def mixed(parts: Sequence[Weighted], *, name: str) -> Voice:
    """Return a voice between others of one model, with weights that sum to 1.

    Speaker vectors and attributes are averaged, those on a scale of ratios geometrically.  The
    prompt, which cannot be, is the heaviest voice's; with no recording of its own, a mix belongs
    to its model.  Raises `VoiceError` for voices of different models.
    """
    heaviest = max(parts, key=lambda part: part[1])[0]
    for voice, _ in parts:
        if voice.made_by != heaviest.made_by or voice.speaker.shape != heaviest.speaker.shape:
            raise VoiceError(
                f"{voice.name!r} and {heaviest.name!r} are voices of different models, "
                f"{voice.made_by} and {heaviest.made_by}: mix voices of one model."
            )
    weights = np.array([weight for _, weight in parts])
    vectors = np.stack([voice.speaker for voice, _ in parts])
    speaker = weights @ vectors
    length = float(np.linalg.norm(speaker))
    if length < 1e-3 * float(np.linalg.norm(heaviest.speaker)):
        raise VoiceError(f"The voices in {name} are opposites that leave nothing: change a weight.")
    speaker *= float(weights @ np.linalg.norm(vectors, axis=1)) / length
    known = set.intersection(*(set(voice.attributes) for voice, _ in parts))
    of = "+".join(f"{voice.name}({weight:.3g})" for voice, weight in parts)
    languages = {voice.language for voice, _ in parts}
    return Voice(
        name=_cut(name, MOST_NAME),
        made_by=heaviest.made_by,
        transcript=heaviest.transcript,
        attributes={
            key: _mean(key, [voice.attributes[key] for voice, _ in parts], weights)
            for key in heaviest.attributes
            if key in known
        },
        language=heaviest.language if len(languages) == 1 else None,
        description=f"A mix: {of}",
        source=_joined(parts, lambda voice: voice.source),
        licence=_joined(parts, lambda voice: voice.licence),
        consent=_joined(parts, lambda voice: voice.consent),
        creation={"how": "mix", "of": of},
        pitch_factor=_mean("_hz", [voice.pitch_factor for voice, _ in parts], weights),
        reading_pitch_factor=_mean(
            "_hz", [voice.reading_pitch_factor for voice, _ in parts], weights
        ),
        rate_factor=_mean("_hz", [voice.rate_factor for voice, _ in parts], weights),
        formant_factor=_mean("_hz", [voice.formant_factor for voice, _ in parts], weights),
        tokens=heaviest.tokens,
        mel=heaviest.mel,
        speaker=speaker.astype(np.float32),
        timbre=_timbre([voice.timbre for voice, _ in parts], weights),
    )


def _timbre(found: Sequence[np.ndarray | None], weights: np.ndarray) -> np.ndarray | None:
    """Average what is added to the bins; None adds nothing."""
    parts = [w * t for t, w in zip(found, weights, strict=True) if t is not None]
    return np.sum(parts, axis=0).astype(np.float32) if parts else None


def _mean(key: str, values: Sequence[float], weights: np.ndarray) -> float:
    """Average one attribute: pitches and rates by their ratios, the rest as they are."""
    if key.endswith(("_hz", "_s")) and min(values) > 0:
        return float(np.exp(weights @ np.log(values)))
    return float(weights @ np.array(values))


def _joined(parts: Sequence[Weighted], say: Callable[[Voice], str | None]) -> str | None:
    """Name what applies to several voices, each once, and as much of each as there is room for."""
    said = dict.fromkeys(words for voice, _ in parts if (words := say(voice)))
    room = MOST_TEXT // max(1, len(said)) - len("; ")
    if sum(len(words) + len("; ") for words in said) <= MOST_TEXT:
        room = MOST_TEXT
    return "; ".join(_cut(words, room) for words in said) or None


def _cut(words: str, most: int) -> str:
    """Return no more than so many characters, and a mark where some are missing."""
    return words if len(words) <= most else words[: most - 1] + "…"
