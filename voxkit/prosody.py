"""What can be measured of how somebody speaks, and how the native networks are told of it.

Four attributes, by name: `rate_phones_s` (phones a second, pauses left out), `pitch_hz` (median
f0), `pitch_range_st` (standard deviation of f0 in semitones) and `energy_db` (level of the louder
frames).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from voxkit.spec import MelSpec

_NAMES = ("rate_phones_s", "pitch_hz", "pitch_range_st", "energy_db")
# What the corpus's speakers have, about: networks see (value - centre) / spread.
_CENTRE = np.array([12.0, math.log(148.0), 0.2, 0.0])
_SPREAD = np.array([3.0, 0.35, 0.1, 0.4])
_SEMITONE = math.log(2) / 12
_DB = 20 / math.log(10)


@dataclass(frozen=True)
class Prosody:
    """How speech is changed where its waveform is made."""

    speed: float = 1.0  # 2 halves the duration; pitch stays
    factor: float = 1.0  # of every f0
    spread: float = 1.0  # of the distances from the centre, in semitones
    centre_hz: float = 148.0  # what stays where it is when the spread changes
    whisper: bool = False  # no tone at all, only breath

    @property
    def is_natural(self) -> bool:
        """Whether nothing is changed."""
        return self.speed == self.factor == self.spread == 1.0 and not self.whisper


NATURAL = Prosody()


def measure(f0: np.ndarray, mel: np.ndarray, phones_per_s: float | None) -> dict[str, float]:
    """f0 (n,) in Hz, 0 unvoiced, log-mel (M, F) → attributes, without what cannot be measured."""
    found: dict[str, float] = {}
    if phones_per_s:
        found["rate_phones_s"] = float(phones_per_s)
    voiced = np.log(f0[f0 > 0])
    if len(voiced) >= 16:
        found["pitch_hz"] = float(np.exp(np.median(voiced)))
        low, high = np.percentile(voiced, (10, 90))  # 2.56 standard deviations of a normal apart
        found["pitch_range_st"] = float((high - low) / 2.56 / _SEMITONE)
    level = mel.mean(0)
    if len(level):
        found["energy_db"] = float(level[level >= np.median(level)].mean() * _DB)
    return found


def controls(attributes: Mapping[str, float], spec: MelSpec) -> tuple[np.ndarray, np.ndarray]:
    """Attributes → values (4,) about 0 ± 1, and which of them are given (4,), both float32."""
    given = np.array([name in attributes for name in _NAMES], np.float32)
    raw = np.array(
        [
            attributes.get("rate_phones_s", 0.0),
            math.log(max(attributes.get("pitch_hz", 1.0), 1.0)),
            attributes.get("pitch_range_st", 0.0) * _SEMITONE,
            (attributes.get("energy_db", 0.0) / _DB - spec.mean) / spec.scale,
        ]
    )
    values = np.clip((raw - _CENTRE) / _SPREAD, -3, 3)
    return (values * given).astype(np.float32), given


def attributes(values: np.ndarray, given: np.ndarray, spec: MelSpec) -> dict[str, float]:
    """Invert `controls`: values (4,) and which of them are given (4,) → attributes."""
    rate, pitch, spread, energy = values * _SPREAD + _CENTRE
    all_of_them = (
        rate,
        math.exp(pitch),
        spread / _SEMITONE,
        (energy * spec.scale + spec.mean) * _DB,
    )
    return {n: float(v) for n, v, g in zip(_NAMES, all_of_them, given, strict=True) if g}
