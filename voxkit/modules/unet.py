"""CosyVoice 2's flow estimator: causal convolutions with attention between, all at the mel rate.

Sequences are (B, C, T) around convolutions and (B, T, C) in attention.  Every convolution looks
back only and attention is bounded by the chunk grid, so it runs chunk by chunk with its state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.cosyvoice_spec import UnetSpec
from voxkit.modules.attention import attend
from voxkit.modules.chunks import CausalConv, KeyValues, Mask, joined, no_keys, side_by_side
from voxkit.modules.linears import gelu, narrowed

_LOG2_E, _MOST = math.log2(math.e), 30.0  # e^x is 2 to the power of x times the first
Moment = tuple[Tensor, ...]  # what the parts of an estimator are told at one time of the flow
WIDEN = 4  # the time vector and the feed-forward are this much wider than the blocks


def time_encoding(time: Tensor, width: int) -> Tensor:
    """Encode flow time (B,) in [0, 1] as sines then cosines (B, width)."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=time.device)
    angles = 1000.0 * time.float()[:, None] * torch.exp(steps * -(math.log(10_000.0) / (half - 1)))
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(time.dtype)


def mish(x: Tensor) -> Tensor:
    """x · tanh(log(1 + e^x)) (Misra 2019, arXiv 1908.08681), in a third of the time of `F.mish`."""
    power = (x * _LOG2_E).clamp_(max=_MOST).exp2_()  # beyond, it is x; torch's `exp` is slower
    grown = (power + 2.0).mul_(power)
    return grown.div_(grown + 2.0).mul_(x)


class NormedConv(nn.Module):
    """Causal convolution, layer norm over channels, Mish."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = CausalConv(inputs, outputs, 3)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T), past (B, C, 2) → (B, C', T), past."""
        x, past = self.conv.step(x, past)
        return mish(self.norm(x.transpose(1, 2)).transpose(1, 2)), past


class ResnetBlock(nn.Module):
    """Two normed convolutions with the time added between, around a 1 x 1 shortcut."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = NormedConv(inputs, width)
        self.second = NormedConv(width, width)
        self.time = nn.Linear(WIDEN * width, width)
        self.shortcut = CausalConv(inputs, width, 1)

    def forward(
        self, x: Tensor, shift: Tensor, pasts: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x (B, C, T), what `time` makes of the time (B, D) → (B, D, T), pasts."""
        h, first = self.first(x, pasts[0])
        h, second = self.second(h + shift[..., None], pasts[1])
        short, _ = self.shortcut.step(x, x[:, :, :0])
        return h + short, (first, second)


class AttentionBlock(nn.Module):
    """Pre-norm transformer block without positions: the convolutions around it tell them."""

    after_norms = ("qkv", "widen")
    compiles = ("before_attention", "after_attention")

    def __init__(self, spec: UnetSpec) -> None:
        super().__init__()
        inner = spec.heads * spec.head_width
        self.heads = spec.heads
        self.attention_norm = nn.LayerNorm(spec.width)
        self.qkv = nn.Linear(spec.width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, spec.width)
        self.feed_norm = nn.LayerNorm(spec.width)
        self.widen = nn.Linear(spec.width, WIDEN * spec.width)
        self.narrow = nn.Linear(WIDEN * spec.width, spec.width)

    def forward(self, x: Tensor, seen: KeyValues, mask: Mask | None) -> tuple[Tensor, KeyValues]:
        """x (B, T, D), the keys that x sees → (B, T, D), keys and values."""
        query, key, value = self.before_attention(x)
        keys, values, seen = seen.append(key, value)
        return self.after_attention(x, attend(query, keys, values, mask)), seen

    def before_attention(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (B, T, D) → query, key and value, each (B, H, T, d)."""
        batch, frames, _ = x.shape
        packed = self.qkv(narrowed(self.attention_norm(x), self.qkv))
        packed = packed.view(batch, frames, 3, self.heads, -1)
        return packed.permute(2, 0, 3, 1, 4).unbind()

    def after_attention(self, x: Tensor, found: Tensor) -> Tensor:
        """x (B, T, D) and what attention found for it (B, T, H · d) → (B, T, D)."""
        x = x + self.out(found)
        h = narrowed(self.feed_norm(x), self.widen)
        return x + self.narrow(gelu(self.widen, h, "none"))


@dataclass
class StageState:
    """What one stage needs of the frames before."""

    convs: tuple[Tensor, ...]  # (B, C, 2), (B, D, 2)
    seen: tuple[KeyValues, ...]


class Stage(nn.Module):
    """A residual block and the transformer blocks after it."""

    def __init__(self, inputs: int, spec: UnetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.resnet = ResnetBlock(inputs, spec.width)
        self.blocks = nn.ModuleList(AttentionBlock(spec) for _ in range(spec.blocks))

    def init_state(self, batch: int) -> StageState:
        """Return the state before the first frame."""
        first, second = self.resnet.first.conv, self.resnet.second.conv
        spec = self.spec
        return StageState(
            (first.init_state(batch), second.init_state(batch)),
            tuple(no_keys(batch, spec.heads, spec.head_width, first.weight) for _ in self.blocks),
        )

    def forward(
        self, x: Tensor, shift: Tensor, state: StageState, mask: Mask | None
    ) -> tuple[Tensor, StageState]:
        """(B, C, T) → (B, D, T), state."""
        x, convs = self.resnet(x, shift, state.convs)
        x = x.transpose(1, 2)
        after = []
        for block, seen in zip(self.blocks, state.seen, strict=True):
            x, seen = block(x, seen, mask)
            after.append(seen)
        return x.transpose(1, 2), StageState(convs, tuple(after))


@dataclass
class UnetState:
    """What the estimator needs of the frames before, at one step of the flow."""

    stages: tuple[StageState, ...]
    convs: tuple[Tensor, ...]  # down, up, final, each (B, D, 2)

    def each(self, change: Callable[[KeyValues], KeyValues]) -> UnetState:
        """Return the state with something done to all that attention saw."""
        stages = tuple(
            StageState(stage.convs, tuple(change(seen) for seen in stage.seen))
            for stage in self.stages
        )
        return UnetState(stages, self.convs)

    @staticmethod
    def joined(states: Sequence[UnetState]) -> UnetState:
        """Make one batch of several states that are equally far."""
        stages = []
        for parts in zip(*(state.stages for state in states), strict=True):
            seen = zip(*(part.seen for part in parts), strict=True)
            stages.append(
                StageState(side_by_side([p.convs for p in parts]), tuple(map(joined, seen)))
            )
        return UnetState(tuple(stages), side_by_side([state.convs for state in states]))


class CausalUnet(nn.Module):
    """Noisy mel and what it should become → its velocity."""

    def __init__(self, spec: UnetSpec, bins: int) -> None:
        super().__init__()
        self.time_width = 4 * bins  # the sinusoids are as wide as the input
        self.time_in = nn.Linear(self.time_width, WIDEN * spec.width)
        self.time_out = nn.Linear(WIDEN * spec.width, WIDEN * spec.width)
        self.stages = nn.ModuleList(
            [Stage(4 * bins, spec)]
            + [Stage(spec.width, spec) for _ in range(spec.middle)]
            + [Stage(2 * spec.width, spec)]
        )
        self.down = CausalConv(spec.width, spec.width, 3)
        self.up = CausalConv(spec.width, spec.width, 3)
        self.final = NormedConv(spec.width, spec.width)
        self.out = nn.Conv1d(spec.width, bins, 1)

    def init_state(self, batch: int) -> UnetState:
        """Return the state before the first frame."""
        down, up, final = (c.init_state(batch) for c in (self.down, self.up, self.final.conv))
        return UnetState(
            tuple(s.init_state(batch) for s in cast(Iterable[Stage], self.stages)),
            (down, up, final),
        )

    def moments(self, times: Tensor) -> list[Moment]:
        """Return what each stage is told at each of the flow's times (S,), which is all of it."""
        time = mish(self.time_out(F.silu(self.time_in(time_encoding(times, self.time_width)))))
        told = [stage.resnet.time(time) for stage in cast(Iterable[Stage], self.stages)]
        return list(zip(*(all_times.split(1) for all_times in told), strict=True))

    def forward(
        self,
        x: Tensor,
        mu: Tensor,
        speaker: Tensor,
        prompt: Tensor,
        moment: Moment,
        state: UnetState,
        mask: Mask | None,
    ) -> tuple[Tensor, UnetState]:
        """x, mu, prompt (B, M, F), speaker (B, M), one of `moments` → velocity (B, M, F), state."""
        wide = speaker[..., None].expand(-1, -1, x.shape[2])
        x = torch.cat([x, mu, wide, prompt], dim=1)
        first, *middle, last = self.stages
        skip, first_state = first(x, moment[0], state.stages[0], mask)
        x, down = self.down.step(skip, state.convs[0])
        states = [first_state]
        for stage, shift, stage_state in zip(middle, moment[1:-1], state.stages[1:-1], strict=True):
            x, stage_state = stage(x, shift, stage_state, mask)
            states.append(stage_state)
        x, last_state = last(torch.cat([x, skip], dim=1), moment[-1], state.stages[-1], mask)
        x, up = self.up.step(x, state.convs[1])
        x, final = self.final(x, state.convs[2])
        return self.out(x), UnetState((*states, last_state), (down, up, final))
