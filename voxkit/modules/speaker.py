"""Speaker encoder: a log-mel of any length → one vector of unit length that says who speaks.

Attentive statistics pooling: Okabe et al. 2018 (arXiv 1803.10963).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.temporal import TemporalBlock, beside
from voxkit.spec import SpeakerSpec


class SpeakerEncoder(nn.Module):
    """Normalised mel (B, M, F) → embedding (B, D), ‖·‖ = 1."""

    def __init__(self, spec: SpeakerSpec, bins: int) -> None:
        super().__init__()
        self.enter = nn.Linear(3 * bins, spec.width)
        self.blocks = nn.ModuleList(TemporalBlock(spec.width, d) for d in spec.dilations)
        self.norm = nn.LayerNorm(spec.width)
        self.attend = nn.Sequential(nn.Linear(spec.width, 64), nn.Tanh(), nn.Linear(64, spec.width))
        self.leave = nn.Linear(2 * spec.width, spec.embedding)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, M, F) → (B, D); the overall level is taken away first."""
        x = mel.transpose(1, 2)
        x = self.enter(beside(x - x.mean((1, 2), keepdim=True), 1))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        weight = self.attend(x).softmax(dim=1)
        mean = (weight * x).sum(1)
        spread = ((weight * x.square()).sum(1) - mean.square()).clamp(min=1e-5).sqrt()
        return F.normalize(self.leave(torch.cat([mean, spread], dim=-1)), dim=-1)
