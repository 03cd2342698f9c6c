"""Trains the flow-matching decoder: tokens, voice and an optional prompt → mel.

Conditional flow matching with straight paths: Lipman et al. 2022 (arXiv 2210.02747); guidance by
leaving the condition out at times: Ho and Salimans 2022 (arXiv 2207.12598).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from voxkit.errors import TrainingError
from voxkit.modules.dit import Dit, chunk_mask
from voxkit.modules.fsq import tokens_to_codes
from voxkit.spec import ModelSpec
from voxkit.train.encode import Encoded
from voxkit.train.loop import Draw


@dataclass(frozen=True)
class DecoderRecipe:
    """How batches are made."""

    batch: int
    tokens: int  # of a crop, look-ahead not counted
    shares: dict[str, float]
    drop_condition: float
    drop_control: float
    prompt: float  # share of crops whose beginning is given as the reference
    chunks: tuple[int, ...]  # tokens of a chunk, drawn for each batch; 0 sees everything
    guess: float  # weight of the encoder's own mel


class DecoderTask:
    """Batches of random crops."""

    def __init__(self, spec: ModelSpec, recipe: DecoderRecipe, encoded: Sequence[Encoded]) -> None:
        self.spec, self.recipe = spec, recipe
        self.model = Dit(spec.decoder, spec.tokenizer.dims, spec.mel.bins, spec.speaker.embedding)
        self.need = recipe.tokens + spec.decoder.lookahead
        usable = [e for e in encoded if len(e.tokens) >= self.need]
        self.held_out = [e for e in usable if e.utterance.held_out]
        self.by_speaker: dict[str, list[Encoded]] = {}
        self.groups: list[list[Encoded]] = []
        shares = []
        for name, share in recipe.shares.items():
            group = [e for e in usable if e.utterance.set == name and not e.utterance.held_out]
            if group and share > 0:
                self.groups.append(group)
                shares.append(share)
        if not self.groups:
            raise TrainingError("None of the sets in the recipe's shares has been encoded.")
        self.shares = np.array(shares) / sum(shares)
        for e in encoded:
            self.by_speaker.setdefault(e.utterance.speaker, []).append(e)

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """One batch."""
        rng = draw.numpy
        rows = []
        for _ in range(self.recipe.batch):
            group = self.groups[int(rng.choice(len(self.groups), p=self.shares))]
            rows.append(group[int(rng.integers(len(group)))])
        return self._losses(rows, draw)

    def evaluate(self) -> dict[str, float]:
        """The same losses on held-out crops, with fixed draws."""
        size = self.recipe.batch
        rows = [
            self._losses(self.held_out[i : i + size], Draw(0, i))
            for i in range(0, min(len(self.held_out), 12 * size), size)
        ]
        return {k: float(np.mean([float(r[k]) for r in rows])) for k in rows[0]} if rows else {}

    def _losses(self, rows: list[Encoded], draw: Draw) -> dict[str, Tensor]:
        rng, recipe, spec = draw.numpy, self.recipe, self.spec
        device = self.model.leave.weight.device
        ratio, frames = spec.mel_per_token, recipe.tokens * spec.mel_per_token
        mels, tokens, speakers, controls, given, prompts = [], [], [], [], [], []
        for e in rows:
            start = int(rng.integers(len(e.tokens) - self.need + 1))
            tokens.append(e.tokens[start : start + self.need].astype(np.int64))
            crop = e.utterance.mel[start * ratio : start * ratio + frames]
            mels.append(crop.astype(np.float32))
            group = self.by_speaker[e.utterance.speaker]
            other = group[int(rng.integers(len(group)))] if rng.random() < 0.8 else e
            speakers.append(other.speaker)
            controls.append(e.controls)
            given.append(e.given * (rng.random(4) >= recipe.drop_control))
            prompts.append(
                ratio * int(rng.integers(10, recipe.tokens // 2))
                if rng.random() < recipe.prompt
                else 0
            )

        def on_device(values: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(values)).to(device)

        mel = (on_device(mels) - spec.mel.mean) / spec.mel.scale
        codes = tokens_to_codes(on_device(tokens), spec.tokenizer.levels, spec.tokenizer.dims)
        voice = self.model.condition(
            on_device(speakers), on_device(controls), on_device(given).float()
        )
        count = len(rows)
        features, guess, _ = self.model.encoder.step(
            codes, voice, self.model.encoder.init_state(count)
        )
        kept = (draw.uniform(count, 1) >= recipe.drop_condition).to(device)
        in_prompt = torch.arange(frames) < torch.tensor(prompts)[:, None]
        prompt = mel * in_prompt[..., None].to(device) * kept[..., None]
        t = draw.uniform(count).to(device)
        noise = draw.normal(*mel.shape).to(device)
        chunk = ratio * int(rng.choice(recipe.chunks))
        velocity, _ = self.model.velocity(
            t[:, None, None] * mel + (1 - t[:, None, None]) * noise,
            t,
            features * kept[..., None],
            guess.detach() * kept[..., None],
            prompt,
            voice * kept,
            0,
            self.model.init_blocks(count),
            chunk_mask(frames, chunk, device),
        )
        weight = (~in_prompt).float()[..., None].to(device)
        flow = ((velocity - (mel - noise)).square() * weight).sum() / weight.sum() / mel.shape[-1]
        first = (guess - mel).abs().mean()
        return {
            "loss": flow + recipe.guess * first,
            "flow": flow.detach(),
            "guess": first.detach(),
        }
