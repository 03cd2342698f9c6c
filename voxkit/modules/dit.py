"""Native flow-matching decoder network: a token encoder with look-ahead and a chunk-causal DiT.

A chunk of frames sees all of itself and everything before it.  Training runs whole utterances under
a mask; speaking runs one chunk at a time with the past passed in and out, once per step of the
flow, so that nothing is computed twice.  Both give the same numbers.

DiT: Peebles and Xie 2022 (arXiv 2212.09748); its modulation is shared by all blocks and shifted by
a table in each, as in PixArt-α (arXiv 2310.00426).  Feed-forwards are causal convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.attention import attend
from voxkit.modules.chunks import KeyValues, Mask, joined, no_keys, side_by_side
from voxkit.modules.linears import gelu, narrowed
from voxkit.modules.rotary import rotary, rotate
from voxkit.modules.temporal import CausalTemporalBlock
from voxkit.spec import DitDecoderSpec

CONTROLS = 4  # rate, median pitch, pitch range, energy; a bit beside each says if it is given
_TIME_WIDTH = 128
_THETA = 10000.0


@dataclass(frozen=True)
class BlockState:
    """The past of one DiT block at one step of the flow."""

    seen: KeyValues  # (B, H, F, D / H)
    conv: Tensor  # (B, kernel - 1, D)

    def rows(self, first: int, stop: int) -> BlockState:
        """Return the past of the rows of the batch from `first` to `stop`."""
        return BlockState(self.seen.rows(first, stop), self.conv[first:stop])

    def shared(self) -> BlockState:
        """Return a past from which any number of continuations can start."""
        return BlockState(self.seen.shared(), self.conv)

    def first(self, count: int) -> BlockState:
        """Return the past of the first rows of the batch, which goes on in place of this one."""
        return BlockState(self.seen.first(count), self.conv[:count])

    @staticmethod
    def joined(states: Sequence[BlockState], spare: int) -> BlockState:
        """Make one batch of pasts that are equally long, with room for `spare` frames."""
        seen = joined([state.seen for state in states], spare)
        return BlockState(seen, torch.cat([state.conv for state in states]))


@dataclass(frozen=True)
class EncoderState:
    """The past of the token encoder."""

    coarse: tuple[Tensor, ...]  # each (B, 2, D), at the token rate
    fine: Tensor  # (B, 2, D), at the mel rate

    def first(self, count: int) -> EncoderState:
        """Return the past of the first rows of the batch."""
        return EncoderState(tuple(x[:count] for x in self.coarse), self.fine[:count])

    @staticmethod
    def joined(states: Sequence[EncoderState]) -> EncoderState:
        """Make one batch of several pasts."""
        coarse = side_by_side([state.coarse for state in states])
        return EncoderState(coarse, torch.cat([state.fine for state in states]))


class TokenEncoder(nn.Module):
    """FSQ codes with look-ahead → features at the mel rate, and a first guess of the mel."""

    def __init__(self, spec: DitDecoderSpec, dims: int, bins: int) -> None:
        super().__init__()
        self.lookahead = spec.lookahead
        self.enter = nn.Linear(dims * (1 + spec.lookahead), spec.width)
        self.coarse = nn.ModuleList(
            CausalTemporalBlock(spec.width) for _ in range(spec.encoder_layers)
        )
        self.widen = nn.Linear(spec.width, 2 * spec.width)
        self.fine = CausalTemporalBlock(spec.width)
        self.guess = nn.Linear(spec.width, bins)

    def init_state(self, batch: int) -> EncoderState:
        """Return the state before the first token."""
        pasts = [b.init_state(batch) for b in self.coarse if isinstance(b, CausalTemporalBlock)]
        return EncoderState(tuple(pasts), self.fine.init_state(batch))

    def step(
        self, codes: Tensor, voice: Tensor, state: EncoderState
    ) -> tuple[Tensor, Tensor, EncoderState]:
        """codes (B, T + lookahead, dims), voice (B, D) → features (B, 2T, D), guess (B, 2T, M)."""
        count = codes.shape[1] - self.lookahead
        window = [codes[:, i : i + count] for i in range(self.lookahead + 1)]
        x = self.enter(torch.cat(window, dim=-1)) + voice[:, None]
        pasts = []
        blocks = cast(Iterable[CausalTemporalBlock], self.coarse)
        for block, past in zip(blocks, state.coarse, strict=True):
            x, past = block.step(x, past)
            pasts.append(past)
        x = self.widen(x).unflatten(-1, (2, -1)).flatten(1, 2)
        x, fine = self.fine.step(x, state.fine)
        return x, self.guess(x), EncoderState(tuple(pasts), fine)


class DitBlock(nn.Module):
    """Attention and a causal convolutional feed-forward, both modulated by the condition."""

    after_norms = ("qkv", "inner")
    compiles = ("before_attention", "after_attention")

    def __init__(self, spec: DitDecoderSpec) -> None:
        super().__init__()
        width = spec.width
        self.heads, self.kernel = spec.heads, spec.kernel
        self.table = nn.Parameter(torch.zeros(6, width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)
        self.inner = nn.Linear(spec.kernel * width, spec.feed_forward)
        self.outer = nn.Linear(spec.feed_forward, width)

    def init_state(self, batch: int) -> BlockState:
        """Return an empty past."""
        weight = self.qkv.weight
        width = weight.shape[1]
        return BlockState(
            no_keys(batch, self.heads, width // self.heads, weight),
            narrowed(weight.new_zeros(batch, self.kernel - 1, width), self.inner),
        )

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        angles: tuple[Tensor, Tensor],
        state: BlockState,
        mask: Mask | None,
    ) -> tuple[Tensor, BlockState]:
        """x (B, F, D), modulation (B, 6, D), angles (F, D/H/2) → (B, F, D), the past and x."""
        told = (modulation + self.table)[:, :, None]
        query, key, value = self.before_attention(x, told, angles)
        keys, values, seen = state.seen.append(key, value)
        x, conv = self.after_attention(x, attend(query, keys, values, mask), told, state.conv)
        return x, BlockState(seen, conv)

    def before_attention(
        self, x: Tensor, told: Tensor, angles: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, F, D), modulations (B, 6, 1, D) → query, key and value, each (B, H, F, D / H)."""
        shift, scale, *_ = told.unbind(1)
        y = torch.addcmul(shift, F.layer_norm(x, x.shape[2:]), 1 + scale)
        y = self.qkv(narrowed(y, self.qkv))
        packed = y.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(packed[:2], *angles).unbind(0)
        return query, key, packed[2]

    def after_attention(
        self, x: Tensor, found: Tensor, told: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x and what attention found for it, both (B, F, D), past → (B, F, D), the next past."""
        _, _, gate_a, shift, scale, gate_f = told.unbind(1)
        frames = x.shape[1]
        x = torch.addcmul(x, gate_a, self.merge(found))
        y = torch.addcmul(shift, F.layer_norm(x, x.shape[2:]), 1 + scale)
        wide = torch.cat([past, narrowed(y, self.inner)], dim=1)
        taps = torch.cat([wide[:, i : i + frames] for i in range(self.kernel)], dim=-1)
        return torch.addcmul(x, gate_f, self.outer(gelu(self.inner, taps))), wide[:, frames:]


class Dit(nn.Module):
    """The velocity field and its encoder.  Mels are normalised and (B, F, M) in this file."""

    def __init__(self, spec: DitDecoderSpec, dims: int, bins: int, speaker: int) -> None:
        super().__init__()
        width = spec.width
        self.spec = spec
        self.encoder = TokenEncoder(spec, dims, bins)
        self.voice = nn.Sequential(
            nn.Linear(speaker + 2 * CONTROLS, width), nn.GELU(), nn.Linear(width, width)
        )
        self.time = nn.Sequential(nn.Linear(_TIME_WIDTH, width), nn.GELU(), nn.Linear(width, width))
        self.enter = nn.Linear(3 * bins + width, width)
        self.modulate = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(DitBlock(spec) for _ in range(spec.layers))
        self.leave_table = nn.Parameter(torch.zeros(2, width))
        self.leave = nn.Linear(width, bins)
        nn.init.zeros_(self.modulate.bias)
        nn.init.normal_(self.modulate.weight, std=0.01)
        with torch.no_grad():
            self.modulate.bias[2 * width : 3 * width] = 0.3  # gates ajar, so that all blocks learn
            self.modulate.bias[5 * width :] = 0.3
        nn.init.zeros_(self.leave.weight)

    def condition(self, speaker: Tensor, controls: Tensor, given: Tensor) -> Tensor:
        """speaker (B, S), controls (B, 4), given (B, 4) in 0 or 1 → voice (B, D)."""
        return self.voice(torch.cat([speaker, controls * given, given], dim=-1))

    def init_blocks(self, batch: int) -> tuple[BlockState, ...]:
        """Return the empty past of every block."""
        return tuple(b.init_state(batch) for b in self.blocks if isinstance(b, DitBlock))

    def velocity(
        self,
        x: Tensor,
        t: Tensor,
        features: Tensor,
        guess: Tensor,
        prompt: Tensor,
        voice: Tensor,
        start: int,
        state: tuple[BlockState, ...],
        mask: Mask | None = None,
    ) -> tuple[Tensor, tuple[BlockState, ...]]:
        """Velocity of x (B, F, M), frames `start` on, at t (B,) in [0, 1] → (B, F, M), the past.

        features (B, F, D) and guess (B, F, M) come from the encoder; prompt (B, F, M) is the mel of
        the reference where the frames belong to it, else zero.
        """
        step = t[:, None] * 1000.0 * _frequencies(t.device)
        c = self.time(torch.cat([step.sin(), step.cos()], dim=-1)) + voice
        modulation = self.modulate(F.silu(c)).unflatten(-1, (6, -1))
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        angles = rotary(positions, self.spec.width // self.spec.heads, _THETA)
        y = self.enter(torch.cat([x, guess, prompt, features], dim=-1))
        after = []
        for block, past in zip(self.blocks, state, strict=True):
            y, past = block(y, modulation, angles, past, mask)
            after.append(past)
        shift, scale = (self.leave_table + c[:, None]).unbind(1)
        y = F.layer_norm(y, y.shape[-1:]) * (1 + scale[:, None]) + shift[:, None]
        return self.leave(y), tuple(after)


def _frequencies(device: torch.device) -> Tensor:
    half = _TIME_WIDTH // 2
    return torch.exp(-math.log(10000.0) * torch.arange(half, device=device) / half)
