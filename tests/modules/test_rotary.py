"""Rotary positions."""

from __future__ import annotations

import tiny
import torch

from voxkit.modules.rotary import rotary, rotate


def test_pairs_turn_as_complex_numbers_do() -> None:
    x = torch.randn(5, 8, generator=tiny.seeded(0))
    positions = torch.tensor([0, 1, 2, 7, 100])
    turned = rotate(x, *rotary(positions, 8, 10_000.0))
    angle = positions[:, None] * 10_000.0 ** (-torch.arange(4) / 4)
    wanted = torch.complex(x[:, :4], x[:, 4:]) * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(turned, torch.cat([wanted.real, wanted.imag], dim=-1))


def test_position_zero_turns_nothing() -> None:
    x = torch.randn(3, 6, generator=tiny.seeded(0))
    assert torch.equal(rotate(x, *rotary(torch.zeros(3), 6, 10_000.0)), x)


def test_only_the_distance_matters_to_a_product() -> None:
    query, key = torch.randn(2, 16, generator=tiny.seeded(0))

    def product(m: int, n: int) -> torch.Tensor:
        angles = rotary(torch.tensor([m, n]), 16, 10_000.0)
        a, b = rotate(torch.stack([query, key]), *angles)
        return a @ b

    torch.testing.assert_close(product(3, 8), product(103, 108), atol=1e-4, rtol=0)
    assert (product(3, 8) - product(3, 9)).abs() > 1e-3


def test_half_precision_stays_half() -> None:
    x = torch.randn(3, 6, generator=tiny.seeded(0)).half()
    assert rotate(x, *rotary(torch.arange(3), 6, 10_000.0)).dtype == torch.float16
