"""Residual blocks over time: what they see, in pieces and whole."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from voxkit.modules.temporal import CausalTemporalBlock, TemporalBlock, beside


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=tiny.seeded(seed))


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_neighbours_lie_beside_each_frame(dilation: int) -> None:
    x = noise(2, 5, 4)
    sides = beside(x, dilation)
    outside = torch.zeros(2, 4)
    for t in range(5):
        before = x[:, t - dilation] if t >= dilation else outside
        after = x[:, t + dilation] if t + dilation < 5 else outside
        torch.testing.assert_close(sides[:, t], torch.cat([before, x[:, t], after], dim=-1))


def seen_from(block: torch.nn.Module, frame: int) -> list[int]:
    """Frames of the input that decide one frame of the output."""
    x = noise(1, 12, 8).requires_grad_()
    block(x)[0, frame].square().sum().backward()
    return x.grad[0].abs().sum(-1).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_block_sees_one_neighbour_on_either_side(dilation: int) -> None:
    block = tiny.stir(TemporalBlock(8, dilation))
    assert seen_from(block, 6) == [6 - dilation, 6, 6 + dilation]


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_causal_block_sees_two_frames_of_the_past_and_none_of_the_future(dilation: int) -> None:
    block = tiny.stir(CausalTemporalBlock(8, dilation))
    assert seen_from(block, 8) == [8 - 2 * dilation, 8 - dilation, 8]


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_causal_block_in_pieces_equals_the_whole(dilation: int, seed: int) -> None:
    block = tiny.stir(CausalTemporalBlock(16, dilation)).eval()
    x = noise(2, 41, 16, seed=seed)
    state, made = block.init_state(2), []
    for start, end in tiny.cuts(41, np.random.default_rng(seed), 9):
        y, state = block.step(x[:, start:end], state)
        made.append(y)
        assert state.shape == (2, 2 * dilation, 16)
    # 1e-5: matrix products of other sizes add up in another order
    torch.testing.assert_close(torch.cat(made, dim=1), block(x), atol=1e-5, rtol=0)


def test_a_new_block_changes_little() -> None:
    with torch.random.fork_rng(devices=[]):
        block = TemporalBlock(16)
    x = noise(1, 20, 16)
    assert (block(x) - x).abs().mean() < 0.05


@pytest.mark.parametrize("kind", [TemporalBlock, CausalTemporalBlock])
def test_gradients_reach_every_parameter(kind: type[TemporalBlock]) -> None:
    block = tiny.stir(kind(8))
    block(noise(2, 6, 8)).square().mean().backward()
    assert tiny.without_gradient(block) == []


@pytest.mark.parametrize("kind", [TemporalBlock, CausalTemporalBlock])
def test_a_block_learns_one_batch_by_heart(kind: type[TemporalBlock]) -> None:
    block = tiny.stir(kind(16))
    x, target = noise(1, 12, 16), noise(1, 12, 16, seed=1)
    losses = tiny.fit(block, lambda: (block(x) - target).square().mean(), steps=60, lr=0.01)
    assert losses[-1] < 0.1 * losses[0]
