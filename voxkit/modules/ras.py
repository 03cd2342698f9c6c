"""Repetition-aware sampling: draw from the likeliest tokens, but not again what was just said.

CosyVoice 2 (arXiv 2412.10117) after VALL-E 2 (arXiv 2406.05370).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from voxkit.spec import SamplingSpec

Draw = Callable[[Tensor], int]  # weights (K,), not necessarily of sum 1 → an index


def multinomial(generator: torch.Generator) -> Draw:
    """Return a draw that uses `generator`, on CPU."""

    def draw(weights: Tensor) -> int:
        return int(torch.multinomial(weights, 1, replacement=True, generator=generator))

    return draw


def nucleus(probabilities: np.ndarray, top_p: float, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and probabilities of the likeliest tokens, likeliest first.

    They are taken one by one while those before sum to less than `top_p`, at most `top_k`.
    """
    others = max(0, len(probabilities) - top_k)
    least = np.partition(probabilities, others)[others]
    likely = np.flatnonzero(probabilities >= least)  # those as likely as the last are among them
    likely = likely[np.argsort(-probabilities[likely], kind="stable")[:top_k]]
    ordered = probabilities[likely]
    totals = np.cumsum(ordered)  # one after the other, each rounded to float32
    count = 1 + int((totals[:-1] < top_p).sum())
    return likely[:count], ordered[:count]


@dataclass(frozen=True)
class Terms:
    """On what terms a token is chosen."""

    sampling: SamplingSpec
    forbidden: tuple[int, ...] = ()  # ids that must not come


@dataclass(frozen=True)
class Likely:
    """What may come next: the nucleus, likeliest first, and what is drawn from in its place."""

    ids: np.ndarray  # (n,)
    weights: np.ndarray  # (n,), not necessarily of sum 1
    scores: Tensor  # (K,) logarithms of all probabilities, maybe on a GPU


def likely(logits: Tensor, terms: Sequence[Terms]) -> list[Likely]:
    """Return what may come next from logits (B, K) in float32, on the terms of each row.

    A row has the same bits in any company.
    """
    found: dict[int, Likely] = {}
    for same in dict.fromkeys(terms):
        rows = [row for row, other in enumerate(terms) if other == same]
        some = logits if len(rows) == len(terms) else logits[rows]
        if same.forbidden:
            forbidden = torch.tensor(same.forbidden, device=logits.device)
            some = some.index_fill(1, forbidden, -torch.inf)
        found |= zip(rows, _likely(some, same.sampling, sort=logits.is_cuda), strict=True)
    return [found[row] for row in range(len(terms))]


def _likely(logits: Tensor, sampling: SamplingSpec, *, sort: bool) -> list[Likely]:
    """Do so on the same terms for all; with `sort` where that costs less than moving all of it."""
    if sampling.temperature == 0:
        best, sure = logits.argmax(dim=1).cpu().numpy(), np.ones(1, np.float32)
        return [Likely(best[row : row + 1], sure, logits[row]) for row in range(len(logits))]
    scores = (logits / sampling.temperature).log_softmax(dim=1)
    odds = scores.softmax(dim=1)
    ids: np.ndarray | None = None
    if sort:
        odds, order = odds.sort(dim=1, descending=True, stable=True)
        odds, ids = odds[:, : sampling.top_k], order[:, : sampling.top_k].cpu().numpy()
    made = []
    for row, some in enumerate(odds.cpu().numpy()):
        places, weights = nucleus(some, sampling.top_p, sampling.top_k)
        made.append(Likely(places if ids is None else ids[row][places], weights, scores[row]))
    return made


@dataclass(frozen=True)
class Choice:
    """How the next token of a request is chosen."""

    terms: Terms
    choose: Callable[[Likely], int]


@dataclass(frozen=True)
class Sampler:
    """Chooses the tokens of one request."""

    sampling: SamplingSpec
    draw: Draw

    def choice(self, history: Sequence[int], forbidden: tuple[int, ...] = ()) -> Choice:
        """Return how to choose after the tokens so far, none of the `forbidden` being chosen."""
        return Choice(Terms(self.sampling, forbidden), partial(self._choose, history))

    def certain(self, token: int) -> Choice:
        """Return the choice of a token that is known already, for which nothing is drawn."""
        return Choice(Terms(self.sampling), lambda found: token)

    def _choose(self, history: Sequence[int], found: Likely) -> int:
        """Choose the next token, given the tokens so far.

        Draws from the nucleus; if the token was said `repeat_limit` times in the last
        `repeat_window`, draws again from all others.  At temperature 0 the likeliest is taken.
        """
        if self.sampling.temperature == 0:
            return int(found.ids[0])
        token = int(found.ids[self.draw(torch.from_numpy(found.weights))])
        recent = history[max(0, len(history) - self.sampling.repeat_window) :]
        if sum(said == token for said in recent) >= self.sampling.repeat_limit:
            others = found.scores.clone()
            others[token] = -torch.inf
            token = self.draw(others.softmax(dim=0).cpu())
        return token


def following(logits: Tensor, choice: Choice) -> int:
    """Choose the next token from logits (K,) in float32."""
    return choice.choose(likely(logits[None], [choice.terms])[0])


def chosen(logits: Tensor, choices: Sequence[Choice]) -> list[int | Exception]:
    """Choose a token from each row of logits (B, K) in float32, or tell why that cannot be."""
    made: list[int | Exception] = []
    found = likely(logits, [choice.terms for choice in choices])
    for some, choice in zip(found, choices, strict=True):
        try:
            made.append(choice.choose(some))
        except Exception as error:  # noqa: BLE001 (raised where that token was wished for)
            made.append(error)
    return made


def repetition_aware(
    logits: Tensor, history: Sequence[int], sampling: SamplingSpec, draw: Draw
) -> int:
    """Choose the next token from logits (K,), given the tokens so far."""
    return following(logits.float(), Sampler(sampling, draw).choice(history))
