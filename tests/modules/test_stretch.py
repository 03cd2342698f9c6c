"""Changing how fast a mel goes by."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from voxkit.modules.stretch import init_stretch

SPEEDS = [0.25, 0.5, 0.7, 0.9, 1.0, 1.1, 4 / 3, 2.0, 3.3, 4.0]


def whole(mel: Tensor, speed: float) -> Tensor:
    return init_stretch(speed).step(mel, True)[0]


def noise(frames: int) -> Tensor:
    return torch.randn(1, 5, frames, generator=tiny.seeded(0))


def test_speed_one_changes_nothing() -> None:
    mel = noise(7)
    assert torch.equal(whole(mel, 1.0), mel)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("frames", [1, 2, 40, 77])
def test_the_duration_is_divided_by_the_speed(speed: float, frames: int) -> None:
    made = whole(noise(frames), speed).shape[2]
    assert abs(made - frames / speed) <= 1  # frame


def test_frames_between_two_are_mixed_of_both() -> None:
    ramp = torch.arange(6.0)[None, None]
    assert whole(ramp, 0.5)[0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5]
    assert whole(ramp, 1.5)[0, 0].tolist() == [0, 1.5, 3, 4.5]


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("seed", range(4))
def test_pieces_equal_the_whole(speed: float, seed: int) -> None:
    mel, state, made = noise(61), init_stretch(speed), []
    for start, end in tiny.cuts(61, np.random.default_rng(seed), 8):
        part, state = state.step(mel[:, :, start:end], end == 61)
        made.append(part)
    # 1e-5: places between frames are added up, in double precision
    torch.testing.assert_close(torch.cat(made, dim=2), whole(mel, speed), atol=1e-5, rtol=0)


@pytest.mark.parametrize("speed", [0.5, 0.7, 2.0])
def test_the_end_may_come_without_frames(speed: float) -> None:
    mel = noise(20)
    first, state = init_stretch(speed).step(mel, False)
    rest, _ = state.step(mel[:, :, :0], True)
    joined = torch.cat([first, rest], dim=2)
    torch.testing.assert_close(joined, whole(mel, speed), atol=1e-5, rtol=0)


def test_nothing_becomes_nothing() -> None:
    assert whole(noise(0), 0.7).shape == (1, 5, 0)


@pytest.mark.parametrize("speed", [0.5, 0.7, 1.3, 2.0])
def test_what_is_kept_back_does_not_grow(speed: float) -> None:
    state = init_stretch(speed)
    for _ in range(20):
        _, state = state.step(noise(9), False)
        assert state.pending.shape[2] <= math.ceil(speed)


def test_the_pitch_of_a_mel_stays() -> None:
    mel = torch.zeros(1, 5, 30)
    mel[:, 3] = 1.0
    assert whole(mel, 1.7)[0].argmax(0).unique().tolist() == [3]
