"""Trains the speech tokenizer: phones of every frame, and what keeps pitch, loudness and timbre.

Synthetic speech brings exact phone labels.  Real speech starts without; now and then the network
itself aligns the dictionary pronunciation of each transcript to the recording (Viterbi), and learns
from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.files import whole_file
from voxkit.modules.fsq import FsqEncoder, codes_to_tokens
from voxkit.modules.temporal import TemporalBlock
from voxkit.phonemes import LetterReader, Lexicon, phones
from voxkit.spec import FsqTokenizerSpec, MelSpec
from voxkit.train.align import align, graph
from voxkit.train.corpus import F0_PER_FRAME, PHONE_CLASSES
from voxkit.train.data import Mixture, Utterance
from voxkit.train.loop import Draw


@dataclass(frozen=True)
class TokenizerRecipe:
    """How batches are made; `align_at` are the steps at which real speech is aligned anew."""

    batch: int
    frames: int
    shares: dict[str, float]
    align_at: tuple[int, ...]


class TokenizerNet(nn.Module):
    """The encoder that is kept and the decoder that only teaches it."""

    def __init__(self, spec: FsqTokenizerSpec, bins: int) -> None:
        super().__init__()
        width = spec.width
        self.encoder = FsqEncoder(spec, bins)
        self.enter = nn.Linear(spec.dims, width)
        self.coarse = TemporalBlock(width)
        self.widen = nn.Linear(width, 2 * width)
        self.fine = nn.ModuleList(TemporalBlock(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.phones = nn.Linear(width, len(PHONE_CLASSES))
        self.prosody = nn.Linear(width, 3)
        self.colour = nn.Linear(2 * bins, width)
        self.paint = TemporalBlock(width)
        self.mel = nn.Linear(width, bins)

    def decode(self, codes: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """codes (B, T, dims), clean mel (B, M, F) → phone logits (B, F, C), prosody, mel (B, F, M).

        Of the clean mel only the statistics are read; prosody (B, F, 3) is pitch, voicing, energy.
        """
        x = self.coarse(self.enter(codes))
        x = self.widen(x).unflatten(-1, (2, -1)).flatten(1, 2)
        for block in self.fine:
            x = block(x)
        x = self.norm(x)
        statistics = torch.cat([clean.mean(2), clean.std(2)], dim=-1)
        painted = self.paint(x + self.colour(statistics)[:, None])
        return self.phones(x), self.prosody(x), self.mel(painted)

    def phone_scores(self, mel: Tensor) -> Tensor:
        """Normalised mel (B, M, F) → log probability of each phone class (B, F, C)."""
        return self.decode(self.encoder(mel), mel)[0].log_softmax(-1)


class TokenizerTask:
    """Batches and losses of the tokenizer."""

    def __init__(
        self,
        spec: FsqTokenizerSpec,
        mel: MelSpec,
        recipe: TokenizerRecipe,
        utterances: Sequence[Utterance],
        letters: LetterReader | None,
        folder: Path,
    ) -> None:
        self.model = TokenizerNet(spec, mel.bins)
        self.spec, self.mel, self.recipe = spec, mel, recipe
        self.letters, self.folder = letters, folder
        long_enough = [u for u in utterances if u.frames >= recipe.frames]
        self.train = Mixture([u for u in long_enough if not u.held_out], recipe.shares)
        self.held_out = [u for u in utterances if u.held_out and u.text]
        self.labelled = [u for u in utterances if u.text and u.phones[0] < 0]
        self.labels: dict[str, np.ndarray] = load_labels(folder)

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """One batch of random crops."""
        due = step in self.recipe.align_at
        lost = not self.labels and any(step > at for at in self.recipe.align_at)
        if self.labelled and (due or lost):
            self._align()
        noisy, clean, classes, pitch, voiced = self._batch(draw.numpy)
        device = next(self.model.parameters()).device
        noisy, clean, classes, pitch, voiced = (
            t.to(device) for t in (noisy, clean, classes, pitch, voiced)
        )
        logits, prosody, mel = self.model.decode(self.model.encoder(noisy), clean)
        energy = clean.mean(1) - clean.mean((1, 2))[:, None]
        phone = F.cross_entropy(
            logits.flatten(0, 1), classes.flatten(), ignore_index=-1, label_smoothing=0.02
        )
        losses = {
            "phone": phone,
            "pitch": ((prosody[..., 0] - pitch).abs() * voiced).sum() / voiced.sum().clamp(min=1),
            "voicing": F.binary_cross_entropy_with_logits(prosody[..., 1], voiced),
            "energy": (prosody[..., 2] - energy).abs().mean(),
            "mel": (mel.transpose(1, 2) - clean).abs().mean(),
        }
        weights = {"phone": 1.0, "pitch": 0.2, "voicing": 0.2, "energy": 0.2, "mel": 0.4}
        total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        return {"loss": total, **{k: v.detach() for k, v in losses.items()}}

    def evaluate(self) -> dict[str, float]:
        """Frame accuracy on held-out speech, by set, and how the codes are used."""
        right: dict[str, list[float]] = {}
        used = torch.zeros(self.spec.codebook)
        for u in self.held_out[:300]:
            mel = self._normalised(u)
            codes = self.model.encoder(mel)
            tokens = codes_to_tokens(codes, self.spec.levels)[0].cpu()
            used += torch.bincount(tokens, minlength=self.spec.codebook)
            labels = u.phones if u.phones[0] >= 0 else self.labels.get(u.id)
            if labels is not None:
                guess = self.model.decode(codes, mel)[0][0].argmax(-1).cpu().numpy()
                right.setdefault(u.set, []).append(float((guess == labels).mean()))
        share = used[used > 0] / used.sum()
        figures = {f"accuracy_{name}": float(np.mean(v)) for name, v in right.items()}
        perplexity = float(torch.exp(-(share * share.log()).sum()))
        return figures | {"codes": float((used > 0).sum()), "perplexity": perplexity}

    def _normalised(self, u: Utterance) -> Tensor:
        device = next(self.model.parameters()).device
        mel = torch.from_numpy(u.mel.astype(np.float32)).T[None].to(device)
        return (mel - self.mel.mean) / self.mel.scale

    def _align(self) -> None:
        """Label real speech by aligning its transcripts with the network as it is now."""
        lexicon = Lexicon.bundled()
        self.model.eval()
        with torch.no_grad():
            for u in self.labelled:
                text = phones(u.text, lexicon, self.letters)
                if text.unknown or not text.ids:
                    continue
                states = graph(text)
                scores = self.model.phone_scores(self._normalised(u))[0].float().cpu().numpy()
                path = align(scores, states)
                if path is not None:
                    self.labels[u.id] = states.classes[path].astype(np.int16)
        self.model.train()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (
            whole_file(self.folder / "labels.npz", force=True) as part,
            part.open("wb") as file,
        ):
            np.savez(file, **self.labels)  # type: ignore[arg-type]

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        size = self.recipe.frames
        noisy, clean, classes, pitch, voiced = [], [], [], [], []
        for _ in range(self.recipe.batch):
            u = self.train.draw(rng)
            start = int(rng.integers(u.frames - size + 1))
            crop = slice(start, start + size)
            mel = u.mel[crop].astype(np.float32)
            labels = u.phones if u.phones[0] >= 0 else self.labels.get(u.id)
            f0, voice = frame_pitch(u.f0[start * F0_PER_FRAME : (start + size) * F0_PER_FRAME])
            clean.append(mel)
            noisy.append(perturb(mel, rng))
            classes.append(np.full(size, -1) if labels is None else labels[crop])
            pitch.append(f0)
            voiced.append(voice)

        def mels(rows: list[np.ndarray]) -> Tensor:
            stacked = torch.from_numpy(np.stack(rows)).transpose(1, 2)
            return (stacked - self.mel.mean) / self.mel.scale

        return (
            mels(noisy),
            mels(clean),
            torch.from_numpy(np.stack(classes).astype(np.int64)),
            torch.from_numpy(np.stack(pitch)),
            torch.from_numpy(np.stack(voiced)),
        )


def load_labels(folder: Path) -> dict[str, np.ndarray]:
    """Return the frame labels of real speech that the tokenizer's training left in `folder`."""
    path = folder / "labels.npz"
    return dict(np.load(path)) if path.is_file() else {}


def frame_pitch(f0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f0 (4F,) in Hz → log-f0 about its mean in units of 0.2 (F,), voicing 0 or 1 (F,)."""
    values = f0.astype(np.float32).reshape(-1, F0_PER_FRAME)
    count = (values > 0).sum(1)
    voiced = count > 0
    mean = np.where(voiced, values.sum(1) / np.maximum(count, 1), 1.0)
    log = np.log(np.maximum(mean, 1.0))
    centre = log[voiced].mean() if voiced.any() else 0.0
    relative = np.where(voiced, (log - centre) / 0.2, 0.0)
    return relative.astype(np.float32), voiced.astype(np.float32)


def perturb(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change who speaks through what, not what is said: formants, colour, level, noise, band."""
    frames, bins = mel.shape
    if rng.random() < 0.5:
        place = np.clip(np.arange(bins) * np.exp(rng.uniform(-0.1, 0.1)), 0, bins - 1)
        low = place.astype(int)
        high = np.minimum(low + 1, bins - 1)
        part = (place - low).astype(np.float32)
        mel = mel[:, low] * (1 - part) + mel[:, high] * part
    axis = np.arange(bins)
    colour = np.interp(axis, np.linspace(0, bins - 1, 6), rng.normal(0, 0.7, 6))
    mel = mel + colour.astype(np.float32) + np.float32(rng.normal(0, 0.7))
    if rng.random() < 0.5:
        shape = np.interp(axis, np.linspace(0, bins - 1, 4), rng.normal(0, 1, 4))
        floor = shape + mel.mean() - rng.uniform(0, 5) + rng.normal(0, 0.3, (frames, bins))
        mel = np.logaddexp(mel, floor)
    if rng.random() < 0.3:
        mel = mel.copy()
        mel[:, int(rng.integers(bins * 5 // 8, bins)) :] = -11.5
    return np.maximum(mel, -11.5).astype(np.float32)
