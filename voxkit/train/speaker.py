"""Trains the speaker encoder to tell the corpus's speakers apart.

Additive angular margin: Deng et al. 2018, "ArcFace" (arXiv 1801.07698).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.errors import TrainingError
from voxkit.modules.speaker import SpeakerEncoder
from voxkit.spec import MelSpec, SpeakerSpec
from voxkit.train.data import Utterance
from voxkit.train.loop import Draw


@dataclass(frozen=True)
class SpeakerRecipe:
    """How batches are made and how hard the task is."""

    batch: int
    frames: int
    margin: float  # radians
    scale: float
    learn_whole: tuple[str, ...] = ()  # sets whose held-out speech is learnt too


class SpeakerNet(nn.Module):
    """The encoder that is kept and one direction per training speaker."""

    def __init__(self, spec: SpeakerSpec, bins: int, speakers: int) -> None:
        super().__init__()
        self.encoder = SpeakerEncoder(spec, bins)
        self.directions = nn.Parameter(torch.randn(speakers, spec.embedding) * 0.1)


class SpeakerTask:
    """Batches of different speakers, each a random crop."""

    def __init__(
        self,
        spec: SpeakerSpec,
        mel: MelSpec,
        recipe: SpeakerRecipe,
        utterances: Sequence[Utterance],
    ) -> None:
        self.mel, self.recipe = mel, recipe
        self.groups: dict[str, list[Utterance]] = {}
        self.held_out: list[Utterance] = []
        for u in utterances:
            if u.frames >= recipe.frames:
                if u.held_out and u.set not in recipe.learn_whole:
                    self.held_out.append(u)
                else:
                    self.groups.setdefault(u.speaker, []).append(u)
        self.names = sorted(self.groups)
        if len(self.names) < recipe.batch:
            raise TrainingError(
                f"A batch has {recipe.batch} different speakers and the corpus only "
                f"{len(self.names)}: lower `batch` in the recipe."
            )
        self.model = SpeakerNet(spec, mel.bins, len(self.names))

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """One batch."""
        rng = draw.numpy
        picks = rng.choice(len(self.names), self.recipe.batch, replace=False)
        rows = []
        for index in picks:
            group = self.groups[self.names[index]]
            u = group[int(rng.integers(len(group)))]
            shortest = (self.recipe.frames + 1) // 2
            size = int(rng.integers(shortest, self.recipe.frames + 1))
            start = int(rng.integers(u.frames - size + 1))
            crop = u.mel[start : start + size].astype(np.float32)
            crop = np.concatenate([crop] * 2)[: self.recipe.frames]  # a short one repeats itself
            rows.append(_disturb(crop, rng))
        device = next(self.model.parameters()).device
        mel = torch.from_numpy(np.stack(rows)).transpose(1, 2).to(device)
        vectors = self.model.encoder((mel - self.mel.mean) / self.mel.scale)
        cosine = vectors @ F.normalize(self.model.directions, dim=-1).T
        target = torch.from_numpy(picks).to(device)
        own = cosine.gather(1, target[:, None]).clamp(-0.9999, 0.9999)
        harder = torch.cos((own.acos() + self.recipe.margin).clamp(max=math.pi))
        logits = cosine.scatter(1, target[:, None], harder) * self.recipe.scale
        right = (cosine.argmax(1) == target).float().mean()
        return {"loss": F.cross_entropy(logits, target), "accuracy": right}

    def evaluate(self) -> dict[str, float]:
        """Share of held-out recordings whose nearest direction is their speaker's."""
        known = {name: i for i, name in enumerate(self.names)}
        directions = F.normalize(self.model.directions, dim=-1)
        right = []
        for u in (u for u in self.held_out if u.speaker in known):
            mel = torch.from_numpy(u.mel[:400].astype(np.float32)).T[None].to(directions.device)
            vector = self.model.encoder((mel - self.mel.mean) / self.mel.scale)
            right.append(float((vector @ directions.T).argmax() == known[u.speaker]))
        return {"accuracy": float(np.mean(right))} if right else {}


def _disturb(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a little colour, noise and a band limit, which do not say who speaks."""
    axis = np.arange(mel.shape[1])
    colour = np.interp(axis, np.linspace(0, axis[-1], 6), rng.normal(0, 0.3, 6))
    mel = mel + colour.astype(np.float32)
    if rng.random() < 0.4:
        mel = np.logaddexp(mel, mel.mean() - rng.uniform(1, 6) + rng.normal(0, 0.3, mel.shape))
    if rng.random() < 0.3:
        mel[:, int(rng.integers(len(axis) * 7 // 8, len(axis))) :] = -11.5
    return np.maximum(mel, -11.5).astype(np.float32)
