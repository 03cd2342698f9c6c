"""Trains the vocoder: multi-resolution STFT loss on real and synthetic speech, pitch beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.modules.vocos import Vocos
from voxkit.spec import MelSpec, VocosSpec
from voxkit.train.corpus import F0_PER_FRAME
from voxkit.train.data import Mixture, Utterance
from voxkit.train.loop import Draw

RESOLUTIONS = (2048, 1024, 512, 240)


@dataclass(frozen=True)
class VocoderRecipe:
    """How batches are made."""

    batch: int
    frames: int
    lead: int  # frames at the start of a crop that only warm up the causal network
    shares: dict[str, float]


class VocoderTask:
    """Batches and losses of the vocoder."""

    def __init__(
        self,
        spec: VocosSpec,
        mel: MelSpec,
        recipe: VocoderRecipe,
        utterances: Sequence[Utterance],
    ) -> None:
        self.model = Vocos(spec, mel)
        self.mel, self.recipe = mel, recipe
        usable = [u for u in utterances if u.frames >= recipe.frames]
        self.train = Mixture([u for u in usable if not u.held_out], recipe.shares)
        self.held_out = [u for u in usable if u.held_out and u.set in recipe.shares]

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """One batch of random crops."""
        chosen = [self.train.draw(draw.numpy) for _ in range(self.recipe.batch)]
        starts = [int(draw.numpy.integers(u.frames - self.recipe.frames + 1)) for u in chosen]
        return self._losses(chosen, starts)

    def evaluate(self) -> dict[str, float]:
        """The same losses on fixed crops of held-out speech."""
        rows = [
            self._losses([u], [(u.frames - self.recipe.frames) // 2]) for u in self.held_out[::4]
        ]
        return {k: float(np.mean([float(r[k]) for r in rows])) for k in rows[0]} if rows else {}

    def _losses(self, chosen: list[Utterance], starts: list[int]) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        size, hop = self.recipe.frames, self.mel.hop
        pairs = list(zip(chosen, starts, strict=True))

        def stack(rows: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(rows).astype(np.float32)).to(device)

        mel = stack([u.mel[s : s + size] for u, s in pairs]).transpose(1, 2)
        f0 = stack([u.f0[s * F0_PER_FRAME : (s + size) * F0_PER_FRAME] for u, s in pairs])
        wav = stack([u.wav[s * hop : (s + size) * hop] for u, s in pairs]) / 32767
        made, pitch, voicing = self.model((mel - self.mel.mean) / self.mel.scale, f0)
        lead, tail = self.recipe.lead, self.model.spec.lookahead + 1
        spectral = spectral_distance(
            made[:, lead * hop : -tail * hop], wav[:, lead * hop : -tail * hop]
        )
        inner = slice(lead * F0_PER_FRAME, -tail * F0_PER_FRAME)
        f0, pitch, voicing = f0[:, inner], pitch[:, inner], voicing[:, inner]
        voiced = (f0 > 0).float()
        off = (pitch.log() - f0.clamp(min=50).log()).abs()
        pitch_loss = (off * voiced).sum() / voiced.sum().clamp(min=1)
        voicing_loss = F.binary_cross_entropy_with_logits(voicing, voiced)
        return {
            "loss": spectral + pitch_loss + 0.3 * voicing_loss,
            "spectral": spectral.detach(),
            "pitch": pitch_loss.detach(),
            "voicing": voicing_loss.detach(),
        }


def spectral_distance(made: Tensor, wav: Tensor) -> Tensor:
    """Multi-resolution STFT loss of two waveforms (B, S): log magnitude, spectral convergence.

    Yamamoto et al. 2020, "Parallel WaveGAN" (arXiv 1910.11480), section 2.2.
    """
    total = made.new_zeros(())
    for size in RESOLUTIONS:
        window = torch.hann_window(size, device=made.device)

        def magnitude(x: Tensor, n: int = size, w: Tensor = window) -> Tensor:
            return torch.stft(x, n, n // 4, n, w, center=True, return_complex=True).abs()

        a, b = magnitude(made), magnitude(wav)
        log = ((a + 1e-4).log() - (b + 1e-4).log()).abs().mean()
        convergence = (a - b).norm(dim=(1, 2)) / (b.norm(dim=(1, 2)) + 1e-3)
        total = total + log + 0.5 * convergence.mean()
    return total / len(RESOLUTIONS)
