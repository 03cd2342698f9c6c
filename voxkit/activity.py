"""Finds where somebody speaks in a recording, by the voice activity detector Silero VAD.

Its network comes with the package `silero-vad` (Silero Team, https://github.com/snakers4/silero-vad)
and is run through onnxruntime.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from voxkit import onnx
from voxkit.audio import Audio
from voxkit.errors import AudioError

_RATE = 16_000  # Hz, that the network hears
_WINDOW, _CONTEXT = 512, 64  # samples that it takes at a time, and those before that it sees again
_ON, _OFF = 0.5, 0.35  # probability from which speech begins, and below which it ends
_PAUSE_S, _CLICK_S = 0.15, 0.1  # a shorter gap is no pause, a shorter sound no speech
_EDGE_S = 0.04  # the network hears beginnings late and ends early
_FRAME_S = 0.01  # of the phrases


def find_phrases(audio: Audio) -> np.ndarray:
    """Return the stretches of speech (P, 2) in frames of 10 ms: the first, and that after the last.

    Raises `AudioError` if the detector is not installed.
    """
    chances = speech_chances(audio)
    found, start = [], None
    for index, chance in enumerate([*chances, 0.0]):
        if start is None and chance >= _ON:
            start = index
        elif start is not None and chance < _OFF:
            found.append((start, index))
            start = None
    window, frames = _WINDOW / _RATE, int(audio.seconds / _FRAME_S)
    spoken: list[tuple[float, float]] = []
    for first, after in found:
        begin, end = first * window - _EDGE_S, after * window + _EDGE_S
        if spoken and begin - spoken[-1][1] < _PAUSE_S:
            spoken[-1] = (spoken[-1][0], end)
        else:
            spoken.append((begin, end))
    long = [(a, b) for a, b in spoken if b - a >= _CLICK_S + 2 * _EDGE_S]
    phrases = np.array(long).reshape(-1, 2) / _FRAME_S
    return np.clip(phrases.round().astype(np.int64), 0, frames)


def speech_chances(audio: Audio) -> np.ndarray:
    """Return the probability of speech in each window of 32 ms."""
    session = _session()
    samples = _loud(audio.resampled(_RATE).samples)
    count = -(-len(samples) // _WINDOW)
    samples = np.pad(samples, (_CONTEXT, count * _WINDOW - len(samples)))
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(_RATE, np.int64)
    chances = np.zeros(count, np.float32)
    for index in range(count):
        window = samples[None, index * _WINDOW : (index + 1) * _WINDOW + _CONTEXT]
        chance, state = session.run(None, {"input": window, "state": state, "sr": rate})
        chances[index] = chance[0, 0]
    return chances


def _loud(samples: np.ndarray) -> np.ndarray:
    """Bring a quiet recording to full scale: the detector takes what is faint for silence."""
    peak = float(np.percentile(np.abs(samples), 99.9)) if len(samples) else 0.0
    gain = 0.5 / peak if 1e-3 < peak < 0.5 else 1.0
    return np.clip(samples * np.float32(gain), -1, 1)


@lru_cache(maxsize=1)
def _session() -> Any:
    """Open the network; the package itself is not imported, since it loads torch."""
    found = importlib.util.find_spec("silero_vad")
    file = (
        Path(found.origin).parent / "data" / "silero_vad.onnx" if found and found.origin else None
    )
    if file is None or not file.is_file():
        raise AudioError(
            'Finding speech needs the package silero-vad: pip install "silero-vad>=5.1".'
        )
    return onnx.session(file)
