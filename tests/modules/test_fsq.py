"""Finite scalar quantisation and the tokenizer's encoder."""

from __future__ import annotations

import pytest
import tiny
import torch

from voxkit.modules.fsq import FsqEncoder, codes_to_tokens, quantise, tokens_to_codes

SPEC = tiny.SPEC.tokenizer


def encoder() -> FsqEncoder:
    return tiny.stir(FsqEncoder(SPEC, tiny.MEL.bins))


def mel(batch: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, tiny.MEL.bins, frames, generator=tiny.seeded(seed))


@pytest.mark.parametrize(("levels", "dims"), [(3, 8), (3, 4), (5, 3), (7, 2)])
def test_every_token_survives_the_way_to_its_code_and_back(levels: int, dims: int) -> None:
    tokens = torch.arange(levels**dims)
    codes = tokens_to_codes(tokens, levels, dims)
    assert codes.shape == (levels**dims, dims)
    assert len(codes.unique(dim=0)) == levels**dims
    torch.testing.assert_close(codes.unique(), torch.linspace(-1, 1, levels))
    assert torch.equal(codes_to_tokens(codes, levels), tokens)


def test_the_first_dimension_is_the_least_significant_digit() -> None:
    assert tokens_to_codes(torch.tensor([0, 1, 2, 3]), 3, 2).tolist() == [
        [-1, -1],
        [0, -1],
        [1, -1],
        [-1, 0],
    ]


def test_shapes_before_the_code_are_kept() -> None:
    tokens = torch.randint(0, 81, (2, 3, 5), generator=tiny.seeded(0))
    assert torch.equal(codes_to_tokens(tokens_to_codes(tokens, 3, 4), 3), tokens)


@pytest.mark.parametrize("levels", [3, 5])
def test_rounding_goes_to_the_nearest_level(levels: int) -> None:
    x = torch.randn(200, generator=tiny.seeded(0)) * 2
    made = quantise(x, levels)
    steps = torch.linspace(-1, 1, levels)
    nearest = steps[(torch.tanh(x)[:, None] - steps).abs().argmin(1)]
    torch.testing.assert_close(made, nearest, atol=1e-6, rtol=0)


def test_gradients_pass_straight_through_the_rounding() -> None:
    x = torch.linspace(-2, 2, 9, requires_grad=True)
    quantise(x, 3).sum().backward()
    torch.testing.assert_close(x.grad, 1 - torch.tanh(x.detach()) ** 2)


def test_two_mel_frames_make_one_code() -> None:
    codes = encoder()(mel(2, 14))
    assert codes.shape == (2, 7, SPEC.dims)
    assert set(codes.detach().round(decimals=5).unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_no_frames_make_no_codes() -> None:
    assert encoder()(mel(1, 0)).shape == (1, 0, SPEC.dims)


def test_many_different_codes_come_out() -> None:
    tokens = codes_to_tokens(encoder()(mel(1, 200)), SPEC.levels)
    assert len(tokens.unique()) > 20
    assert set(tokens.flatten().tolist()) <= set(range(SPEC.codebook))


def test_gradients_reach_every_parameter() -> None:
    net = encoder()
    net(mel(2, 12)).square().mean().backward()
    assert tiny.without_gradient(net) == []


def test_the_encoder_learns_one_batch_by_heart() -> None:
    net = encoder()
    x = mel(1, 24)
    wanted = tokens_to_codes(
        torch.randint(0, SPEC.codebook, (1, 12), generator=tiny.seeded(3)), SPEC.levels, SPEC.dims
    )
    losses = tiny.fit(net, lambda: (net(x) - wanted).square().mean(), steps=80, lr=0.01)
    assert losses[-1] < 0.2 * losses[0]
