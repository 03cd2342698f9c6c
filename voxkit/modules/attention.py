"""Attention of the decoders: every frame sees its own chunk and all before it.

On a CPU, but for training, the queries go through in stretches of a few chunks, each with no more
keys than it sees: half of the pairs of a masked whole need not be looked at.  In bf16, torch's own
kernel is made for the matrix units of AMX; a processor that has only bf16 dot products is quicker
by plain products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.modules.chunks import ChunkMask

CHUNKS = 2  # that a stretch has: products of one chunk are small, of more many pairs are hidden
ROWS = 200  # queries of a stretch without a mask
PAIRS = 40_000  # of a query and a key, in all heads: below, the calls themselves take the time

_FEW, _MANY = 1e-25, 1e25  # far from where sums of powers, or these times values, get lost


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: ChunkMask | None) -> Tensor:
    """query (B, H, T, D), keys and values (B, H, T', D) → (B, T, H · D), scaled by 1 / √D."""
    hidden = None if mask is None or mask.is_clear else mask
    if query.device.type != "cpu" or query.requires_grad or not query.shape[2]:
        return _by_kernel(query, keys, values, hidden)
    if products_are_quicker(query, keys):
        return by_products(query, keys, values, hidden)
    if hidden is None:  # the kernel itself goes through it bit by bit
        return _by_kernel(query, keys, values, None)
    made = []
    for rows, count, part in _stretches(query.shape[2], keys.shape[2], hidden):
        known = keys[:, :, :count], values[:, :, :count]
        made.append(_by_kernel(query[:, :, rows], *known, part))
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
    .007 around 2.

    A softmax begins with the rows' maxima, which take as long as all else of it.  They only keep
    e^score within range, which it nearly always is without them.
    """
    heads, keys, values = query.shape[:2], keys.flatten(0, 1), values.flatten(0, 1)
    stretches = list(_stretches(query.shape[2], keys.shape[1], mask))
    sums, made = [], []
    for rows, count, part in stretches:
        powers = _scores(query[:, :, rows], keys[:, :count], part, math.log2(math.e)).exp2_()
        sums.append(powers.sum(dim=2, keepdim=True))
        made.append(torch.bmm(powers, values[:, :count]))
    whole = torch.cat(sums, dim=1)
    lowest, highest = (float(x) for x in whole.aminmax())
    if lowest >= _FEW and highest <= _MANY:
        joined = torch.cat(made, dim=1).mul_(whole.reciprocal())  # bf16 is divided one by one
    else:  # of one row, or something is no number
        parts = (
            (_scores(query[:, :, rows], keys[:, :n], part, 1.0), n) for rows, n, part in stretches
        )
        joined = torch.cat([torch.bmm(s.softmax(dim=2), values[:, :n]) for s, n in parts], dim=1)
    return joined.unflatten(0, heads).transpose(1, 2).flatten(2)


def _scores(query: Tensor, keys: Tensor, mask: ChunkMask | None, scale: float) -> Tensor:
    """query (B, H, t, D), the keys (B · H, T', D) that any of it sees → (B · H, t, T').

    At scale 1 they are what e is raised to.
    """
    scale /= math.sqrt(query.shape[3])
    known = keys.contiguous().transpose(1, 2)  # this order costs the least
    scores = torch.baddbmm(query.new_zeros(()), query.flatten(0, 1), known, beta=0, alpha=scale)
    if mask is not None:
        for chunk in mask.parts(1):
            first, stop = chunk.start - mask.start, chunk.stop - mask.start
            scores[:, first:stop, chunk.stop :] = -math.inf
    return scores


def _stretches(
    queries: int, keys: int, mask: ChunkMask | None
) -> Iterator[tuple[slice, int, ChunkMask | None]]:
    """Yield stretches of queries, how many keys each sees, and which of these some do not."""
    if mask is None:
        for start in range(0, queries, ROWS):
            yield slice(start, min(start + ROWS, queries)), keys, None
        return
    for part in mask.parts(CHUNKS):
        rows = slice(part.start - mask.start, part.stop - mask.start)
        yield rows, part.stop, None if part.is_clear else part


def _by_kernel(query: Tensor, keys: Tensor, values: Tensor, mask: ChunkMask | None) -> Tensor:
    dense = None if mask is None else mask.dense(query.device)
    return F.scaled_dot_product_attention(query, keys, values, dense).transpose(1, 2).flatten(2)
