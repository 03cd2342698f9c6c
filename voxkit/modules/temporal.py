"""Residual block over time made of matrix products: three frames side by side, then two layers.

A depthwise convolution spends most of its time moving memory on a CPU; one Linear over the frames
(t-d, t, t+d), or (t-2d, t-d, t) when causal, does the same job at the speed of the matrix unit.
Sequences are (B, T, D) here and in every module that uses this block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.linears import gelu


def beside(x: Tensor, dilation: int) -> Tensor:
    """Put neighbours at ±`dilation` beside each frame: (B, T, D) → (B, T, 3D), zeros outside."""
    padded = F.pad(x, (0, 0, dilation, dilation))
    frames = x.shape[1]
    return torch.cat([padded[:, :frames], x, padded[:, 2 * dilation :]], dim=-1)


class TemporalBlock(nn.Module):
    """x + W₂ GELU(W₁ [neighbours of LayerNorm(x)]), seeing both sides.  (B, T, D) → (B, T, D)."""

    def __init__(self, width: int, dilation: int = 1, expansion: int = 2) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(3 * width, expansion * width)
        self.outer = nn.Linear(expansion * width, width)
        nn.init.normal_(self.outer.weight, std=0.007)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        neighbours = beside(self.norm(x), self.dilation)
        return x + self.outer(gelu(self.inner, neighbours))


class CausalTemporalBlock(TemporalBlock):
    """The same block looking back only, with its past passed in and out."""

    def init_state(self, batch: int) -> Tensor:
        """Return an empty past (B, 2·dilation, D): zeros, as at the start of an utterance."""
        weight = self.inner.weight
        return weight.new_zeros(batch, 2 * self.dilation, weight.shape[1] // 3)

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D), past (B, 2·dilation, D) → (B, T, D), the past for what follows."""
        frames, d = x.shape[1], self.dilation
        seen = torch.cat([past, self.norm(x)], dim=1)
        triple = torch.cat([seen[:, :frames], seen[:, d : d + frames], seen[:, 2 * d :]], dim=-1)
        y = x + self.outer(gelu(self.inner, triple))
        return y, seen[:, frames:]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D) for a whole utterance."""
        return self.step(x, self.init_state(x.shape[0]))[0]
