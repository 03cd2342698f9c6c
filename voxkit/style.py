"""A `Style`: how something is to be said, in numbers and choices that belong to no one model."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any, Literal

from voxkit.errors import VoxkitError

Emotion = Literal[
    "happy", "sad", "surprised", "angry", "fearful", "disgusted", "calm", "serious"
]  # the eight that CosyVoice 2 was trained on (arXiv 2412.10117, instruction table)
Voicing = Literal["normal", "whisper", "soft", "shout"]
Role = Literal["mysterious", "fierce", "curious", "elegant", "lonely", "robot", "peppa"]
Dialect = Literal[
    "cantonese",
    "dongbei",
    "gansu",
    "guizhou",
    "henan",
    "hubei",
    "hunan",
    "jiangxi",
    "minnan",
    "ningxia",
    "shaanxi",
    "shandong",
    "shanghai",
    "shanxi",
    "sichuan",
    "tianjin",
    "yunnan",
]

LIMITS: dict[str, tuple[float, float]] = {
    "rate": (0.25, 4.0),
    "pitch_st": (-12.0, 12.0),
    "pitch_range": (0.0, 3.0),
    "energy_db": (-24.0, 12.0),
    "emotion_strength": (0.0, 2.0),
    "pause": (0.0, 5.0),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "emotion": typing.get_args(Emotion),
    "voicing": typing.get_args(Voicing),
    "dialect": typing.get_args(Dialect),
    "role": typing.get_args(Role),
}


@dataclass(frozen=True)
class Style:
    """How to speak.  Every default is neutral; `understood` and `ignored` explain the words."""

    rate: float = 1.0  # factor of the speaking rate; 0.5 takes twice as long
    pitch_st: float = 0.0  # semitones added to the median f0
    pitch_range: float = 1.0  # factor of the f0 excursions around their median, in semitones
    energy_db: float = 0.0
    emotion: Emotion | None = None
    emotion_strength: float = 1.0  # 0.5 slight, 1 plain, 1.5 strong, 2 extreme
    voicing: Voicing = "normal"
    dialect: Dialect | None = None
    role: Role | None = None
    pause: float = 1.0  # factor of every pause
    words: str = ""  # the description it was read from
    understood: tuple[tuple[str, str], ...] = ()  # (phrase, its effect)
    ignored: tuple[str, ...] = ()  # phrases with no effect
    said: tuple[str, ...] = ()  # fields that were asked for, even where the answer is neutral
    exact: tuple[str, ...] = ()  # fields that were asked for as a number

    def __post_init__(self) -> None:
        """Refuse numbers out of range and words that are not choices, in one sentence."""
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise VoxkitError(f"{name} must be between {low:g} and {high:g}, not {value:g}.")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (value is None and name != "voicing"):
                raise VoxkitError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")

    def settings(self) -> dict[str, Any]:
        """Return the fields that say how to speak and differ from neutral."""
        found = {name: getattr(self, name) for name in FIELDS}
        found = {name: value for name, value in found.items() if value != getattr(NEUTRAL, name)}
        if self.emotion is None:
            found.pop("emotion_strength", None)
        return found

    def merge(self, later: Style) -> Style:
        """Return this style with everything that `later` asks for on top; the later word wins."""
        asked = {*later.said, *later.settings()}
        if "emotion" in asked:
            asked.add("emotion_strength")
        changes: dict[str, Any] = {name: getattr(later, name) for name in FIELDS if name in asked}
        return dataclasses.replace(
            self,
            **changes,
            words=", ".join(words for words in (self.words, later.words) if words),
            understood=self.understood + later.understood,
            ignored=self.ignored + later.ignored,
            said=tuple(sorted({*self.said, *asked})),
            exact=tuple(sorted({*(set(self.exact) - asked), *later.exact})),
        )

    def scaled(self, rate: float = 1.0, pitch_st: float = 0.0, energy_db: float = 0.0) -> Style:
        """Return this style sped up, raised and made louder further, kept within `LIMITS`."""
        return dataclasses.replace(
            self,
            rate=clip("rate", self.rate * rate),
            pitch_st=clip("pitch_st", self.pitch_st + pitch_st),
            energy_db=clip("energy_db", self.energy_db + energy_db),
        )


FIELDS = (*LIMITS, *CHOICES)
NEUTRAL = Style()


def tell_all(style: Style) -> str:
    """Say all settings of a style in one line, an emotion with its strength beside it."""
    found = style.settings()
    strength = found.pop("emotion_strength", None)
    parts = {name: tell(name, value) for name, value in found.items()}
    if strength is not None:
        parts["emotion"] += f" ({tell('emotion_strength', strength)})"
    return ", ".join(parts.values()) or "nothing out of the ordinary"


Emphasis = Literal["reduced", "none", "moderate", "strong"]
# What emphasis does to a model that has no token for it: (rate, loudness in dB).
EMPHASIS: dict[Emphasis, tuple[float, float]] = {
    "reduced": (1.05, -2.0),
    "none": (1.0, 0.0),
    "moderate": (0.95, 1.5),
    "strong": (0.9, 3.0),
}


@dataclass(frozen=True)
class Manner:
    """How one stretch of a text differs from the style of the whole request."""

    rate: float = 1.0
    pitch_st: float = 0.0
    energy_db: float = 0.0
    emphasis: Emphasis = "none"
    laughing: bool = False
    voice: str | None = None  # None: the voice of the request

    def over(self, style: Style) -> Style:
        """Return `style` changed by this manner; emphasis is slower and louder speech."""
        rate, energy_db = EMPHASIS[self.emphasis]
        return style.scaled(self.rate * rate, self.pitch_st, self.energy_db + energy_db)


PLAIN = Manner()


def clip(name: str, value: float) -> float:
    """Return `value` moved into the limits of the field `name`."""
    low, high = LIMITS[name]
    return min(max(value, low), high)


def tell(name: str, value: Any) -> str:
    """Say one setting in words, for instance `rate ×0.80` or `pitch +2 st`."""
    match name:
        case "rate":
            return f"rate ×{value:.2f}"
        case "pitch_st":
            return f"pitch {value:+.1f} st".replace(".0", "")
        case "energy_db":
            return f"loudness {value:+.1f} dB".replace(".0", "")
        case "pitch_range":
            return f"pitch range ×{value:.2f}"
        case "pause":
            return f"pauses ×{value:.2f}"
        case "emotion_strength":
            return f"strength {value:.1f}"
        case _:
            return f"{name} {value or 'none'}"
