"""CosyVoice 2's token encoder: a look-ahead, conformer blocks, twice the rate, more blocks.

Sequences are (B, T, D).  Attention is relative (Dai et al. 2019, arXiv 1901.02860) and bounded by
the chunk grid; all else looks back, so the encoder runs chunk by chunk with its state passed along.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.cosyvoice_spec import ConformerSpec
from voxkit.modules.chunks import CausalConv, ChunkMask, KeyValues, no_keys

BLOCK_NORM_EPS = 1e-12  # of the norms inside the blocks; the others use torch's 1e-5
RELATIVE_BASE = 10_000.0


class Lookahead(nn.Module):
    """Let every frame see a few after it, and add what that tells to the frame."""

    def __init__(self, channels: int, width: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.right = nn.Conv1d(channels, width, ahead + 1)
        self.left = CausalConv(width, channels, 3)

    def init_state(self, batch: int) -> Tensor:
        """Return the past (B, width, 2) of the second convolution."""
        return self.left.init_state(batch)

    def forward(self, x: Tensor, after: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, D), after (B, ≤ ahead, D) → (B, T, D), past.  Missing frames after are zeros."""
        seen = torch.cat([x, after], dim=1).transpose(1, 2)
        inner = F.leaky_relu(self.right(F.pad(seen, (0, self.ahead - after.shape[1]))))
        y, past = self.left.step(inner, past)
        return x + y.transpose(1, 2), past


@dataclass
class Offsets:
    """Projected encodings of the distances between frames that have been needed so far."""

    projected: Tensor  # (H, P, D), from the distance `high` down
    high: int  # how far the query can be after the key


@dataclass
class BlockState:
    """Keys, values and distances of one block."""

    seen: KeyValues
    offsets: Offsets


class RelativeAttention(nn.Module):
    """Multi-head attention on content and on the signed distance between query and key."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.distance = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.content_bias = nn.Parameter(torch.zeros(heads, width // heads))
        self.distance_bias = nn.Parameter(torch.zeros(heads, width // heads))

    def init_state(self, batch: int) -> BlockState:
        """Return the state before the first frame."""
        weight = self.out.weight
        head_width = weight.shape[0] // self.heads
        none = weight.new_empty(self.heads, 0, head_width)
        return BlockState(no_keys(batch, self.heads, head_width, weight), Offsets(none, -1))

    def forward(
        self, x: Tensor, state: BlockState, mask: ChunkMask | None
    ) -> tuple[Tensor, BlockState]:
        """x (B, T, D), the keys that x sees → (B, T, D), state."""
        batch, frames, width = x.shape
        query, key, value = (
            project(x).view(batch, frames, self.heads, -1).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        keys, values, seen = state.seen.append(key, value)
        total = keys.shape[2]
        offsets = self._reaching(state.offsets, high=total - 1, low=1 - frames)
        window = offsets.projected[:, offsets.high - total + 1 : offsets.high + frames]
        by_distance = (query + self.distance_bias[:, None]) @ window.transpose(1, 2)
        bias = _shift(by_distance, total) / math.sqrt(query.shape[-1])
        if mask is not None and not mask.is_clear:
            bias = bias.masked_fill(~mask.dense(x.device), -math.inf)
        y = F.scaled_dot_product_attention(query + self.content_bias[:, None], keys, values, bias)
        return self.out(y.transpose(1, 2).reshape(batch, frames, width)), BlockState(seen, offsets)

    def _reaching(self, old: Offsets, *, high: int, low: int) -> Offsets:
        """Add the distances that `old` lacks between `low` and `high`."""
        lowest = old.high - old.projected.shape[1] + 1
        if not old.projected.shape[1]:
            return Offsets(self._project(high, low), high)
        pieces = [old.projected]
        if high > old.high:
            pieces.insert(0, self._project(high, old.high + 1))
        if low < lowest:
            pieces.append(self._project(lowest - 1, low))
        if len(pieces) == 1:
            return old
        return Offsets(torch.cat(pieces, dim=1), max(high, old.high))

    def _project(self, high: int, low: int) -> Tensor:
        """Encode the distances from `high` down to `low` → (H, P, D)."""
        weight = self.distance.weight
        encoded = distance_encoding(high, low, weight.shape[1], weight.device).to(weight.dtype)
        return self.distance(encoded).view(high - low + 1, self.heads, -1).transpose(0, 1)


def distance_encoding(high: int, low: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines, interleaved, of the distances from `high` down to `low` → (P, width)."""
    distances = torch.arange(high, low - 1, -1, dtype=torch.float32, device=device)[:, None]
    even = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    angles = distances * torch.exp(even * -(math.log(RELATIVE_BASE) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _shift(by_distance: Tensor, keys: int) -> Tensor:
    """Scores by distance, largest first (B, H, T, keys + T - 1) → by key (B, H, T, keys).

    Query i of T finds key j at column T - 1 - i + j, so rows of one step less undo the slant.
    """
    batch, heads, frames, columns = by_distance.shape
    flat = by_distance.contiguous()
    return flat.as_strided(
        (batch, heads, frames, keys),
        (heads * frames * columns, frames * columns, columns - 1, 1),
        flat.storage_offset() + frames - 1,
    )


class ConformerBlock(nn.Module):
    """Attention and feed-forward, each normed before and added after; no convolution."""

    def __init__(self, spec: ConformerSpec) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width, eps=BLOCK_NORM_EPS)
        self.attention = RelativeAttention(spec.width, spec.heads)
        self.feed_norm = nn.LayerNorm(spec.width, eps=BLOCK_NORM_EPS)
        self.widen = nn.Linear(spec.width, spec.feed_forward)
        self.narrow = nn.Linear(spec.feed_forward, spec.width)

    def forward(
        self, x: Tensor, state: BlockState, mask: ChunkMask | None
    ) -> tuple[Tensor, BlockState]:
        """(B, T, D) → (B, T, D), state."""
        y, state = self.attention(self.attention_norm(x), state, mask)
        x = x + y
        return x + self.narrow(F.silu(self.widen(self.feed_norm(x)))), state


class Embed(nn.Module):
    """Linear, norm, and the √D scale that the relative encodings expect."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, D)."""
        return self.norm(self.linear(x)) * math.sqrt(self.linear.out_features)


@dataclass
class ConformerState:
    """What the encoder needs of the frames before."""

    frames: int  # at the token rate
    lookahead: Tensor  # (B, D, 2)
    blocks: tuple[BlockState, ...]
    up: Tensor  # (B, D, 4) at the mel rate
    up_blocks: tuple[BlockState, ...]

    def shared(self) -> ConformerState:
        """Return a state from which any number of continuations can start."""
        blocks, up_blocks = (
            tuple(BlockState(block.seen.shared(), block.offsets) for block in stack)
            for stack in (self.blocks, self.up_blocks)
        )
        return replace(self, blocks=blocks, up_blocks=up_blocks)


class ConformerEncoder(nn.Module):
    """Embedded tokens (B, T, E) → hidden frames (B, T · rate, D)."""

    def __init__(self, spec: ConformerSpec, inputs: int, ahead: int, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.embed = Embed(inputs, spec.width)
        self.lookahead = Lookahead(spec.width, spec.width, ahead)
        self.blocks = nn.ModuleList(ConformerBlock(spec) for _ in range(spec.layers))
        self.up = CausalConv(spec.width, spec.width, 2 * rate + 1)
        self.up_embed = Embed(spec.width, spec.width)
        self.up_blocks = nn.ModuleList(ConformerBlock(spec) for _ in range(spec.up_layers))
        self.norm = nn.LayerNorm(spec.width)

    def init_state(self, batch: int) -> ConformerState:
        """Return the state before the first token."""
        return ConformerState(
            0,
            self.lookahead.init_state(batch),
            _init_states(self.blocks, batch),
            self.up.init_state(batch),
            _init_states(self.up_blocks, batch),
        )

    def forward(
        self, x: Tensor, after: Tensor, state: ConformerState, chunk: int | None
    ) -> tuple[Tensor, ConformerState]:
        """x (B, T, E), after (B, ≤ ahead, E) → (B, T · rate, D), state.

        `chunk` in tokens bounds what a frame attends to; None lets it attend to all of this call.
        """
        start, frames = state.frames, x.shape[1]
        x, lookahead = self.lookahead(self.embed(x), self.embed(after), state.lookahead)
        mask = ChunkMask(start, start + frames, chunk) if chunk else None
        x, blocks = _through(self.blocks, x, state.blocks, mask)
        x = x.transpose(1, 2).repeat_interleave(self.rate, dim=2)
        x, up = self.up.step(x, state.up)
        x = self.up_embed(x.transpose(1, 2))
        mask = mask and mask.scaled(self.rate)
        x, up_blocks = _through(self.up_blocks, x, state.up_blocks, mask)
        return self.norm(x), ConformerState(start + frames, lookahead, blocks, up, up_blocks)


def _init_states(blocks: nn.ModuleList, batch: int) -> tuple[BlockState, ...]:
    return tuple(
        block.attention.init_state(batch) for block in cast(Iterable[ConformerBlock], blocks)
    )


def _through(
    blocks: nn.ModuleList, x: Tensor, states: tuple[BlockState, ...], mask: ChunkMask | None
) -> tuple[Tensor, tuple[BlockState, ...]]:
    """Run x (B, T, D) through `blocks`, each with its own state."""
    after = []
    for block, state in zip(blocks, states, strict=True):
        x, state = block(x, state, mask)
        after.append(state)
    return x, tuple(after)
