"""Attention of the decoders: every frame sees its own chunk and all before it.

On a CPU, but for training, the queries go through in stretches of a few chunks, each with no more
keys than it sees: half of the pairs of a masked whole need not be looked at.  In bf16, torch's own
kernel is made for the matrix units of AMX; a processor that has only bf16 dot products is quicker
by plain products.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.modules.chunks import ChunkMask, Mask

CHUNKS = 2  # that a stretch has: products of one chunk are small, of more many pairs are hidden
ROWS = 200  # queries of a stretch without a mask
PAIRS = 40_000  # of a query and a key, in all heads: below, the calls themselves take the time

_FEW, _MANY = 1e-25, 1e25  # far from where sums of powers, or these times values, get lost


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Mask | None) -> Tensor:
    """query (B, H, T, D), keys and values (B, H, T', D) → (B, T, H · D), scaled by 1 / √D."""
    if isinstance(mask, Tensor):
        return _by_kernel(query, keys, values, mask)
    hidden = None if mask is None or mask.is_clear else mask
    if query.device.type != "cpu" or query.requires_grad or not query.shape[2]:
        return _by_kernel(query, keys, values, hidden)
    if products_are_quicker(query, keys):
        return by_products(query, keys, values, hidden)
    if hidden is None:  # the kernel itself goes through it bit by bit
        return _by_kernel(query, keys, values, None)
    made = []
    for part in _stretches(query.shape[2], keys.shape[2], hidden):
        known = keys[:, :, : part.keys], values[:, :, : part.keys]
        made.append(_by_kernel(query[:, :, part.rows], *known, part.mask))
    return torch.cat(made, dim=1)


def products_are_quicker(query: Tensor, keys: Tensor) -> bool:
    """Tell whether `by_products` beats torch's kernel for such a size on this processor."""
    return (
        query.dtype == torch.bfloat16
        and query.shape[:3].numel() * keys.shape[2] >= PAIRS
        and torch.cpu._is_avx512_bf16_supported()
        and not torch.cpu._is_amx_tile_supported()
    )


def by_products(query: Tensor, keys: Tensor, values: Tensor, mask: ChunkMask | None) -> Tensor:
    """Do what `attend` does by two products around a softmax, in bf16, float32 or float64.

    Scores, their powers and the sums of these are rounded to that type, which torch's kernel does
    not do: in bf16 the result's error is .005 of its size in place of .002 for scores around 1,
    .008 around 2.

    A softmax begins with the rows' maxima, which take as long as all else of it.  They only keep
    e^score within range, which it nearly always is without them.
    """
    batch, heads, queries, _ = query.shape
    keys, values = keys.flatten(0, 1), values.flatten(0, 1)
    stretches = _stretches(queries, keys.shape[1], mask)
    sums, made = [], []
    for part in stretches:
        powers = _scores(query, keys, part, math.log2(math.e)).exp2_()
        sums.append(powers.sum(dim=2, keepdim=True))
        made.append(torch.bmm(powers, values[:, : part.keys]))
    whole = torch.cat(sums, dim=1)
    if _within_range(whole):
        joined = torch.cat(made, dim=1).mul_(whole.reciprocal_())  # bf16 is divided one by one
    else:  # of one row, or something is no number
        for i, (total, part) in enumerate(zip(sums, stretches, strict=True)):
            if _within_range(total):
                made[i].mul_(total.reciprocal())
            else:
                weights = _scores(query, keys, part, 1.0).softmax(dim=2)
                made[i] = torch.bmm(weights, values[:, : part.keys])
        joined = torch.cat(made, dim=1)
    return joined.view(batch, heads, queries, -1).transpose(1, 2).flatten(2)


def _within_range(sums: Tensor) -> bool:
    """Tell whether neither sums of powers, nor these times values, have got lost."""
    lowest, highest = (float(x) for x in sums.aminmax())
    return lowest >= _FEW and highest <= _MANY


def _scores(query: Tensor, keys: Tensor, part: _Stretch, scale: float) -> Tensor:
    """query (B, H, T, D), keys (B · H, T', D) → (B · H, t, t') of a stretch.

    At scale 1 they are what e is raised to.
    """
    asking = query[:, :, part.rows].flatten(0, 1)
    known = keys[:, : part.keys].contiguous().transpose(1, 2)  # this order costs the least
    scale /= math.sqrt(query.shape[3])
    scores = torch.baddbmm(asking.new_zeros(()), asking, known, beta=0, alpha=scale)
    for rows, hidden in part.hidden:
        scores[:, rows, hidden] = -math.inf
    return scores


@dataclass(frozen=True)
class _Stretch:
    """Queries that go through together, the first keys, and what is hidden of these."""

    rows: slice
    keys: int
    mask: ChunkMask | None
    hidden: tuple[tuple[slice, slice], ...]  # from some of the rows some of the keys


@functools.lru_cache(maxsize=16)  # every block of a network, and every step, asks for the same ones
def _stretches(queries: int, keys: int, mask: ChunkMask | None) -> tuple[_Stretch, ...]:
    """Divide all queries into stretches."""
    if mask is None:
        starts = range(0, queries, ROWS)
        return tuple(_Stretch(slice(x, min(x + ROWS, queries)), keys, None, ()) for x in starts)
    made = []
    for part in mask.parts(CHUNKS):
        *early, _ = part.parts(1)
        hidden = tuple(
            (slice(chunk.start - part.start, chunk.stop - part.start), slice(chunk.stop, part.stop))
            for chunk in early
        )
        rows = slice(part.start - mask.start, part.stop - mask.start)
        made.append(_Stretch(rows, part.stop, part if hidden else None, hidden))
    return tuple(made)


def _by_kernel(query: Tensor, keys: Tensor, values: Tensor, mask: Mask | None) -> Tensor:
    dense = mask.dense(query.device) if isinstance(mask, ChunkMask) else mask
    return F.scaled_dot_product_attention(query, keys, values, dense).transpose(1, 2).flatten(2)
