"""Rotary positions: Su et al. 2021, "RoFormer" (arXiv 2104.09864), channel halves as pairs."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary(positions: Tensor, width: int, theta: float) -> tuple[Tensor, Tensor]:
    """positions (…,) → cosine and sine (…, width / 2), float32."""
    index = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None].float() * theta ** (-index / width)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn channel pairs (i, i + width/2) of x (…, width) by their angles."""
    a, b = x.chunk(2, dim=-1)
    cosine, sine = cosine.to(x.dtype), sine.to(x.dtype)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], dim=-1)
