"""Decoder-only transformer shared by every token generator.

RMSNorm before each half, rotary positions, grouped-query attention and a SwiGLU feed-forward, the
geometry of Qwen2 (arXiv 2407.10671).  Keys and values of the past are passed in and out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.rotary import rotary, rotate
from voxkit.spec import TransformerSpec


@dataclass(frozen=True)
class Cache:
    """Keys and values of everything seen, one pair a layer."""

    keys: tuple[Tensor, ...]  # each (B, kv heads, N, head width)
    values: tuple[Tensor, ...]  # each (B, kv heads, N, head width)

    @property
    def length(self) -> int:
        """Positions seen, N."""
        return self.keys[0].shape[2]


class Attention(nn.Module):
    """Grouped-query attention over the past and the present."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.spec = spec
        query, shared = spec.heads * spec.head_width, spec.kv_heads * spec.head_width
        self.qkv = nn.Linear(spec.width, query + 2 * shared, bias=spec.qkv_bias)
        self.merge = nn.Linear(query, spec.width, bias=False)

    def split(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, N, D) → rotated query (B, H, N, d), rotated key and value (B, kv heads, N, d)."""
        heads, shared = self.spec.heads, self.spec.kv_heads
        packed = self.qkv(x).unflatten(-1, (-1, self.spec.head_width)).transpose(1, 2)
        query, key, value = packed.split((heads, shared, shared), dim=1)
        return rotate(query, *angles), rotate(key, *angles), value

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, N, D), the past's keys and values → (B, N, D), keys and values with x added.

        Without a mask the new positions see all of the past and each other causally.
        """
        query, key, value = self.split(x, angles)
        keys, values = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        groups = self.spec.heads // self.spec.kv_heads
        if mask is None and x.shape[1] > 1:
            mask = causal_mask(x.shape[1], keys.shape[2], x.device)
        seen = F.scaled_dot_product_attention(
            query,
            keys.repeat_interleave(groups, dim=1),
            values.repeat_interleave(groups, dim=1),
            mask,
        )
        return self.merge(seen.transpose(1, 2).flatten(2)), keys, values


class Layer(nn.Module):
    """Attention and SwiGLU feed-forward, each added to its input."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(spec.width, spec.norm_eps)
        self.attention = Attention(spec)
        self.feed_norm = nn.RMSNorm(spec.width, spec.norm_eps)
        self.gate_up = nn.Linear(spec.width, 2 * spec.feed_forward, bias=False)
        self.down = nn.Linear(spec.feed_forward, spec.width, bias=False)

    def feed(self, x: Tensor) -> Tensor:
        """x + W_down (SiLU(W_gate y) ∘ W_up y), y = RMSNorm(x).  (B, N, D) → (B, N, D)."""
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Transformer(nn.Module):
    """Embeddings in, final hidden states out; what they mean is the generator's business."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleList(Layer(spec) for _ in range(spec.layers))
        self.norm = nn.RMSNorm(spec.width, spec.norm_eps)

    def init_cache(self, batch: int) -> Cache:
        """Return an empty past."""
        weight = self.norm.weight
        nothing = weight.new_zeros(batch, self.spec.kv_heads, 0, self.spec.head_width)
        return Cache((nothing,) * self.spec.layers, (nothing,) * self.spec.layers)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions (N,) or (B, N) → cosine and sine that broadcast over heads."""
        cosine, sine = rotary(positions, self.spec.head_width, self.spec.rope_theta)
        return (cosine[:, None], sine[:, None]) if positions.dim() == 2 else (cosine, sine)

    def forward(self, x: Tensor, cache: Cache, mask: Tensor | None = None) -> tuple[Tensor, Cache]:
        """x (B, N, D) at the positions after the cache's → hidden (B, N, D), the cache and x."""
        positions = torch.arange(cache.length, cache.length + x.shape[1], device=x.device)
        angles = self.angles(positions)
        all_keys, all_values = [], []
        layers = cast(Iterable[Layer], self.layers)
        for layer, keys, values in zip(layers, cache.keys, cache.values, strict=True):
            y, keys, values = layer.attention(layer.attention_norm(x), angles, keys, values, mask)
            x = layer.feed(x + y)
            all_keys.append(keys)
            all_values.append(values)
        return self.norm(x), Cache(tuple(all_keys), tuple(all_values))


def causal_mask(new: int, total: int, device: torch.device) -> Tensor:
    """Boolean mask (new, total) of the last `new` positions, each seeing itself and all before."""
    return torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)
