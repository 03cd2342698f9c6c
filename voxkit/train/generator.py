"""Trains the token generator: next-token cross-entropy, one head shown what is being spoken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.errors import TrainingError
from voxkit.modules.phone_lm import PhoneLm
from voxkit.modules.transformer import Layer
from voxkit.phonemes import SYMBOLS
from voxkit.spec import ModelSpec
from voxkit.train.encode import Encoded, Piece
from voxkit.train.loop import Draw


@dataclass(frozen=True)
class GeneratorRecipe:
    """How batches are made."""

    positions: int  # of one batch, padding included
    token_noise: float  # share of the heard tokens that are replaced by random ones
    attention: float  # weight of the attention loss at the start
    attention_late: float  # after half of the steps
    drop_control: float
    repeats: dict[str, int]  # how often an epoch shows each set


class GeneratorTask:
    """Batches of pieces of similar length."""

    def __init__(
        self, spec: ModelSpec, recipe: GeneratorRecipe, encoded: Sequence[Encoded], steps: int
    ) -> None:
        self.spec, self.recipe, self.steps = spec, recipe, steps
        self.model = PhoneLm(spec.generator, spec.tokenizer, len(SYMBOLS), spec.speaker.embedding)
        self.items: list[tuple[Encoded, Piece]] = []
        self.held_out: list[tuple[Encoded, Piece]] = []
        self.by_speaker: dict[str, list[Encoded]] = {}
        for e in encoded:
            self.by_speaker.setdefault(e.utterance.speaker, []).append(e)
            rows = [(e, p) for p in e.pieces if 4 <= len(p.spoken) < 500]
            if e.utterance.held_out:
                self.held_out += rows
            else:
                self.items += rows * recipe.repeats.get(e.utterance.set, 0)
        if not self.items:
            raise TrainingError(
                "No aligned text in the corpus: the generator has nothing to learn."
            )
        self._epoch = -1
        self._order: list[list[int]] = []
        self._per_epoch = len(self._batches(np.random.default_rng(0)))

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """One batch; the order of an epoch is drawn from the epoch's number."""
        epoch, index = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._order = self._batches(np.random.default_rng([7, epoch]))
            self._epoch = epoch
        rows = [self.items[i] for i in self._order[min(index, len(self._order) - 1)]]
        late = step > self.steps // 2
        weight = self.recipe.attention_late if late else self.recipe.attention
        noise = 0.3 if step < 200 else self.recipe.token_noise
        cross_entropy, attention = self._losses(rows, draw, noise)
        return {
            "loss": cross_entropy + weight * attention,
            "cross_entropy": cross_entropy.detach(),
            "attention": attention.detach(),
        }

    def evaluate(self) -> dict[str, float]:
        """Cross-entropy on held-out pieces, real and synthetic apart."""
        figures = {}
        for name, real in (("real", True), ("synthetic", False)):
            rows = [r for r in self.held_out if (r[0].utterance.set != "synthetic") == real][:96]
            parts = [
                self._losses(rows[i : i + 12], Draw(0, i), 0.0) for i in range(0, len(rows), 12)
            ]
            if parts:
                figures[f"cross_entropy_{name}"] = float(np.mean([float(c) for c, _ in parts]))
                figures[f"attention_{name}"] = float(np.mean([float(a) for _, a in parts]))
        return figures

    def _batches(self, rng: np.random.Generator) -> list[list[int]]:
        lengths = np.array([len(p.spoken) + len(p.symbols) for _, p in self.items])
        batches: list[list[int]] = [[]]
        for i in np.argsort(lengths + rng.uniform(0, 12, len(lengths))):
            widest = max([lengths[j] for j in batches[-1]] + [lengths[i]])
            if batches[-1] and widest * (len(batches[-1]) + 1) > self.recipe.positions:
                batches.append([])
            batches[-1].append(int(i))
        rng.shuffle(batches)
        return batches

    def _losses(
        self, rows: list[tuple[Encoded, Piece]], draw: Draw, noise: float
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the next token, -log of the attention on the phone being spoken ± 1."""
        model = self.model
        device = model.task.device
        rng = draw.numpy
        count, stop = len(rows), model.stop
        text = max(len(p.symbols) for _, p in rows)
        longest = max(len(p.spoken) for _, p in rows)
        symbols = torch.zeros(count, text, dtype=torch.long)
        heard = torch.zeros(count, longest, dtype=torch.long)
        target = torch.full((count, longest + 1), -100)
        spoken = torch.full((count, longest + 1), -1)
        speakers, controls, given = [], [], []
        for b, (e, p) in enumerate(rows):
            n, t = len(p.symbols), len(p.spoken)
            tokens = torch.from_numpy(e.tokens[p.start : p.start + t].astype(np.int64))
            symbols[b, :n] = torch.from_numpy(p.symbols.astype(np.int64))
            heard[b, :t] = target[b, :t] = tokens
            target[b, t] = stop
            spoken[b, :t] = torch.from_numpy(p.spoken.astype(np.int64))
            group = self.by_speaker[e.utterance.speaker]
            speakers.append(group[int(rng.integers(len(group)))].speaker)
            controls.append(e.controls)
            given.append(e.given * (rng.random(4) >= self.recipe.drop_control))
        if noise:
            wrong = draw.uniform(count, longest) < noise
            other = torch.randint(0, stop, (count, longest), generator=draw.torch)
            heard = torch.where(wrong, other, heard)
        lengths = torch.tensor([len(p.symbols) for _, p in rows])
        logits, attention = self._forward(
            *(
                x.to(device)
                for x in (
                    torch.from_numpy(np.stack(speakers)),
                    torch.from_numpy(np.stack(controls)),
                    torch.from_numpy(np.stack(given).astype(np.float32)),
                    symbols,
                    lengths,
                    heard,
                )
            )
        )
        cross_entropy = F.cross_entropy(logits.flatten(0, 1), target.to(device).flatten())
        known = (spoken >= 0).to(device)
        near = F.pad(attention, (1, 1)).unfold(2, 3, 1).sum(-1)  # (B, T + 1, N)
        mass = near.gather(2, spoken.clamp(min=0)[..., None].to(device))[..., 0]
        return cross_entropy, -((mass + 1e-4).log() * known).sum() / known.sum()

    def _forward(
        self,
        speaker: Tensor,
        controls: Tensor,
        given: Tensor,
        symbols: Tensor,
        lengths: Tensor,
        heard: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Whole sequences → logits (B, T + 1, K + 1), attention on the text (B, T + 1, N).

        The attention is that of the taught head.
        """
        model = self.model
        heard_table, said_table = model.tables()
        prefix = model.prefix(speaker, controls, given, symbols)
        x = torch.cat([prefix, F.embedding(heard, heard_table)], dim=1)
        count, text = symbols.shape
        tokens = heard.shape[1]
        device = x.device
        real = torch.arange(text, device=device) < lengths[:, None]
        ones = torch.ones(count, 1, dtype=torch.bool, device=device)
        valid = torch.cat([ones, real, ones.expand(-1, tokens + 1)], dim=1)
        positions = torch.cat(
            [
                torch.arange(text + 1, device=device).expand(count, -1),
                1 + lengths[:, None] + torch.arange(tokens + 1, device=device),
            ],
            dim=1,
        )
        total = x.shape[1]
        mask = torch.ones(total, total, dtype=torch.bool, device=device).tril()
        mask[: text + 1, : text + 1] = True
        mask = mask & valid[:, None, :] | torch.eye(total, dtype=torch.bool, device=device)
        transformer = model.transformer
        angles = transformer.angles(positions)
        nothing = transformer.init_cache(count)
        attention = x.new_zeros(())
        for index, layer in enumerate(cast(Iterable[Layer], transformer.layers)):
            normed = layer.attention_norm(x)
            if index == model.spec.align_layer:
                query, key, _ = layer.attention.split(normed, angles)
                scores = query[:, 0, text + 1 :] @ key[:, 0].transpose(1, 2)
                scores = scores / transformer.spec.head_width**0.5
                scores = scores.masked_fill(~mask[:, text + 1 :], -1e9)
                attention = scores.softmax(-1)[..., 1 : text + 1]
            y, _, _ = layer.attention(
                normed, angles, nothing.keys[index], nothing.values[index], mask[:, None]
            )
            x = layer.feed(x + y)
        hidden = transformer.norm(x)[:, text + 1 :]
        return hidden @ said_table.T, attention
