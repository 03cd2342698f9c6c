"""Reads training shards: utterances with memory-mapped waveform, mel, pitch and phone labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxkit.errors import TrainingError
from voxkit.train.corpus import F0_PER_FRAME


@dataclass(frozen=True)
class Utterance:
    """One recorded or synthetic utterance; arrays are views into the shard's memory maps."""

    shard: str
    id: str
    set: str
    speaker: str
    text: str
    held_out: bool
    mel: np.ndarray  # (F, M) float16, natural log
    f0: np.ndarray  # (4F,) float16 Hz, 0 unvoiced
    phones: np.ndarray  # (F,) int16 phone class or -1
    wav: np.ndarray  # (S,) int16

    @property
    def frames(self) -> int:
        """Mel frames F."""
        return len(self.mel)


def load_corpus(folder: Path) -> list[Utterance]:
    """List all utterances of a corpus folder, in a fixed order."""
    found: list[Utterance] = []
    for shard in sorted(p.parent for p in folder.glob("*/utterances.jsonl")):
        arrays = {
            n: np.load(shard / f"{n}.npy", mmap_mode="r") for n in ("wav", "mel", "f0", "phones")
        }
        with (shard / "utterances.jsonl").open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        start = 0
        for row in rows:
            end = start + row.pop("frames")
            hop = len(arrays["wav"]) // len(arrays["mel"])
            found.append(
                Utterance(
                    shard.name,
                    **row,
                    mel=arrays["mel"][start:end],
                    f0=arrays["f0"][start * F0_PER_FRAME : end * F0_PER_FRAME],
                    phones=arrays["phones"][start:end],
                    wav=arrays["wav"][start * hop : end * hop],
                )
            )
            start = end
    if not found:
        raise TrainingError(f"{folder} holds no shards: run `voxkit train corpus` first.")
    return found


class Mixture:
    """Draws utterances from named sets in given shares."""

    def __init__(self, utterances: Sequence[Utterance], shares: dict[str, float]) -> None:
        self._groups = [[u for u in utterances if u.set == name] for name in shares]
        kept = [(g, s) for g, s in zip(self._groups, shares.values(), strict=True) if g and s > 0]
        if not kept:
            raise TrainingError("None of the sets in the recipe's shares is in the corpus.")
        self._groups = [g for g, _ in kept]
        total = sum(s for _, s in kept)
        self._shares = np.array([s / total for _, s in kept])

    def draw(self, rng: np.random.Generator) -> Utterance:
        """Return one utterance."""
        group = self._groups[int(rng.choice(len(self._groups), p=self._shares))]
        return group[int(rng.integers(len(group)))]
