"""A recording is cut at quiet moments into pieces that make up exactly the whole."""

from __future__ import annotations

import numpy as np
import pytest

from voxkit.audio import Audio
from voxkit.segments import CONTEXT, pieces, resampled

RATE, TOKEN = 8_000, 320


def noise(count: int, level: float = 0.05, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def blocks(samples: np.ndarray, parts: int, rate: int = RATE) -> list[Audio]:
    return [Audio(part, rate) for part in np.array_split(samples, parts)]


@pytest.mark.parametrize("count", [0, 1, TOKEN - 1, TOKEN, 3 * RATE + 7, 40 * RATE + 123])
def test_the_pieces_are_the_whole_in_order(count: int) -> None:
    samples = noise(count)
    made = list(pieces(resampled(blocks(samples, 7), RATE), RATE, TOKEN))
    assert sum(piece.samples for piece in made) == count
    start = 0
    for piece in made:
        body = piece.heard.samples[piece.before * TOKEN :][: piece.samples]
        part = samples[start : start + piece.samples]
        gain = float(body @ part / (part @ part))
        assert np.allclose(body, gain * part, atol=1e-4)  # brought to one level, nothing else
        start += piece.samples


def test_how_a_recording_comes_in_blocks_changes_no_piece() -> None:
    samples = noise(30 * RATE + 5)
    one, many = (list(pieces(resampled(blocks(samples, n), RATE), RATE, TOKEN)) for n in (1, 97))
    assert [(p.samples, p.before) for p in one] == [(p.samples, p.before) for p in many]
    assert all(
        np.array_equal(a.heard.samples, b.heard.samples) for a, b in zip(one, many, strict=True)
    )


def test_no_piece_holds_more_than_a_few_seconds_however_long_the_recording() -> None:
    def endless() -> list[Audio]:
        return [Audio(noise(RATE, seed=n), RATE) for n in range(120)]

    made = list(pieces(resampled(endless(), RATE), RATE, TOKEN))
    longest = max(piece.heard.seconds for piece in made)
    assert longest <= 12.0 + 2 * CONTEXT * TOKEN / RATE + 0.1
    assert made[0].samples <= 4 * RATE  # the first is heard sooner
    assert all(piece.before == CONTEXT for piece in made[2:])


def test_cuts_fall_into_pauses() -> None:
    samples = noise(30 * RATE, 0.2)
    quiet = [slice(round(s * RATE), round((s + 0.3) * RATE)) for s in (3.0, 10.0, 18.0, 26.0)]
    for pause in quiet:
        samples[pause] *= 0.01
    ends = np.cumsum([p.samples for p in pieces(iter([samples]), RATE, TOKEN)])[:-1]
    assert len(ends) >= 3
    assert all(any(pause.start <= end <= pause.stop for pause in quiet) for end in ends)


def test_speech_comes_to_one_level_and_silence_is_told() -> None:
    samples = np.concatenate([noise(12 * RATE, 0.01), np.zeros(30 * RATE, np.float32)])
    made = list(pieces(iter([samples]), RATE, TOKEN))
    assert not made[0].silent
    assert made[-1].silent
    assert np.sqrt(np.square(made[0].heard.samples).mean()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_another_rate_gives_the_same_duration(rate: int) -> None:
    samples = noise(rate * 3 + 17)
    made = np.concatenate(list(resampled(blocks(samples, 11, rate), RATE)))
    assert len(made) == round(len(samples) * RATE / rate)


def test_blocks_of_two_rates_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="8000 Hz"):
        list(resampled([Audio(noise(100), 8_000), Audio(noise(100), 16_000)], 8_000))
