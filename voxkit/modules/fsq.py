"""FSQ speech tokenizer network: log-mel at 50 Hz → codes at 25 Hz that carry what was said and how.

Finite scalar quantisation: Mentzer et al. 2023 (arXiv 2309.15505); supervised speech tokens:
CosyVoice 2 (arXiv 2412.10117), section 2.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxkit.modules.temporal import TemporalBlock, beside
from voxkit.spec import FsqTokenizerSpec


class FsqEncoder(nn.Module):
    """Normalised mel (B, M, F) with even F → codes (B, T, dims), in {-h … h}/h for 2h+1 levels."""

    def __init__(self, spec: FsqTokenizerSpec, bins: int) -> None:
        super().__init__()
        self.spec = spec
        self.enter = nn.Linear(3 * bins, spec.width)
        self.fine = nn.ModuleList(TemporalBlock(spec.width, d) for d in spec.dilations_fine)
        self.halve = nn.Linear(2 * spec.width, spec.width)
        self.coarse = nn.ModuleList(TemporalBlock(spec.width, d) for d in spec.dilations_coarse)
        self.norm = nn.LayerNorm(spec.width)
        self.leave = nn.Linear(spec.width, spec.dims)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, M, F) → codes (B, F // 2, dims); gradients pass straight through the rounding."""
        x = mel.transpose(1, 2)
        x = x - 0.5 * x.mean(1, keepdim=True)  # half of the channel's colour goes
        x = self.enter(beside(x, 1))
        for block in self.fine:
            x = block(x)
        x = self.halve(x.unflatten(1, (-1, 2)).flatten(2))
        for block in self.coarse:
            x = block(x)
        return quantise(self.leave(self.norm(x)), self.spec.levels)


def quantise(x: Tensor, levels: int) -> Tensor:
    """Squash with tanh and round to `levels` (odd) values in [-1, 1], straight-through."""
    half = (levels - 1) // 2
    bounded = torch.tanh(x)
    return bounded + (torch.round(bounded * half) / half - bounded).detach()


def codes_to_tokens(codes: Tensor, levels: int) -> Tensor:
    """codes (…, dims) → token ids (…); dimension 0 is the least significant digit."""
    half = (levels - 1) // 2
    digits = torch.round(codes * half).long() + half
    return (digits * _places(digits.shape[-1], levels, codes.device)).sum(-1)


def tokens_to_codes(tokens: Tensor, levels: int, dims: int) -> Tensor:
    """token ids (…) → codes (…, dims)."""
    half = (levels - 1) // 2
    digits = tokens[..., None] // _places(dims, levels, tokens.device) % levels
    return (digits - half).float() / half


def _places(dims: int, levels: int, device: torch.device) -> Tensor:
    return levels ** torch.arange(dims, device=device)
