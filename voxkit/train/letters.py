"""Training of the letter-to-sound network on the bundled pronouncing dictionary."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.errors import TrainingError
from voxkit.files import whole_file
from voxkit.modules.letters import ALPHABET, BLANK, SLOTS, Letters, collapse, encode, stressed
from voxkit.phonemes import PHONES, Lexicon
from voxkit.spec import PhoneTextSpec, from_dict
from voxkit.train.loop import Draw, LoopRecipe, run

Pair = tuple[str, tuple[str, ...]]  # a word and its phones
_POOL = 32  # batches that are sorted by length together, so that little padding is computed
_EVALUATED = 1500  # held-out words that are read during training
_PHONE_INDEX = {phone: i for i, phone in enumerate(PHONES)}


@dataclass(frozen=True)
class TaskRecipe:
    """How batches are made."""

    batch: int  # words
    held_out_share: float  # of the words, never trained on


@dataclass(frozen=True)
class LettersRecipe:
    """Everything that decides the trained weights."""

    loop: LoopRecipe
    task: TaskRecipe
    net: PhoneTextSpec

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.loop.steps


@dataclass(frozen=True)
class LettersScore:
    """How well held-out words are read; errors count stress marks unless said otherwise."""

    words: int
    phone_error_rate: float
    word_accuracy: float
    word_accuracy_without_stress: float


def read_recipe(path: Path) -> LettersRecipe:
    """Read a recipe.  Raises `TrainingError` if it is missing or not TOML, `SpecError` by entry."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"There is no recipe {path}: give the path of a TOML file.") from None
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path} is not valid TOML ({error}).") from None
    return from_dict(LettersRecipe, data, path.name)


def split_words(lexicon: Lexicon, share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return training and held-out words: plain a-z, with no more phones than CTC can place."""
    pairs = [
        (word, sounds)
        for word, said in sorted(lexicon.entries.items())
        if len(word) > 1
        and set(word) <= set(ALPHABET)
        and _slots_needed(sounds := tuple(said.split())) <= SLOTS * len(word)
    ]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = round(share * len(pairs))
    return [pairs[i] for i in order[held_out:]], [pairs[i] for i in order[:held_out]]


class LettersTask:
    """Batches of words of about the same length; one epoch's order depends on seed and epoch."""

    def __init__(
        self,
        recipe: LettersRecipe,
        pairs: Sequence[Pair] | None = None,
        held_out: Sequence[Pair] | None = None,
    ) -> None:
        self.seed, self.batch = recipe.loop.seed, recipe.task.batch
        if pairs is None:
            pairs, held_out = split_words(Lexicon.bundled(), recipe.task.held_out_share, self.seed)
        self.pairs, self.held_out = pairs, list(held_out or ())[:_EVALUATED]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # inside the fork: initial weights only
            self.model: nn.Module = Letters(recipe.net)
        self._epoch = -1
        self._batches: list[list[Pair]] = []

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """CTC loss of the batch of this step."""
        count = -(-len(self.pairs) // self.batch)
        if step // count != self._epoch:
            self._epoch = step // count
            self._batches = self._order(self._epoch)
        pairs = self._batches[step % count]
        device = next(self.model.parameters()).device
        letters = _letters(pairs).to(device)
        targets = torch.tensor([_PHONE_INDEX[p] for _, sounds in pairs for p in sounds])
        lengths = torch.tensor([len(sounds) for _, sounds in pairs])
        scores = self.model(letters)
        return {"loss": ctc_loss(scores, letters, targets.to(device), lengths.to(device))}

    def evaluate(self) -> dict[str, float]:
        """Error rates on held-out words."""
        if not self.held_out:
            return {}
        found = score(cast(Letters, self.model), self.held_out)
        return {"phone_errors": found.phone_error_rate, "words_right": found.word_accuracy}

    def _order(self, epoch: int) -> list[list[Pair]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.pairs), generator=generator).tolist()
        batches: list[list[Pair]] = []
        for start in range(0, len(order), _POOL * self.batch):
            pool = [self.pairs[i] for i in order[start : start + _POOL * self.batch]]
            pool.sort(key=lambda pair: len(pair[0]))
            batches += [pool[i : i + self.batch] for i in range(0, len(pool), self.batch)]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def train_letters(
    recipe: LettersRecipe,
    out: Path,
    *,
    pairs: Sequence[Pair] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Letters:
    """Train, and write the weights to `out` as fp16 safetensors.

    Checkpoint, log and loss plot go to a folder beside `out` named after it; a run that was
    stopped continues there.  `progress(step, loss)` is called after every step, with the newest
    mean loss; `pairs` defaults to the dictionary's training words.
    """
    task = LettersTask(recipe, pairs)
    newest = math.nan

    def report(step: int, figures: dict[str, float]) -> None:
        nonlocal newest
        newest = figures.get("loss", newest)
        if progress:
            progress(step - 1, newest)

    run(task, recipe.loop, out.with_suffix(""), report=report)
    net = cast(Letters, task.model.eval())
    half = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    with whole_file(out, force=True) as path:
        save_file(half, path)
    return net


def score(net: Letters, pairs: Sequence[Pair], *, batch: int = 256) -> LettersScore:
    """Compare greedy readings with the dictionary's phones."""
    wrong = length = right = right_bare = 0
    ordered = sorted(pairs, key=lambda pair: len(pair[0]))
    for start in range(0, len(ordered), batch):
        part = ordered[start : start + batch]
        letters = _letters(part)
        with torch.inference_mode():
            paths = net(letters).argmax(-1)
        for (word, truth), path in zip(part, paths, strict=True):
            said = stressed(collapse(path[: SLOTS * len(word)].tolist()))
            wrong += edit_distance(said, truth)
            length += len(truth)
            right += said == truth
            right_bare += [p.rstrip("012") for p in said] == [p.rstrip("012") for p in truth]
    count = max(len(pairs), 1)
    return LettersScore(len(pairs), wrong / max(length, 1), right / count, right_bare / count)


def ctc_loss(scores: Tensor, letters: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """Mean loss per phone.  scores (B, 2C, 70), letters (B, C), targets (sum,), lengths (B,)."""
    slots = SLOTS * (letters > 0).sum(1)
    loss = F.ctc_loss(scores.transpose(0, 1), targets, slots, lengths, BLANK, reduction="sum")
    return loss / lengths.sum()


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions that turn `a` into `b` (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def _slots_needed(sounds: tuple[str, ...]) -> int:
    """CTC puts a blank between two equal phones."""
    return len(sounds) + sum(a == b for a, b in zip(sounds, sounds[1:], strict=False))


def _letters(pairs: Sequence[Pair]) -> Tensor:
    longest = max(len(word) for word, _ in pairs)
    rows = [encode(word) + [0] * (longest - len(word)) for word, _ in pairs]
    return torch.tensor(rows)
