"""Attention of the decoders: every frame sees its own chunk and all before it.

On a CPU, but for training, the queries go through in stretches of a few chunks, each with no more
keys than it sees: half of the pairs of a masked whole need not be looked at.  In bf16, torch's own
kernel is made for the matrix units of AMX; a processor that has only bf16 dot products is quicker
by plain products.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.modules.chunks import ChunkMask

CHUNKS = 2  # that a stretch has: of one chunk products are small, of four half the pairs are hidden


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: ChunkMask | None) -> Tensor:
    """query (B, H, T, D), keys and values (B, H, T', D) → (B, H, T, D), scaled by 1 / √D."""
    if mask is None or mask.is_clear:
        return _stretch(query, keys, values, None)
    if query.device.type != "cpu" or query.requires_grad:
        return F.scaled_dot_product_attention(query, keys, values, mask.dense(query.device))
    seen = []
    for part in mask.parts(CHUNKS):
        first, stop = part.start - mask.start, part.stop - mask.start
        known = keys[:, :, : part.stop], values[:, :, : part.stop]
        hidden = None if part.is_clear else part
        seen.append(_stretch(query[:, :, first:stop], *known, hidden))
    return torch.cat(seen, dim=2)


def _stretch(query: Tensor, keys: Tensor, values: Tensor, mask: ChunkMask | None) -> Tensor:
    """Attend under a mask that hides few pairs."""
    if products_are_quicker(query):
        return by_products(query, keys, values, mask)
    dense = None if mask is None else mask.dense(query.device)
    return F.scaled_dot_product_attention(query, keys, values, dense)


def products_are_quicker(query: Tensor) -> bool:
    """Tell whether `by_products` beats torch's kernel for such queries on this processor."""
    return (
        query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and not query.requires_grad
        and torch.cpu._is_avx512_bf16_supported()
        and not torch.cpu._is_amx_tile_supported()
    )


def by_products(query: Tensor, keys: Tensor, values: Tensor, mask: ChunkMask | None) -> Tensor:
    """Attend by two products around a softmax, its sums in float32: as `attend`, in any type."""
    rows = query.flatten(0, 1) * (1.0 / math.sqrt(query.shape[3]))
    scores = torch.bmm(rows, keys.flatten(0, 1).transpose(1, 2))
    for part in mask.parts(1) if mask is not None else ():
        assert mask is not None
        scores[:, part.start - mask.start : part.stop - mask.start, part.stop :] = -math.inf
    return torch.bmm(scores.softmax(dim=2), values.flatten(0, 1)).unflatten(0, query.shape[:2])
