"""Cuts a recording of any length at its quietest moments into pieces that are worked on in turn.

Memory stays bounded however long the recording is: a piece and a little of its neighbours are all
that is kept.  Cuts lie on the grid of speech tokens, so that the pieces put together again are as
long as the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from voxkit.audio import Audio

CONTEXT = 25  # tokens of the neighbours that come with a piece, 1 s
_FIRST_S, _LATER_S = (2.0, 4.0), (6.0, 12.0)  # a piece lasts from … to …; the first is heard sooner
_SPEECH_RMS = 0.1  # -20 dBFS, what the tokenizers were trained on
_MOST_GAIN = 10.0  # 20 dB; what is quieter is background
_SILENT_RMS = 3e-4  # -70 dBFS


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of a recording, brought to the level of speech, with what lies around it."""

    heard: Audio  # the stretch between its neighbours' ends
    before: int  # tokens of `heard` that come before the stretch; what lies after it is the rest
    samples: int  # of the stretch; a multiple of a token's but for the last
    silent: bool  # nothing to hear in it


def resampled(blocks: Iterable[Audio], rate: int) -> Iterator[np.ndarray]:
    """Yield the samples of a recording that comes in blocks at another rate, of the same length."""
    stream, source, seen, given = None, 0, 0, 0
    for block in blocks:
        if stream is None and block.sample_rate != rate:
            import soxr

            stream = soxr.ResampleStream(block.sample_rate, rate, 1)
        source = source or block.sample_rate
        if block.sample_rate != source:
            raise ValueError(f"a block of {block.sample_rate} Hz among blocks of {source} Hz")
        seen += len(block.samples)
        samples = block.samples if stream is None else stream.resample_chunk(block.samples)
        given += len(samples)
        yield np.clip(samples, -1.0, 1.0)
    if stream is not None:
        rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = round(seen * rate / source) - given
        yield np.clip(np.pad(rest, (0, max(0, missing - len(rest))))[:missing], -1.0, 1.0)


def pieces(samples: Iterable[np.ndarray], rate: int, token: int) -> Iterator[Piece]:
    """Cut samples that come in blocks into pieces on a grid of `token` samples."""
    held = np.zeros(0, np.float32)  # up to CONTEXT tokens that have gone, and all that have not
    gone, level, bounds = 0, 0.0, _FIRST_S
    for block in chain(samples, (None,)):
        if block is not None:
            held = np.concatenate([held, block])
        low, high = (round(s * rate / token) * token for s in bounds)
        while len(held) - gone > (0 if block is None else high + CONTEXT * token):
            size = len(held) - gone
            if size > high:
                size = low + _quietest(held[gone + low : gone + high], token)
            piece, level = _piece(held, gone, size, rate, token, level)
            yield piece
            held = held[max(0, gone + size - CONTEXT * token) :]
            gone, bounds = min(CONTEXT * token, gone + size), _LATER_S
            low, high = (round(s * rate / token) * token for s in bounds)


def _quietest(samples: np.ndarray, token: int) -> int:
    """Return the multiple of `token` in the middle of the quietest three tokens of samples."""
    power = np.square(samples[: len(samples) // token * token].reshape(-1, token)).mean(1)
    if len(power) < 3:
        return len(power) // 2 * token
    return (int(np.argmin(np.convolve(power, np.ones(3), "valid"))) + 1) * token


def _piece(
    held: np.ndarray, gone: int, size: int, rate: int, token: int, level: float
) -> tuple[Piece, float]:
    """Return the piece of `size` samples from `gone` on, and the level of speech so far."""
    after = min(len(held), gone + size + CONTEXT * token)
    body, heard = held[gone : gone + size], held[:after]
    loud = _loudness(body, token)
    level = loud if loud > level else 0.8 * level + 0.2 * loud
    gain = min(_SPEECH_RMS / max(level, 1e-9), _MOST_GAIN)
    padded = np.pad(np.clip(heard * np.float32(gain), -1, 1), (0, -len(heard) % token))
    silent = not len(body) or float(np.abs(body).max()) < _SILENT_RMS
    return Piece(Audio(padded.astype(np.float32), rate), gone // token, size, silent), level


def _loudness(samples: np.ndarray, token: int) -> float:
    """Return the RMS of the louder half of the tokens, which is about that of the speech."""
    whole = samples[: max(token, len(samples) // token * token)]
    power = np.square(np.pad(whole, (0, -len(whole) % token)).reshape(-1, token)).mean(1)
    return math.sqrt(float(np.sort(power)[len(power) // 2 :].mean()))
