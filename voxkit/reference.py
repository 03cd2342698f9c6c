"""Finds the stretch of a recording that is best cloned from, and brings it to a common level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from voxkit.audio import LOWEST_RATE, Audio
from voxkit.errors import AudioError

_FRAME_S = 0.01  # of the energies below
_PAUSE = 15  # frames; a quieter stretch this long ends a phrase
_CLICK = 5  # frames; a shorter phrase is a click
_LEAD_S, _TAIL_S, _FADE_S = 0.05, 0.1, 0.01  # kept before and after the speech, and faded
_SPEECH_RMS, _PEAK = 0.1, 0.9  # -20 dBFS, as speech corpora have it
_SILENT_DB = -60.0  # loudest third of a second below this: no speech was recorded
_LEAST_RANGE_DB = 6.0  # speech rises and falls by far more, hum and hiss by less


LONGEST_S, LONGEST_WHOLE_S = 10.0, 30.0  # of a clip; the second where its words are known


@dataclass(frozen=True, eq=False)
class Clip(Audio):
    """A recording as `reference_clip` makes it, ready to be cloned from."""

    start_s: float = 0.0  # where in the recording its speech begins …
    end_s: float = 0.0  # … and ends
    recording: Audio | None = None  # all of it


def fits_whole(phrases: np.ndarray) -> bool:
    """Tell whether a recording with speech in `phrases` (P, 2) is short enough to be used whole."""
    return int(phrases[-1, 1] - phrases[0, 0]) <= _room(LONGEST_WHOLE_S)


def _room(longest_s: float) -> int:
    """Return how many frames of speech go into a clip of that length."""
    return int((longest_s - _LEAD_S - _TAIL_S) / _FRAME_S)


def reference_clip(audio: Audio, *, whole: bool = False, phrases: np.ndarray | None = None) -> Clip:
    """Return the stretch of a recording to clone from, at most `LONGEST_S` long.

    Cut at pauses so that it holds as much clean speech as fits and ends in silence; without DC,
    speech at -20 dBFS RMS, peak at most 0.9.  `phrases` (P, 2) tells where speech is, in frames of
    10 ms; without it, where it is loud.  `whole` leaves no speech out, for a recording with a
    transcript.  A `Clip` stays as it is.  Raises `AudioError` for silence, less than 1 s of speech,
    or unusable samples.
    """
    if isinstance(audio, Clip):
        return audio
    rate = audio.sample_rate
    if rate < LOWEST_RATE:
        raise AudioError(f"The reference has {rate} Hz: give a recording of 8000 Hz or more.")
    if not np.isfinite(audio.samples).all():
        raise AudioError("The reference holds samples that are not numbers: export it again.")
    hop = round(rate * _FRAME_S)
    offset = audio.samples.sum(dtype=np.float64) / max(1, len(audio.samples))
    samples = audio.samples - np.float32(offset)
    levels = _levels_db(samples, hop)
    if phrases is None:
        phrases = _phrases(levels)
    speech = float((phrases[:, 1] - phrases[:, 0]).sum() * _FRAME_S)
    if speech < 1.0:
        held = f"only {speech:.1f} s of" if speech else "no"
        raise AudioError(
            f"The reference holds {held} speech: give at least 1 s of it, better 5 to 10 s."
        )
    longest = LONGEST_WHOLE_S if whole else LONGEST_S
    room = _room(longest)
    span = int(phrases[-1, 1] - phrases[0, 0])
    if whole and span > room:
        raise AudioError(
            f"The reference speaks for {span * _FRAME_S:.1f} s and {longest:g} s can be used with "
            "a transcript: cut both to the same words, or give no transcript."
        )
    first, last = _best_stretch(phrases, levels, _clipped(samples, hop), room)
    spoken = [samples[max(a, first) * hop : min(b, last) * hop] for a, b in phrases]
    tail = round(_TAIL_S * rate)
    end = last * hop + (tail if last in phrases[:, 1] else 0)  # not into the next word
    clip = _faded(samples[max(0, first * hop - round(_LEAD_S * rate)) : end], rate)
    gain = min(_SPEECH_RMS / _rms(np.concatenate(spoken)), _PEAK / float(np.abs(clip).max()))
    silence = np.zeros(max(0, last * hop + tail - min(end, len(samples))), np.float32)
    made = np.concatenate([clip * np.float32(gain), silence])
    return Clip(made, rate, first * _FRAME_S, last * _FRAME_S, audio)


def loud_phrases(audio: Audio) -> np.ndarray:
    """Return where a recording is loud, as stretches (P, 2) in frames of 10 ms."""
    samples = audio.samples - audio.samples.mean(dtype=np.float64).astype(np.float32)
    return _phrases(_levels_db(samples, round(audio.sample_rate * _FRAME_S)))


def _levels_db(samples: np.ndarray, hop: int) -> np.ndarray:
    """Return the level of each 10 ms frame in dB of full scale, smoothed over three frames."""
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    if len(power) >= 3:
        power = np.convolve(np.pad(power, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    return 10.0 * np.log10(power + 1e-12)


def _phrases(levels: np.ndarray) -> np.ndarray:
    """Return the stretches of speech (P, 2), first frame and the frame after the last.

    A frame is speech when it is 10 dB above the background, but never more than 35 dB nor less than
    15 dB below the loudest third of a second.
    """
    if not len(levels):
        return np.zeros((0, 2), np.int64)
    top = float(np.sort(levels)[-min(len(levels), 33)])
    background = float(np.percentile(levels, 10))
    if top < _SILENT_DB or top - background < _LEAST_RANGE_DB:
        return np.zeros((0, 2), np.int64)
    threshold = max(top - 35.0, min(background + 10.0, top - 15.0))
    edges = np.flatnonzero(np.diff(np.pad(levels >= threshold, 1).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    apart = starts[1:] - ends[:-1] >= _PAUSE
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    return np.stack([starts, ends], axis=1)[ends - starts >= _CLICK]


def _clipped(samples: np.ndarray, hop: int) -> np.ndarray:
    """Return how many frames up to each one (F + 1,) hold samples that were cut off."""
    frames = np.abs(samples[: len(samples) // hop * hop].reshape(-1, hop))
    cut = (frames >= max(0.98, 0.999 * float(frames.max(initial=0)))).sum(axis=1) >= 3
    return np.concatenate([[0], np.cumsum(cut)])


def _best_stretch(
    phrases: np.ndarray, levels: np.ndarray, clipped: np.ndarray, room: int
) -> tuple[int, int]:
    """Return the frames (first, end) of the run of whole phrases within `room` with most speech.

    A clipped frame takes away what ten frames of speech give.  Where no such run is half full and a
    phrase does not fit, the longest is cut at the quietest frame of the last third of what does.
    """
    starts, ends = phrases[:, 0], phrases[:, 1]
    clean = ends - starts - 10 * (clipped[ends] - clipped[starts])
    spoken = np.concatenate([[0], np.cumsum(clean)])
    after = np.searchsorted(ends, starts + room, side="right")  # phrases that end within reach
    amounts = spoken[after] - spoken[np.arange(len(starts))]
    best = int(np.argmax(amounts))
    longest = int(np.argmax(ends - starts))
    if ends[longest] - starts[longest] <= room or amounts[best] >= room / 2:
        return int(starts[best]), int(ends[after[best] - 1])
    first = int(starts[longest])
    least = first + room * 2 // 3
    return first, least + int(np.argmin(levels[least : first + room]))


def _rms(samples: np.ndarray) -> float:
    return math.sqrt(float(np.square(samples, dtype=np.float64).mean()))


def _faded(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return a copy whose first and last 10 ms rise and fall, so that its ends do not click."""
    ramp = np.linspace(0.0, 1.0, round(_FADE_S * rate), dtype=np.float32)
    faded = samples.copy()
    faded[: len(ramp)] *= ramp
    faded[-len(ramp) :] *= ramp[::-1]
    return faded
