"""Changes how fast a mel goes by, not its pitch: linear interpolation over frames, in pieces."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stretch:
    """State between pieces: frames not yet passed, and where among them the next output falls."""

    speed: float
    pending: Tensor | None = None  # (B, M, f)
    position: float = 0.0  # of the next output frame, in frames of `pending`

    def step(self, mel: Tensor, last: bool) -> tuple[Tensor, Stretch]:
        """mel (B, M, F) → (B, M, about F / speed), state; `last` lets out what was held back."""
        if self.speed == 1.0:
            return mel, self
        seen = mel if self.pending is None else torch.cat([self.pending, mel], dim=2)
        frames = seen.shape[2]
        end = frames if last else frames - 1  # a frame between two needs the later one
        count = max(0, -int((self.position - end) // self.speed))
        places = self.position + self.speed * torch.arange(count, dtype=torch.float64)
        low = places.long().clamp(max=max(frames - 1, 0))
        high = (low + 1).clamp(max=max(frames - 1, 0))
        part = (places - low).clamp(0, 1).to(seen)
        made = seen[:, :, low] * (1 - part) + seen[:, :, high] * part
        after = self.position + self.speed * count
        passed = min(int(after), frames)
        return made, dataclasses.replace(self, pending=seen[:, :, passed:], position=after - passed)


def init_stretch(speed: float) -> Stretch:
    """Return the state before the first frame; `speed` 2 halves the duration."""
    return Stretch(speed)
