"""What is measured of how somebody speaks, and how the networks are told of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny

from voxkit.prosody import attributes, controls, measure

ALL = {"rate_phones_s": 14.0, "pitch_hz": 180.0, "pitch_range_st": 3.0, "energy_db": -45.0}


def mel(level: float = -5.0, frames: int = 40) -> np.ndarray:
    return np.full((16, frames), level, np.float32)


def test_the_median_of_the_voiced_frames_is_the_pitch() -> None:
    f0 = np.concatenate([np.zeros(50), np.full(20, 100.0), np.full(21, 120.0)])
    assert measure(f0, mel(), None)["pitch_hz"] == pytest.approx(120.0)


@pytest.mark.parametrize("semitones", [0.5, 2.0, 6.0])
def test_the_pitch_range_is_the_deviation_in_semitones(semitones: float) -> None:
    rng = np.random.default_rng(0)
    f0 = 150.0 * 2 ** (semitones * rng.standard_normal(4000) / 12)
    found = measure(f0, mel(), None)["pitch_range_st"]
    assert found == pytest.approx(semitones, rel=0.05)


def test_a_few_voiced_frames_tell_no_pitch() -> None:
    f0 = np.concatenate([np.zeros(50), np.full(15, 100.0)])
    assert set(measure(f0, mel(), None)) == {"energy_db"}


def test_the_energy_is_the_level_of_the_louder_frames() -> None:
    loud = mel(-3.0, 20)
    quiet = mel(-11.0, 20)
    found = measure(np.zeros(0), np.concatenate([loud, quiet], axis=1), None)
    assert found["energy_db"] == pytest.approx(-3.0 * 20 / math.log(10), abs=1e-3)


@pytest.mark.parametrize(("rate", "known"), [(12.5, True), (0.0, False), (None, False)])
def test_the_rate_is_told_if_it_is_known(rate: float | None, known: bool) -> None:
    assert ("rate_phones_s" in measure(np.zeros(0), mel(), rate)) == known


def test_nothing_at_all_tells_nothing() -> None:
    assert measure(np.zeros(0), mel(frames=0), None) == {}


def test_controls_lead_back_to_the_attributes() -> None:
    values, given = controls(ALL, tiny.MEL)
    assert values.dtype == given.dtype == np.float32
    back = attributes(values, given > 0, tiny.MEL)
    assert back == {name: pytest.approx(value, rel=1e-4) for name, value in ALL.items()}


@pytest.mark.parametrize("left_out", ALL)
def test_what_is_left_out_is_not_given_and_zero(left_out: str) -> None:
    some = {name: value for name, value in ALL.items() if name != left_out}
    values, given = controls(some, tiny.MEL)
    assert given.sum() == 3
    assert (values[given == 0] == 0).all()
    assert set(attributes(values, given > 0, tiny.MEL)) == set(some)


def test_extremes_are_kept_within_three_spreads() -> None:
    values, _ = controls({"pitch_hz": 4000.0, "rate_phones_s": 0.01}, tiny.MEL)
    assert values[1] == 3.0
    assert values[0] == -3.0


def test_an_octave_up_is_two_spreads_of_pitch_up() -> None:
    low, _ = controls({"pitch_hz": 100.0}, tiny.MEL)
    high, _ = controls({"pitch_hz": 200.0}, tiny.MEL)
    assert high[1] - low[1] == pytest.approx(math.log(2) / 0.35, rel=1e-4)
