"""Attention in stretches and by products against torch's kernel under a mask."""

from __future__ import annotations

import pytest
import torch
from tiny import seeded
from torch import Tensor
from torch.nn import functional as F

from voxkit.modules.attention import ROWS, attend, by_products
from voxkit.modules.chunks import ChunkMask

CPU = torch.device("cpu")


def drawn(queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of two rows and three heads of eight channels."""
    draw = seeded(4)
    shapes = [(2, 3, queries, 8), (2, 3, keys, 8), (2, 3, keys, 8)]
    query, key, value = (torch.randn(shape, generator=draw) for shape in shapes)
    return query * 2, key, value


def plain(query: Tensor, keys: Tensor, values: Tensor, mask: ChunkMask | None) -> Tensor:
    """Attend in float64, all at once."""
    dense = None if mask is None else mask.dense(CPU)
    inputs = query.double(), keys.double(), values.double()
    return F.scaled_dot_product_attention(*inputs, dense).transpose(1, 2).flatten(2)


# Stretches of two chunks of five: whole, from within a chunk, from a later one, all in one chunk.
@pytest.mark.parametrize("start, stop", [(0, 23), (3, 23), (10, 26), (10, 12)])
@pytest.mark.parametrize("function", [attend, by_products])
def test_stretches_see_what_the_mask_shows(function, start: int, stop: int) -> None:  # type: ignore[no-untyped-def]
    mask = ChunkMask(start, stop, 5)
    inputs = drawn(stop - start, stop)
    wanted = plain(*inputs, mask)
    assert (function(*inputs, mask) - wanted).abs().max() < 2e-6
    if not mask.is_clear:  # the mask is not without effect
        assert (plain(*inputs, None) - wanted).abs().max() > 0.1


@pytest.mark.parametrize("function", [attend, by_products])
def test_without_a_mask_everything_is_seen(function) -> None:  # type: ignore[no-untyped-def]
    inputs = drawn(4, 9)
    assert (function(*inputs, None) - plain(*inputs, None)).abs().max() < 2e-6


@pytest.mark.parametrize("scale, bound", [(0.5, 0.007), (1.0, 0.01), (4.0, 0.02)])
def test_in_bf16_errors_are_those_of_rounded_scores(scale: float, bound: float) -> None:
    mask = ChunkMask(0, 400, 50)
    query, keys, values = (x.bfloat16() for x in drawn(400, 400))
    inputs = ((query * scale).bfloat16(), keys, values)
    wanted = plain(*inputs, mask)
    for function in (attend, by_products):
        error = (function(*inputs, mask) - wanted).square().mean() / wanted.square().mean()
        assert error.sqrt() < bound


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_no_queries_see_nothing(kind: torch.dtype) -> None:
    query, keys, values = (x.to(kind) for x in drawn(0, 5))
    assert attend(query, keys, values, ChunkMask(5, 5, 5)).shape == (2, 0, 24)


def test_many_queries_without_a_mask_go_through_in_stretches() -> None:
    inputs = drawn(2 * ROWS + 3, 7)
    assert (by_products(*inputs, None) - plain(*inputs, None)).abs().max() < 2e-6


def test_a_row_that_is_no_number_leaves_the_others_alone() -> None:
    query, keys, values = drawn(4, 9)
    query = query * 200
    wanted = plain(query, keys, values, None)
    query[0, 0, 1] = torch.nan
    made = by_products(query, keys, values, None)
    assert made[0, 1, :8].isnan().all()  # of the first head
    made[0, 1, :8] = wanted[0, 1, :8]
    assert (made - wanted).abs().max() < 1e-3


def test_keys_that_lie_in_larger_memory_are_taken_as_they_are() -> None:
    query, keys, values = drawn(10, 30)
    mask = ChunkMask(10, 20, 5)
    part = keys[:, :, :20], values[:, :, :20]
    for function in (attend, by_products):
        assert torch.allclose(
            function(query, *part, mask), function(query, *(x.clone() for x in part), mask)
        )


@pytest.mark.parametrize("scale", [1.0, 40.0, 2000.0])
@pytest.mark.parametrize("shift", [-300.0, 0.0, 300.0])
def test_scores_of_any_size_are_weighed(scale: float, shift: float) -> None:
    """Beyond e^±88 the powers themselves would be lost."""
    query, keys, values = drawn(10, 20)
    query = torch.cat([query * scale, torch.ones_like(query[..., :1])], dim=3)
    keys = torch.cat([keys, torch.full_like(keys[..., :1], 3 * shift)], dim=3)  # 3 is √9
    mask = ChunkMask(10, 20, 5)
    wanted = plain(query, keys, values, mask)
    assert (by_products(query, keys, values, mask) - wanted).abs().max() < 2e-5 * max(scale, 1)
