"""Brings what a model reads with a cloned voice nearer to the recording that the voice is from.

Tokens keep a little of who spoke them.  Those that text becomes are the reader's, and draw pitch
and colour towards the reader; those of a recording that is converted do not.  So a new voice is
made to read a few sentences, and where its pitch and colour then differ from those of the
recording, it keeps the difference: a factor of pitch and, for every mel bin, what is to be added.
Colour is compared as long-term average spectra of the louder frames, which hardly depend on the
words (Löfqvist and Mandersson 1987, "Long-time average spectrum of speech and voice analysis",
Folia Phoniatrica 39).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from voxkit.audio import Audio
from voxkit.options import Options
from voxkit.voice import Description, Voice

_PITCH_FACTORS = (2 ** (-3 / 12), 2 ** (3 / 12))  # beyond three semitones the ear erred
_LOUD = 3.0  # nepers below the loud frames, and those that count end
_SHARE = 0.75  # of a difference is kept: two stretches of one speaker differ by the rest
_MOST = 1.1  # nepers that a bin is changed by at most


class Speaker(Protocol):
    """A model that speaks."""

    def speak(self, text: str, voice: Voice, options: Options) -> Audio:
        """Return a text as spoken by a voice."""


class Listener(Protocol):
    """A model's ear."""

    def describe(self, audio: Audio, text_ids: tuple[int, ...] | None) -> Description:
        """Return what a voice keeps of a recording."""


def likened(
    voice: Voice,
    lines: Sequence[str],
    speaker: Speaker,
    listener: Listener,
    mel: np.ndarray | None = None,
) -> Voice:
    """Return the voice with the pitch factor and timbre that bring it nearer to its recording.

    It says `lines`, always with the same seeds.  The recording's pitch is that of its attributes,
    its colour that of `mel` (M, F) in natural log, by default of the voice's own mel.
    """
    voice = dataclasses.replace(voice, reading_pitch_factor=1.0, timbre=None)
    said = [speaker.speak(line, voice, Options(seed=i)) for i, line in enumerate(lines)]
    whole = Audio(np.concatenate([audio.samples for audio in said]), said[0].sample_rate)
    heard = listener.describe(whole, None)
    aim, found = voice.attributes.get("pitch_hz"), heard.attributes.get("pitch_hz")
    low, high = _PITCH_FACTORS
    factor = min(max(aim / found, low), high) if aim and found else 1.0
    apart = spectrum(voice.mel if mel is None else mel) - spectrum(heard.mel)
    apart = np.pad(apart - np.median(apart), 1, mode="edge")
    apart = _SHARE * np.convolve(apart, (0.25, 0.5, 0.25), "valid")
    timbre = np.clip(apart, -_MOST, _MOST).astype(np.float32)
    return dataclasses.replace(voice, reading_pitch_factor=factor, timbre=timbre)


def spectrum(mel: np.ndarray) -> np.ndarray:
    """Log-mel (M, F) → its mean (M,) over the louder frames."""
    level = mel.mean(0)
    loud = level > np.percentile(level, 95) - _LOUD
    return np.asarray(mel[:, loud].mean(1))
