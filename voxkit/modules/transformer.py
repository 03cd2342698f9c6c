"""Decoder-only transformer shared by every token generator.

RMSNorm before each half, rotary positions, grouped-query attention and a SwiGLU feed-forward, the
geometry of Qwen2 (arXiv 2407.10671).  Keys and values of the past are passed in and out.  One
position on a CPU takes a shorter way (`_next`), which the plain one is the oracle of.
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

_ROOM = 128  # positions, and half of those there are, that memory has to spare when it is made


@dataclass
class Memory:
    """Keys and values with room for more, which the longest cache that begins in it may fill."""

    tensor: Tensor  # (L, 2, B, kv heads, room, head width)
    filled: int  # positions


@dataclass(frozen=True)
class Cache:
    """Keys and values of everything seen; it stays valid whatever is read after it."""

    memory: Memory
    length: int  # positions seen, N

    @property
    def keys(self) -> tuple[Tensor, ...]:
        """Keys of each layer (B, kv heads, N, head width)."""
        return self.memory.tensor[:, 0, :, :, : self.length].unbind()

    @property
    def values(self) -> tuple[Tensor, ...]:
        """Values of each layer (B, kv heads, N, head width)."""
        return self.memory.tensor[:, 1, :, :, : self.length].unbind()

    def room_for(self, count: int) -> tuple[Tensor, Cache]:
        """Return memory whose `count` next positions are the caller's to write, and its cache."""
        end, memory = self.length + count, self.memory
        if memory.filled != self.length or end > memory.tensor.shape[4]:
            old = memory.tensor[:, :, :, :, : self.length]
            shape = list(old.shape)
            shape[4] = end + end // 2 + _ROOM
            new = old.new_empty(shape)
            new[:, :, :, :, : self.length] = old
            memory = Memory(new, self.length)
        memory.filled = end
        return memory.tensor, Cache(memory, end)


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
        spec = self.spec
        shape = (spec.layers, 2, batch, spec.kv_heads, 0, spec.head_width)
        return Cache(Memory(self.norm.weight.detach().new_empty(shape), 0), 0)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions (N,) or (B, N) → cosine and sine that broadcast over heads."""
        cosine, sine = rotary(positions, self.spec.head_width, self.spec.rope_theta)
        return (cosine[:, None], sine[:, None]) if positions.dim() == 2 else (cosine, sine)

    def forward(self, x: Tensor, cache: Cache, mask: Tensor | None = None) -> tuple[Tensor, Cache]:
        """x (B, N, D) at the positions after the cache's → hidden (B, N, D), the cache and x."""
        if (
            x.shape[:2] == (1, 1)
            and mask is None
            and x.device.type == "cpu"
            and not x.requires_grad
        ):
            return self._next(x, cache)
        return self.plain(x, cache, mask)

    def plain(self, x: Tensor, cache: Cache, mask: Tensor | None = None) -> tuple[Tensor, Cache]:
        """Do what `forward` does, as it is written down, for any number of positions."""
        start = cache.length
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        angles = self.angles(positions)
        memory, after = cache.room_for(x.shape[1])
        layers = cast(Iterable[Layer], self.layers)
        for i, (layer, old_keys, old_values) in enumerate(
            zip(layers, cache.keys, cache.values, strict=True)
        ):
            y = layer.attention_norm(x)
            y, keys, values = layer.attention(y, angles, old_keys, old_values, mask)
            x = layer.feed(x + y)
            memory[i, 0, :, :, start : after.length] = keys[:, :, start:].detach()
            memory[i, 1, :, :, start : after.length] = values[:, :, start:].detach()
        return self.norm(x), after

    def _next(self, x: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Read one position x (1, 1, D) with few operations, whose number is what time goes by."""
        spec, at = self.spec, cache.length
        heads, shared = spec.heads, spec.kv_heads
        cosine, sine = rotary(torch.tensor(at), spec.head_width, spec.rope_theta)
        cosine, sine = torch.cat([cosine, cosine]), torch.cat([-sine, sine])
        memory, after = cache.room_for(1)
        x = x[0]
        for layer, kept in zip(cast(Iterable[Layer], self.layers), memory, strict=True):
            packed = layer.attention.qkv(_normed(x, layer.attention_norm))
            packed = packed.view(heads + 2 * shared, spec.head_width)
            turning = packed[: heads + shared]
            turned = torch.addcmul(turning * cosine, turning.roll(spec.head_width // 2, 1), sine)
            kept[0, 0, :, at] = turned[heads:]
            kept[1, 0, :, at] = packed[heads + shared :]
            seen = F.scaled_dot_product_attention(  # queries that share a key are its rows
                turned[:heads].view(1, shared, heads // shared, spec.head_width),
                kept[0, :, :, : at + 1],
                kept[1, :, :, : at + 1],
            )
            x = x + layer.attention.merge(seen.view(1, heads * spec.head_width))
            gate, up = layer.gate_up(_normed(x, layer.feed_norm)).chunk(2, dim=1)
            x = x + layer.down(F.silu(gate).mul_(up))
        return self.norm(x)[None], after


def _normed(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """RMSNorm of one row x (1, D), its scale worked out beside the tensors."""
    row = x[0]
    mean = torch.dot(row, row).item() / row.shape[0]
    return torch.mul(x, norm.weight).mul_((mean + (norm.eps or 0.0)) ** -0.5)


def causal_mask(new: int, total: int, device: torch.device) -> Tensor:
    """Boolean mask (new, total) of the last `new` positions, each seeing itself and all before."""
    return torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)
