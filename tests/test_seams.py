"""No seam is heard where streamed speech of the bundled model is put together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxkit
from voxkit.audio import Audio

TEXT = "The birch canoe slid on the smooth planks. Two customers were already waiting in the cold."
HOP = 240  # samples between spectra, 10 ms


@pytest.fixture(scope="module")
def pieces() -> list[Audio]:
    engine = voxkit.load(threads=1)
    voice = voxkit.find_voice(engine.default_voice)
    return list(engine.stream(TEXT, voice, voxkit.Options(seed=3)))


def borders(pieces: list[Audio]) -> np.ndarray:
    """Samples where a piece begins that goes on with speech."""
    ends = np.cumsum([len(piece.samples) for piece in pieces])[:-1]
    silent = [not piece.samples.any() for piece in pieces]
    inside = [not (a or b) for a, b in zip(silent, silent[1:], strict=False)]
    return ends[np.array(inside)]


def flux(samples: np.ndarray) -> np.ndarray:
    """How much the log spectrum changes from each 20 ms to the next, every 10 ms."""
    window = torch.hann_window(2 * HOP)
    spectra = torch.stft(
        torch.from_numpy(samples), 2 * HOP, HOP, window=window, return_complex=True
    ).abs()
    levels = (spectra + 1e-3).log()
    return (levels[:, 2:] - levels[:, :-2]).square().mean(0).sqrt().numpy()


def test_samples_jump_no_more_where_pieces_meet_than_elsewhere(pieces: list[Audio]) -> None:
    samples = np.concatenate([piece.samples for piece in pieces])
    jumps, at = np.abs(np.diff(samples)), borders(pieces) - 1
    assert len(at) >= 4
    nearby = [jumps[max(0, b - 2400) : b + 2400].max() for b in at]  # a tenth of a second around
    assert (jumps[at] <= nearby).all()
    assert jumps[at].max() < np.quantile(jumps, 0.999)


def test_the_spectrum_changes_no_more_where_pieces_meet_than_elsewhere(
    pieces: list[Audio],
) -> None:
    samples = np.concatenate([piece.samples for piece in pieces])
    change, at = flux(samples), np.round(borders(pieces) / HOP).astype(int) - 1
    here = np.array([change[b - 1 : b + 2].mean() for b in at])
    elsewhere = np.convolve(change, np.full(3, 1 / 3), "valid")
    ranks = [(elsewhere < value).mean() for value in here]
    assert max(ranks) < 0.99
    assert np.mean(ranks) < 0.8


def test_whole_speech_is_the_stream_joined(pieces: list[Audio]) -> None:
    engine = voxkit.load(threads=1)
    voice = voxkit.find_voice(engine.default_voice)
    first = TEXT.partition(". ")[0] + "."
    whole = engine.speak(first, voice, voxkit.Options(seed=3)).samples
    joined = np.concatenate([piece.samples for piece in pieces])
    assert np.array_equal(joined[: len(whole)], whole)


def test_sentences_are_equally_loud(pieces: list[Audio]) -> None:
    silent = [not piece.samples.any() for piece in pieces]
    cut = silent.index(True)
    levels = [
        10 * np.log10(np.mean(np.concatenate([p.samples for p in part]) ** 2))
        for part in (pieces[:cut], pieces[cut + 1 :])
    ]
    assert abs(levels[0] - levels[1]) < 3.0  # dB
