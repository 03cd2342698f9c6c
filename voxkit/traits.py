"""Measures how a voice sounds: pitch, liveliness, rate, energy, brightness, clearness.

What is measured of somebody's speech is the same wherever voices are described, designed or taught
to a model, so that the numbers can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voxkit.audio import Audio
from voxkit.errors import AudioError
from voxkit.spec import MelSpec
from voxkit.voice import Description

TRAITS = (
    "pitch_hz",  # median f0
    "pitch_range_st",  # standard deviation of f0, semitones
    "syllables_s",  # syllables a second, pauses left out
    "energy_db",  # level of the louder mel frames, for speech at -20 dBFS
    "brightness_db",  # level of 2 to 7 kHz against that below 1 kHz
    "clearness_db",  # harmonics against noise below 4 kHz; hoarse and breathy voices have little
)
_FRAME_S = 0.02
_LOW_RATE = 8_000  # Hz, where harmonics are compared with noise
_SPOKEN_DB = 30.0  # frames this far below the loudest are a pause
_PAUSE = 8  # frames; shorter gaps belong to the speech
_DIP_DB = 2.5  # between two syllables
_DB = 10 / math.log(10)


class Listener(Protocol):
    """A model's ear: what it hears in a recording, and at which pitch."""

    def describe(self, audio: Audio, text_ids: tuple[int, ...] | None) -> Description:
        """Return tokens, mel, speaker vector and measured attributes."""

    def f0(self, audio: Audio) -> np.ndarray:
        """Return f0 (4F,) in Hz, 0 where unvoiced, four values a mel frame."""


@dataclass(frozen=True, eq=False)
class Heard:
    """What was measured of one recording."""

    traits: dict[str, float]  # by the names in TRAITS
    speaker: np.ndarray  # (D,)


def measure_traits(audio: Audio, listener: Listener, spec: MelSpec) -> Heard:
    """Measure speech of one person at -20 dBFS.  Raises `AudioError` if nothing is voiced."""
    heard = listener.describe(audio, None)
    f0 = listener.f0(audio)
    pitch = heard.attributes
    if "pitch_hz" not in pitch:
        raise AudioError("No voiced speech was found: give a few seconds of clear speech.")
    traits = {
        "pitch_hz": pitch["pitch_hz"],
        "pitch_range_st": pitch["pitch_range_st"],
        "syllables_s": syllable_rate(heard.mel, spec),
        "energy_db": pitch["energy_db"],
        "brightness_db": _brightness(heard.mel, f0, spec),
        "clearness_db": _clearness(audio, f0),
    }
    return Heard(traits, heard.speaker)


def syllable_rate(mel: np.ndarray, spec: MelSpec) -> float:
    """mel (M, F), natural log → syllables a second: peaks of the level from 300 to 2500 Hz.

    A peak counts when the level dips on both sides of it (de Jong and Wempe 2009, "Praat script to
    detect syllable nuclei", has the idea).
    """
    if mel.shape[1] < 8:
        return 0.0
    level = np.log(np.exp(mel[_bins(spec, 300, 2500)]).sum(0)) * 2 * _DB
    level = np.convolve(np.pad(level, 2, mode="edge"), np.array([1, 3, 4, 3, 1]) / 12, "valid")
    spoken = _spoken(level)
    peaks, low, best, rising = 0, level[0], level[0], True
    for value in level:
        if rising:
            best = max(best, value)
            if best - value > _DIP_DB:
                peaks += best > level.max() - _SPOKEN_DB + 5
                low, rising = value, False
        else:
            low = min(low, value)
            if value - low > _DIP_DB:
                best, rising = value, True
    return peaks / max(spoken.sum() * _FRAME_S, 0.1)


def _spoken(level: np.ndarray) -> np.ndarray:
    """Return which frames (F,) belong to speech, short gaps included."""
    loud = level > level.max() - _SPOKEN_DB
    spoken, last = loud.copy(), None
    for index in np.flatnonzero(loud):
        if last is not None and 1 < index - last <= _PAUSE:
            spoken[last:index] = True
        last = index
    return spoken


def _bins(spec: MelSpec, low_hz: float, high_hz: float) -> slice:
    """Return the mel bins between two frequencies (Slaney's scale is linear below 1 kHz)."""
    import librosa

    centres = librosa.mel_frequencies(spec.bins + 2, fmin=spec.fmin, fmax=spec.fmax)[1:-1]
    inside = np.flatnonzero((centres >= low_hz) & (centres <= high_hz))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _brightness(mel: np.ndarray, f0: np.ndarray, spec: MelSpec) -> float:
    voiced = f0[: 4 * mel.shape[1]].reshape(mel.shape[1], -1).min(1) > 0
    frames = mel[:, voiced] if voiced.any() else mel
    high = frames[_bins(spec, 2000, 7000)].mean()
    low = frames[_bins(spec, 100, 1000)].mean()
    return float((high - low) * 2 * _DB)


def _clearness(audio: Audio, f0: np.ndarray) -> float:
    """Harmonics-to-noise ratio in dB: the autocorrelation a period later (Boersma 1993)."""
    low = audio.resampled(_LOW_RATE).samples.astype(np.float64)
    ratios = []
    for frame in range(0, len(f0), 4):
        hertz = f0[frame]
        if hertz <= 0:
            continue
        period = _LOW_RATE / hertz
        size = round(2 * period)
        start = round(frame * _LOW_RATE * _FRAME_S / 4) - size // 2
        if start < 0 or start + size + round(1.1 * period) + 1 > len(low):
            continue
        piece = low[start : start + size]
        best = 0.0
        for lag in range(math.floor(0.94 * period), math.ceil(1.06 * period) + 1):
            later = low[start + lag : start + lag + size]
            norm = math.sqrt(float(piece @ piece) * float(later @ later)) + 1e-12
            best = max(best, float(piece @ later) / norm)
        best = min(max(best, 0.01), 0.999)
        ratios.append(10 * math.log10(best / (1 - best)))
    return float(np.median(ratios)) if ratios else 0.0
