"""Training of the letter-to-sound network on the bundled pronouncing dictionary."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.errors import TrainingError
from voxkit.modules.letters import ALPHABET, BLANK, SLOTS, Letters, collapse, encode, stressed
from voxkit.phonemes import PHONES, Lexicon
from voxkit.spec import PhoneTextSpec, from_dict

Pair = tuple[str, tuple[str, ...]]  # a word and its phones
_POOL = 32  # batches that are sorted by length together, so that little padding is computed
_PHONE_INDEX = {phone: i for i, phone in enumerate(PHONES)}


@dataclass(frozen=True)
class LettersRecipe:
    """Everything that decides the trained weights."""

    seed: int
    held_out_share: float
    steps: int
    batch: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip: float
    save_every: int
    net: PhoneTextSpec


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
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
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


def train_letters(
    recipe: LettersRecipe,
    out: Path,
    *,
    pairs: Sequence[Pair] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Letters:
    """Train, writing `out` (fp16 safetensors) at the end and `out`.ckpt on the way.

    A run that was stopped continues from its checkpoint and ends with the same weights.
    `progress(step, loss)` is called after every step; `pairs` defaults to the dictionary's
    training words.
    """
    pairs = pairs or split_words(Lexicon.bundled(), recipe.held_out_share, recipe.seed)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # inside the fork: initial weights only
        net = Letters(recipe.net)
    optimizer = _optimizer(net, recipe)
    checkpoint = out.with_name(out.name + ".ckpt")
    done = _resume(checkpoint, net, optimizer) if checkpoint.exists() else 0
    net.train()
    for step, (letters, targets, lengths) in enumerate(_batches(pairs, recipe)):
        if step < done:
            continue
        if step == recipe.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, recipe.warmup, recipe.steps)
        loss = ctc_loss(net(letters), letters, targets, lengths)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimizer.step()
        if progress:
            progress(step, loss.item())
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "done": step + 1}
            _replace(checkpoint, lambda path, state=state: torch.save(state, path))  # type: ignore[misc]
    net.eval()
    half = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    _replace(out, lambda path: save_file(half, path))
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


def schedule(step: int, warmup: int, steps: int) -> float:
    """Share of the peak learning rate: a linear rise, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


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


def _optimizer(net: Letters, recipe: LettersRecipe) -> torch.optim.AdamW:
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))


def _batches(
    pairs: Sequence[Pair], recipe: LettersRecipe
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield letters (B, C), targets (sum,), lengths (B,) without end; epochs differ by seed."""
    generator = torch.Generator().manual_seed(recipe.seed)
    while True:
        order = torch.randperm(len(pairs), generator=generator).tolist()
        chunks: list[list[Pair]] = []
        for start in range(0, len(order), _POOL * recipe.batch):
            pool = [pairs[i] for i in order[start : start + _POOL * recipe.batch]]
            pool.sort(key=lambda pair: len(pair[0]))
            chunks += [pool[i : i + recipe.batch] for i in range(0, len(pool), recipe.batch)]
        for i in torch.randperm(len(chunks), generator=generator).tolist():
            sounds = [pair[1] for pair in chunks[i]]
            targets = torch.tensor([_PHONE_INDEX[p] for said in sounds for p in said])
            yield _letters(chunks[i]), targets, torch.tensor([len(said) for said in sounds])


def _letters(pairs: Sequence[Pair]) -> Tensor:
    longest = max(len(word) for word, _ in pairs)
    rows = [encode(word) + [0] * (longest - len(word)) for word, _ in pairs]
    return torch.tensor(rows)


def _resume(checkpoint: Path, net: Letters, optimizer: torch.optim.Optimizer) -> int:
    """Fill net and optimizer from a checkpoint and return the number of steps already done."""
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["done"])


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name and rename it, so that a kill never leaves half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    os.replace(temporary, path)
