"""Moves the formants of a mel up or down, as a shorter or longer vocal tract does."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from voxkit.spec import MelSpec


def move_formants(mel: Tensor, factor: float, spec: MelSpec) -> Tensor:
    """mel (B, M, F) → the same with what was at f Hz at `factor` · f Hz; 1 changes nothing.

    Between bins it interpolates.  What the vocoder hears of the pitch moves too, a little.
    """
    if factor == 1.0:
        return mel
    low, part = _places(factor, spec)
    share = part.to(mel)[:, None]
    low = low.to(mel.device)
    return mel[:, low] * (1 - share) + mel[:, low + 1] * share


def coloured(mel: Tensor, timbre: np.ndarray | None) -> Tensor:
    """mel (B, M, F) in natural log → the same with `timbre` (M,) added to every frame."""
    return mel if timbre is None else mel + torch.from_numpy(timbre).to(mel)[:, None]


@lru_cache(maxsize=64)
def _places(factor: float, spec: MelSpec) -> tuple[Tensor, Tensor]:
    """Return for each bin the lower (M,) of the two that it comes from, and the other's share."""
    import librosa

    centres = librosa.mel_frequencies(spec.bins + 2, fmin=spec.fmin, fmax=spec.fmax)[1:-1]
    places = np.interp(centres / factor, centres, np.arange(spec.bins))
    low = np.clip(places.astype(np.int64), 0, spec.bins - 2)
    return torch.from_numpy(low), torch.from_numpy((places - low).astype(np.float32))
