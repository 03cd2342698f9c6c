"""Tells whether a recording is good to clone from: its length, its noise, a second speaker."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxkit.audio import Audio
from voxkit.reference import Clip

_HOP_S = 0.01
_QUIET_DB, _LOUD_DB = -40.0, -6.0  # dBFS of speech
_LEAST_SNR_DB, _LEAST_SPEECH_S, _LEAST_BANDWIDTH_HZ = 20.0, 3.0, 5_500
_MOST_CLIPPED = 0.002  # share of the speech
_TURN_S, _MOST_TURNS = 1.6, 40  # of speech that is heard at a time, for a second speaker
_STRANGER = 0.4  # similarity below which two turns are of two people: one scores 0.6 to 0.9


@dataclass(frozen=True)
class Report:
    """What was found in a recording."""

    seconds: float
    sample_rate: int
    speech_s: float
    used_s: tuple[float, float]  # the stretch to clone from begins and ends here
    level_dbfs: float  # RMS of the speech
    snr_db: float  # speech against what lies between; at most 60
    clipped: float  # share of the speech that was cut off, 0 to 1
    bandwidth_hz: int  # up to where there is sound
    second_speaker: float | None  # similarity of the two most different voices heard, -1 to 1
    advice: tuple[str, ...]  # what to mend; empty if nothing


def examine(
    audio: Audio, phrases: np.ndarray, clip: Clip, turns: Sequence[np.ndarray] = ()
) -> Report:
    """Examine a recording whose speech lies in `phrases` (P, 2), frames of 10 ms.

    `turns` are speaker vectors (D,) of stretches of it, of unit length (see `speech_turns`).
    """
    speech, rest = _split(audio, phrases)
    power = _power(speech)
    level = 10 * math.log10(power + 1e-12)
    noise = _noise(audio, rest, speech)
    snr = 10 * math.log10(max(power - noise, 1e-12) / (noise + 1e-12))
    peak = float(np.abs(audio.samples).max())
    cut = np.abs(speech) >= max(0.98, 0.9995 * peak)
    clipped = float(_runs(cut).sum() / max(1, len(speech)))
    stranger = _stranger(turns)
    report = Report(
        seconds=round(audio.seconds, 2),
        sample_rate=audio.sample_rate,
        speech_s=round(float((phrases[:, 1] - phrases[:, 0]).sum() * _HOP_S), 2),
        used_s=(round(clip.start_s, 2), round(clip.end_s, 2)),
        level_dbfs=round(level, 1),
        snr_db=round(min(max(snr, 0.0), 60.0), 1),
        clipped=round(clipped, 5),
        bandwidth_hz=_bandwidth(speech, audio.sample_rate),
        second_speaker=None if stranger is None else round(stranger, 2),
        advice=(),
    )
    return Report(**{**report.__dict__, "advice": tuple(_advice(report))})


def speech_turns(audio: Audio, phrases: np.ndarray) -> list[Audio]:
    """Cut the speech of a recording into stretches from which a speaker can be told."""
    hop = round(audio.sample_rate * _HOP_S)
    size, turns = int(_TURN_S / _HOP_S), []
    for start, end in phrases:
        count = max(1, round((end - start) / size))
        if end - start < size // 2:
            continue
        edges = np.linspace(start, end, count + 1).astype(int)
        turns += [(a, b) for a, b in itertools.pairwise(edges)]
    chosen = np.unique(np.linspace(0, len(turns) - 1, min(len(turns), _MOST_TURNS)).astype(int))
    pieces = [audio.samples[turns[i][0] * hop : turns[i][1] * hop] for i in chosen] if turns else []
    return [
        Audio(p * np.float32(0.1 / max(1e-6, _power(p) ** 0.5)), audio.sample_rate) for p in pieces
    ]


def _split(audio: Audio, phrases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples of the speech, and those of what lies between and around it."""
    hop = round(audio.sample_rate * _HOP_S)
    spoken = np.zeros(len(audio.samples), bool)
    for start, end in phrases:
        spoken[start * hop : end * hop] = True
    return audio.samples[spoken], audio.samples[~spoken]


def _noise(audio: Audio, rest: np.ndarray, speech: np.ndarray) -> float:
    """Return the power of the background: of the quieter pauses, or of the quietest speech."""
    hop = round(audio.sample_rate * _HOP_S)
    source, share = (rest, 50) if len(rest) > 30 * hop else (speech, 5)
    frames = source[: len(source) // hop * hop].reshape(-1, hop)
    powers = np.square(frames, dtype=np.float64).mean(1)
    return float(np.mean(powers[powers <= np.percentile(powers, share)])) if len(powers) else 0.0


def _power(samples: np.ndarray) -> float:
    return float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0


def _runs(flags: np.ndarray) -> np.ndarray:
    """Return the flags (S,) that stand in runs of three or more: a lone peak was not cut off."""
    three = flags[:-2] & flags[1:-1] & flags[2:]
    kept = np.zeros_like(flags)
    for shift in range(3):
        kept[shift : shift + len(three)] |= three
    return kept


def _bandwidth(speech: np.ndarray, rate: int) -> int:
    """Return the frequency in Hz above which the strongest sounds leave nothing (55 dB down)."""
    size = 1024
    if len(speech) < size:
        return rate // 2
    frames = speech[: len(speech) // size * size].reshape(-1, size) * np.hanning(size)
    spectrum = np.percentile(np.abs(np.fft.rfft(frames)) ** 2, 95, axis=0)
    smooth = np.convolve(spectrum, np.ones(9) / 9, "same")
    present = np.flatnonzero(smooth > smooth.max() * 10**-5.5)
    return round((int(present[-1]) if len(present) else 0) * rate / size / 100) * 100


def _stranger(turns: Sequence[np.ndarray]) -> float | None:
    """Return how alike the two groups are into which speaker vectors fall best."""
    if len(turns) < 4:
        return None
    vectors = np.stack(turns)
    directions = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[0][:, :2]
    least = 1.0
    for side in (directions > 0).T:
        if min(side.sum(), (~side).sum()) >= 2:
            one, other = vectors[side].mean(0), vectors[~side].mean(0)
            alike = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
            least = min(least, float(alike))
    return least


def _advice(report: Report) -> list[str]:
    """Say what to mend, the worst first."""
    said = []
    if report.second_speaker is not None and report.second_speaker < _STRANGER:
        said.append("A second person seems to speak: give a recording of one alone.")
    if report.speech_s < _LEAST_SPEECH_S:
        said.append(f"Only {report.speech_s:.1f} s of speech: 5 to 10 s make a better voice.")
    if report.clipped > _MOST_CLIPPED:
        said.append(
            "It is overdriven: record again with less gain, or further from the microphone."
        )
    if report.snr_db < _LEAST_SNR_DB:
        said.append("There is noise or echo behind the speech: record in a quieter room, closer.")
    if report.bandwidth_hz < _LEAST_BANDWIDTH_HZ:
        said.append("It sounds like a telephone: find a recording with the high frequencies.")
    if report.level_dbfs < _QUIET_DB:
        said.append("It is very quiet, which brings up noise: record with more gain.")
    return said
