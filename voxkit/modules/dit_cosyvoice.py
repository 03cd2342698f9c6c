"""CosyVoice 3's flow estimator: a diffusion transformer on the chunk grid.

Sequences are (B, T, D) inside and (B, M, F) outside.  The convolutions that tell positions look
back only, so it runs chunk by chunk with its state.  After Peebles and Xie 2023, arXiv 2212.09748.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.cosyvoice_spec import RotaryDitSpec
from voxkit.modules.attention import attend
from voxkit.modules.chunks import CausalConv, KeyValues, Mask, joined, no_keys, side_by_side
from voxkit.modules.linears import gelu, narrowed
from voxkit.modules.unet import Moment, time_encoding

NORM_EPS = 1e-6
ROTARY_BASE = 10_000.0


def rotary_table(
    start: int, frames: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, width) of the positions from `start` on, each for two channels."""
    even = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    positions = torch.arange(start, start + frames, dtype=torch.float32, device=device)
    angles = positions[:, None] * (1.0 / ROTARY_BASE ** (even / width))
    angles = angles.repeat_interleave(2, dim=1)
    return angles.cos(), angles.sin()


def turn_pairs(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate neighbouring channels of the first head: x (B, T, D), table (T, head width)."""
    cos, sin = table
    head, rest = x[..., : cos.shape[1]], x[..., cos.shape[1] :]
    even, odd = head.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-odd, even], dim=-1).flatten(-2)
    return torch.cat([(head * cos + turned * sin).to(x.dtype), rest], dim=-1)


class DitBlock(nn.Module):
    """Attention and feed-forward, shifted, scaled and gated by the time."""

    after_norms = ("qkv", "widen")
    compiles = ("before_attention", "after_attention")

    def __init__(self, spec: RotaryDitSpec) -> None:
        super().__init__()
        inner = spec.heads * spec.head_width
        self.heads = spec.heads
        self.modulation = nn.Linear(spec.width, 6 * spec.width)
        self.qkv = nn.Linear(spec.width, 3 * inner)
        self.out = nn.Linear(inner, spec.width)
        self.widen = nn.Linear(spec.width, spec.feed_forward)
        self.narrow = nn.Linear(spec.feed_forward, spec.width)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        table: tuple[Tensor, Tensor],
        seen: KeyValues,
        mask: Mask | None,
    ) -> tuple[Tensor, KeyValues]:
        """x (B, T, D), what the time makes of `modulation` (B, 6D) → (B, T, D), keys and values."""
        query, key, value = self.before_attention(x, modulation, table)
        keys, values, seen = seen.append(key, value)
        return self.after_attention(x, attend(query, keys, values, mask), modulation), seen

    def before_attention(
        self, x: Tensor, modulation: Tensor, table: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, ...]:
        """x (B, T, D) → query, key and value, each (B, H, T, d)."""
        shift, scale, *_ = modulation[:, None].chunk(6, dim=2)
        h = F.layer_norm(x, x.shape[2:], eps=NORM_EPS) * (1 + scale) + shift
        query, key, value = self.qkv(narrowed(h, self.qkv)).chunk(3, dim=2)
        made = (turn_pairs(query, table), turn_pairs(key, table), value)
        return tuple(y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in made)

    def after_attention(self, x: Tensor, found: Tensor, modulation: Tensor) -> Tensor:
        """x (B, T, D) and what attention found for it (B, T, H · d) → (B, T, D)."""
        _, _, gate_a, shift, scale, gate_f = modulation[:, None].chunk(6, dim=2)
        x = x + gate_a * self.out(found)
        h = F.layer_norm(x, x.shape[2:], eps=NORM_EPS) * (1 + scale) + shift
        return x + gate_f * self.narrow(gelu(self.widen, narrowed(h, self.widen)))


@dataclass
class DitState:
    """What the estimator needs of the frames before, at one step of the flow."""

    frames: int
    convs: tuple[Tensor, ...]  # (B, D, kernel - 1) each
    seen: tuple[KeyValues, ...]

    def each(self, change: Callable[[KeyValues], KeyValues]) -> DitState:
        """Return the state with something done to all that attention saw."""
        return DitState(self.frames, self.convs, tuple(change(seen) for seen in self.seen))

    @staticmethod
    def joined(states: Sequence[DitState]) -> DitState:
        """Make one batch of several states that are equally far."""
        seen = zip(*(state.seen for state in states), strict=True)
        convs = side_by_side([state.convs for state in states])
        return DitState(states[0].frames, convs, tuple(map(joined, seen)))


class RotaryDit(nn.Module):
    """Noisy mel and what it should become → its velocity."""

    def __init__(self, spec: RotaryDitSpec, bins: int) -> None:
        super().__init__()
        self.spec = spec
        self.time_in = nn.Linear(spec.time_width, spec.width)
        self.time_out = nn.Linear(spec.width, spec.width)
        self.embed = nn.Linear(4 * bins, spec.width)
        self.position_convs = nn.ModuleList(
            CausalConv(spec.width, spec.width, spec.position_kernel, groups=spec.position_groups)
            for _ in range(2)
        )
        self.blocks = nn.ModuleList(DitBlock(spec) for _ in range(spec.layers))
        self.final_modulation = nn.Linear(spec.width, 2 * spec.width)
        self.out = nn.Linear(spec.width, bins)

    def init_state(self, batch: int) -> DitState:
        """Return the state before the first frame."""
        first, second = cast(Iterable[CausalConv], self.position_convs)
        weight, spec = self.out.weight, self.spec
        return DitState(
            0,
            (first.init_state(batch), second.init_state(batch)),
            tuple(no_keys(batch, spec.heads, spec.head_width, weight) for _ in self.blocks),
        )

    def moments(self, times: Tensor) -> list[Moment]:
        """Return what the blocks and the end are told at each of the flow's times (S,).

        It depends on nothing else, and two fifths of the weights make it: all times go at once.
        """
        time = time_encoding(times, self.spec.time_width)
        time = F.silu(self.time_out(F.silu(self.time_in(time))))
        blocks = cast(Iterable[DitBlock], self.blocks)
        told = [*(block.modulation(time) for block in blocks), self.final_modulation(time)]
        return list(zip(*(all_times.split(1) for all_times in told), strict=True))

    def forward(
        self,
        x: Tensor,
        mu: Tensor,
        speaker: Tensor,
        prompt: Tensor,
        moment: Moment,
        state: DitState,
        mask: Mask | None,
    ) -> tuple[Tensor, DitState]:
        """x, mu, prompt (B, M, F), speaker (B, M), one of `moments` → velocity (B, M, F), state."""
        frames = x.shape[2]
        wide = speaker[..., None].expand(-1, -1, frames)
        x = self.embed(torch.cat([x, prompt, mu, wide], dim=1).transpose(1, 2))
        *modulations, final = moment
        h, convs = x.transpose(1, 2), []
        for conv, past in zip(
            cast(Iterable[CausalConv], self.position_convs), state.convs, strict=True
        ):
            h, past = conv.step(h, past)
            h = F.mish(h)
            convs.append(past)
        x = x + h.transpose(1, 2)
        cos, sin = rotary_table(state.frames, frames, self.spec.head_width, x.device)
        table = cos.to(x.dtype), sin.to(x.dtype)
        seen = []
        for block, modulation, block_seen in zip(self.blocks, modulations, state.seen, strict=True):
            x, block_seen = block(x, modulation, table, block_seen, mask)
            seen.append(block_seen)
        scale, shift = final[:, None].chunk(2, dim=2)
        x = F.layer_norm(x, (self.spec.width,), eps=NORM_EPS) * (1 + scale) + shift
        out = self.out(x).transpose(1, 2)
        return out, DitState(state.frames + frames, tuple(convs), tuple(seen))
