"""Describes how somebody sounds, in words that `voxkit design` reads and in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxkit.traits import Heard
from voxkit.voice_space import Gender, VoiceSpace

# What is said of a trait below and above the mean of the gender.
_WORDS = {
    "pitch_hz": ("deep", "high"),
    "pitch_range_st": ("monotone", "lively"),
    "syllables_s": ("slow", "fast"),
    "brightness_db": ("dark", "bright"),
    "clearness_db": ("hoarse", "clear"),
    "energy_db": ("thin", "full"),
}
_SLIGHT, _PLAIN, _STRONG = 0.6, 1.1, 1.9  # standard deviations
_AGE = {"clearness_db": -0.8, "syllables_s": -0.5, "brightness_db": -0.3}
_SURE = 0.85  # probability from which a gender is named


@dataclass(frozen=True)
class Portrait:
    """How somebody sounds."""

    words: str
    traits: dict[str, float]
    deviations: dict[str, float]  # of the traits, from the mean of the likelier gender
    femininity: float  # probability that listeners take the speaker for a woman
    age_proxy: float  # standard deviations; above 0, signs that come with age
    nearest: tuple[tuple[str, float], ...]  # built-in voices and their similarity, -1 to 1


def portray(heard: Heard, space: VoiceSpace, known: Sequence[tuple[str, np.ndarray]]) -> Portrait:
    """Describe what was measured, beside `known` voices and their speaker vectors."""
    femininity = space.femininity(heard.traits, heard.speaker)
    gender: Gender = "female" if femininity > 0.5 else "male"
    off = space.deviations(gender, heard.traits)
    weights = np.array(list(_AGE.values()))
    age = float(weights @ [off[name] for name in _AGE] / np.linalg.norm(weights))
    who = "woman" if gender == "female" else "man"
    if 1 - _SURE < femininity < _SURE:
        who = f"person, perhaps a {who}"
    years = "old " if age > 1.2 else "young " if age < -1.2 else ""
    article = "an" if years == "old " else "a"
    said = [words for name, pair in _WORDS.items() if (words := _said(off[name], *pair))]
    nearest = sorted(
        ((name, float(heard.speaker @ vector)) for name, vector in known),
        key=lambda pair: -pair[1],
    )
    return Portrait(
        words=f"{article} {years}{who}, {', '.join(said) or 'neither high nor deep'}",
        traits=heard.traits,
        deviations=off,
        femininity=femininity,
        age_proxy=age,
        nearest=tuple(nearest[:3]),
    )


def _said(off: float, below: str, above: str) -> str:
    """Put a deviation into words: "a little hoarse", "very high", or nothing."""
    size = abs(off)
    if size < _SLIGHT:
        return ""
    degree = "a little " if size < _PLAIN else "very " if size > _STRONG else ""
    return degree + (below if off < 0 else above)
