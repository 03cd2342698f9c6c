"""Trains the vocoder: spectral energy distance on real and synthetic speech, pitch beside it.

A plain distance between spectra is least for sound without chance in it, and a network that learns
by it buzzes: it puts pulses where speech has noise.  The energy distance of two draws y, y' from
the speech x, E d(x, y) - E d(y, y') / 2, is least where the draws are distributed as speech is:
Gritsenko et al. 2020, "A spectral energy distance for parallel speech synthesis"
(arXiv 2008.01160).  Chance is not only in the noise: a mel does not tell where in a period a window
falls, so the pulses of each draw begin anywhere.  Draws with the same pulses pay for every window
that is shorter than a few periods as if that could be known, and learn to be hoarse.  Single bins
of noise are nearly all chance, so the same distance is taken of the loudness of mel bands too, in
which little of it is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.modules.spectral import slaney_mel_basis
from voxkit.modules.vocos import Vocos
from voxkit.spec import MelSpec, VocosSpec
from voxkit.train.corpus import F0_PER_FRAME
from voxkit.train.data import Mixture, Utterance
from voxkit.train.loop import Draw

RESOLUTIONS = (2048, 1024, 512, 240)
BANDS = (80, 60, 40, 20)  # mel bands at each of them


@dataclass(frozen=True)
class VocoderRecipe:
    """How batches are made."""

    batch: int
    frames: int
    lead: int  # frames at the start of a crop that only warm up the causal network
    bands: float  # weight of the loudness of mel bands beside that of single bins
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
        self.filters = band_filters(mel.sample_rate)
        usable = [u for u in utterances if u.frames >= recipe.frames]
        self.train = Mixture([u for u in usable if not u.held_out], recipe.shares)
        self.held_out = [u for u in usable if u.held_out and u.set in recipe.shares]

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """One batch of random crops."""
        chosen = [self.train.draw(draw.numpy) for _ in range(self.recipe.batch)]
        starts = [int(draw.numpy.integers(u.frames - self.recipe.frames + 1)) for u in chosen]
        return self._losses(chosen, starts, draw)

    def evaluate(self) -> dict[str, float]:
        """The same losses on fixed crops of held-out speech."""
        draw, size = Draw(0, 0), self.recipe.frames
        rows = [self._losses([u], [(u.frames - size) // 2], draw) for u in self.held_out[::4]]
        return {k: float(np.mean([float(r[k]) for r in rows])) for k in rows[0]} if rows else {}

    def _losses(self, chosen: list[Utterance], starts: list[int], draw: Draw) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        size, hop = self.recipe.frames, self.mel.hop
        pairs = list(zip(chosen, starts, strict=True))

        def stack(rows: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(rows).astype(np.float32)).to(device)

        mel = stack([u.mel[s : s + size] for u, s in pairs]).transpose(1, 2)
        f0 = stack([_reached(u, s, size) for u, s in pairs])
        wav = stack([u.wav[s * hop : (s + size) * hop] for u, s in pairs]) / 32767
        noise = draw.normal(2 * len(pairs), size * hop).to(device)
        turned = draw.uniform(len(pairs), 2).to(device)
        made, pitch, voicing = self.model((mel - self.mel.mean) / self.mel.scale, f0, noise, turned)
        lead, tail = self.recipe.lead, self.model.spec.lookahead + 1
        heard = slice(lead * hop, -tail * hop)
        one, other = (spectra(draws) for draws in made[:, heard].chunk(2))
        real = spectra(wav[:, heard])
        level = [s.norm(dim=(1, 2)) + 1e-3 for s in real]
        near = (spectral_distance(one, real, level) + spectral_distance(other, real, level)) / 2
        spread = spectral_distance(one, other, level)
        loud, loud_other, loud_real = (loudness(s, self.filters) for s in (one, other, real))
        near_bands = (distance(loud, loud_real) + distance(loud_other, loud_real)) / 2
        bands = near_bands - distance(loud, loud_other) / 2
        inner = slice(lead * F0_PER_FRAME, -tail * F0_PER_FRAME)
        f0, pitch, voicing = f0[:, inner], pitch[:, inner], voicing[:, inner]
        voiced = (f0 > 0).float()
        off = (pitch.log() - f0.clamp(min=50).log()).abs()
        pitch_loss = (off * voiced).sum() / voiced.sum().clamp(min=1)
        voicing_loss = F.binary_cross_entropy_with_logits(voicing, voiced)
        return {
            "loss": near - spread / 2 + self.recipe.bands * bands + pitch_loss + 0.3 * voicing_loss,
            "near": near.detach(),
            "spread": spread.detach(),
            "bands": bands.detach(),
            "pitch": pitch_loss.detach(),
            "voicing": voicing_loss.detach(),
        }


def _reached(u: Utterance, start: int, frames: int) -> np.ndarray:
    """Return the f0 (4F,) at the end of each subframe, which is where the vocoder reaches it."""
    times = np.arange(start * F0_PER_FRAME, (start + frames) * F0_PER_FRAME) + 1
    return u.f0[np.minimum(times, len(u.f0) - 1)]


def spectra(wav: Tensor) -> list[Tensor]:
    """Waveforms (B, S) → magnitudes of their STFT (B, n/2 + 1, frames) at every resolution n."""
    windows = [torch.hann_window(size, device=wav.device) for size in RESOLUTIONS]
    return [
        torch.stft(wav, n, n // 4, n, window, center=True, return_complex=True).abs()
        for n, window in zip(RESOLUTIONS, windows, strict=True)
    ]


def spectral_distance(one: list[Tensor], other: list[Tensor], level: list[Tensor]) -> Tensor:
    """Mean distance of two batches of `spectra`: of log magnitudes, and of magnitudes by `level`.

    With the norms (B,) of the other's magnitudes as `level` it is the multi-resolution STFT loss
    of Yamamoto et al. 2020, "Parallel WaveGAN" (arXiv 1910.11480), section 2.2.
    """
    total = one[0].new_zeros(())
    for a, b, norm in zip(one, other, level, strict=True):
        log = ((a + 1e-4).log() - (b + 1e-4).log()).abs().mean()
        total = total + log + 0.5 * ((a - b).norm(dim=(1, 2)) / norm).mean()
    return total / len(RESOLUTIONS)


def band_filters(sample_rate: int) -> list[Tensor]:
    """Return filters (bands, n/2 + 1) that average the power of bins, for every resolution n."""
    found = []
    for n, bands in zip(RESOLUTIONS, BANDS, strict=True):
        spec = MelSpec(sample_rate, n, n, n // 4, bands, 0.0, sample_rate / 2)
        basis = torch.from_numpy(slaney_mel_basis(spec))
        found.append(basis / basis.sum(1, keepdim=True).clamp(min=1e-9))
    return found


def loudness(spectrum: list[Tensor], filters: list[Tensor]) -> list[Tensor]:
    """`spectra` → the log level (B, bands, frames) of each mel band at every resolution."""
    pairs = zip(spectrum, filters, strict=True)
    with torch.autocast(spectrum[0].device.type, enabled=False):
        return [(f.to(s.device) @ s.square() + 1e-8).log() / 2 for s, f in pairs]


def distance(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Mean absolute difference of two lists of tensors, each of them counting alike."""
    apart = [(a - b).abs().mean() for a, b in zip(one, other, strict=True)]
    return torch.stack(apart).mean()
