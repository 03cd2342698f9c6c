"""Trains the flow-matching decoder: tokens, voice and an optional prompt → mel.

Conditional flow matching with straight paths: Lipman et al. 2022 (arXiv 2210.02747); guidance by
leaving the condition out at times: Ho and Salimans 2022 (arXiv 2207.12598).  A second training
folds the guidance in, so that speaking asks the network once a step and not twice: it learns the
guided velocity of the first one's weights, as in Meng et al. 2022, "On distillation of guided
diffusion models" (arXiv 2210.03142).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from voxkit.errors import TrainingError
from voxkit.modules.chunks import ChunkMask
from voxkit.modules.dit import Dit
from voxkit.modules.fsq import tokens_to_codes
from voxkit.spec import ModelSpec
from voxkit.train.encode import Encoded
from voxkit.train.loop import Draw


@dataclass(frozen=True)
class DecoderRecipe:
    """How batches are made."""

    batch: int
    tokens: int  # of a stretch of speech, look-ahead not counted
    shares: dict[str, float]
    drop_condition: float
    drop_control: float
    prompt: float  # share of stretches that begin with the reference, another utterance's mel
    chunks: tuple[int, ...]  # tokens of a chunk, drawn for each batch; 0 sees everything
    guess: float  # weight of the encoder's own mel
    guided: float = 0.0  # guidance to learn from a teacher; 0: learn from speech


class DecoderTask:
    """Batches of stretches of speech: a reference or none, then an utterance, then others.

    All of a stretch is one speaker's.  Speaking is like that: the decoder hears the reference of a
    voice before each sentence, and goes on for longer than most recorded utterances last.
    """

    def __init__(self, spec: ModelSpec, recipe: DecoderRecipe, encoded: Sequence[Encoded]) -> None:
        self.spec, self.recipe = spec, recipe
        self.model = Dit(spec.decoder, spec.tokenizer.dims, spec.mel.bins, spec.speaker.embedding)
        self.teacher = copy.deepcopy(self.model).requires_grad_(False) if recipe.guided else None
        self.need = recipe.tokens + spec.decoder.lookahead
        self.held_out = [e for e in encoded if e.utterance.held_out]
        self.by_speaker: dict[str, list[Encoded]] = {}
        self.groups: list[list[Encoded]] = []
        shares = []
        for name, share in recipe.shares.items():
            group = [e for e in encoded if e.utterance.set == name and not e.utterance.held_out]
            if group and share > 0:
                self.groups.append(group)
                shares.append(share)
        if not self.groups:
            raise TrainingError("None of the sets in the recipe's shares has been encoded.")
        self.shares = np.array(shares) / sum(shares)
        for e in encoded:
            if not e.utterance.held_out:
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
        """The same losses on held-out utterances, with fixed draws."""
        size = self.recipe.batch
        rows = [
            self._losses(self.held_out[i : i + size], Draw(0, i))
            for i in range(0, min(len(self.held_out), 12 * size), size)
        ]
        return {k: float(np.mean([float(r[k]) for r in rows])) for k in rows[0]} if rows else {}

    def _other(self, e: Encoded, rng: np.random.Generator) -> Encoded:
        """Draw another utterance of the same speaker; the same one where there is no other."""
        others = [o for o in self.by_speaker.get(e.utterance.speaker, ()) if o is not e]
        return others[int(rng.integers(len(others)))] if others else e

    def _stretch(
        self, e: Encoded, prompt: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lay utterances end to end: tokens (need,), mel (need · ratio, M) in natural log.

        First `prompt` tokens of another one, then `e`, from its start unless it is too long to be
        heard whole, then others.
        """
        ratio = self.spec.mel_per_token
        parts = []
        if prompt:
            parts.append(_part(self._other(e, rng), prompt, ratio, rng))
        parts.append(_part(e, self.need - sum(len(t) for t, _ in parts), ratio, rng))
        while (missing := self.need - sum(len(t) for t, _ in parts)) > 0:
            parts.append(_part(self._other(e, rng), missing, ratio, rng))
        tokens, mels = zip(*parts, strict=True)
        return np.concatenate(tokens).astype(np.int64), np.concatenate(mels).astype(np.float32)

    def _losses(self, rows: list[Encoded], draw: Draw) -> dict[str, Tensor]:
        rng, recipe, spec = draw.numpy, self.recipe, self.spec
        device = self.model.leave.weight.device
        ratio, frames = spec.mel_per_token, recipe.tokens * spec.mel_per_token
        mels, tokens, speakers, controls, given, prompts = [], [], [], [], [], []
        for e in rows:
            begins = rng.random() < recipe.prompt
            known = int(rng.integers(10, recipe.tokens // 2)) if begins else 0
            said, sound = self._stretch(e, known, rng)
            tokens.append(said)
            mels.append(sound[:frames])
            prompts.append(known * ratio)
            speakers.append(self._other(e, rng).speaker if rng.random() < 0.8 else e.speaker)
            controls.append(e.controls)
            given.append(e.given * (rng.random(4) >= recipe.drop_control))

        def on_device(values: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(values)).to(device)

        mel = (on_device(mels) - spec.mel.mean) / spec.mel.scale
        codes = tokens_to_codes(on_device(tokens), spec.tokenizer.levels, spec.tokenizer.dims)
        who = [on_device(v) for v in (speakers, controls, given)]
        count = len(rows)
        kept = (draw.uniform(count, 1) >= recipe.drop_condition).to(device)
        in_prompt = torch.arange(frames) < torch.tensor(prompts)[:, None]
        prompt = mel * in_prompt[..., None].to(device)
        t = draw.uniform(count).to(device)
        noise = draw.normal(*mel.shape).to(device)
        x = t[:, None, None] * mel + (1 - t[:, None, None]) * noise
        chunk = ratio * int(rng.choice(recipe.chunks))  # 0 for no bounds
        mask = ChunkMask(0, frames, chunk) if chunk else None

        def velocities(model: Dit, *conditional: Tensor) -> tuple[list[Tensor], Tensor]:
            """Velocity for each of the masks (B, 1), 0 without condition, and the encoder's mel."""
            voice = model.condition(who[0], who[1], who[2].float())
            features, guess, _ = model.encoder.step(codes, voice, model.encoder.init_state(count))
            fields = []
            for on in conditional:
                one = on[..., None]
                field, _ = model.velocity(
                    x,
                    t,
                    features * one,
                    guess.detach() * one,
                    prompt * one,
                    voice * on,
                    0,
                    model.init_blocks(count),
                    mask,
                )
                fields.append(field)
            return fields, guess

        target = mel - noise
        if self.teacher is not None:
            with torch.no_grad():
                (target, blind), _ = velocities(self.teacher.to(device), kept, kept * 0)
            target = target + recipe.guided * (target - blind)  # as it is where kept is 0
        (made,), guess = velocities(self.model, kept)
        weight = (~in_prompt).float()[..., None].to(device)
        flow = ((made - target).square() * weight).sum() / weight.sum() / mel.shape[-1]
        first = (guess - mel).abs().mean()
        return {
            "loss": flow + recipe.guess * first,
            "flow": flow.detach(),
            "guess": first.detach(),
        }


def _part(
    e: Encoded, most: int, ratio: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return at most so many tokens (t,) of an utterance in a row, and their mel (t·ratio, M)."""
    start = int(rng.integers(max(0, len(e.tokens) - most) + 1))
    end = min(start + most, len(e.tokens))
    return e.tokens[start:end], e.utterance.mel[start * ratio : end * ratio]
