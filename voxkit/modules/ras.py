"""Repetition-aware sampling: draw from the likeliest tokens, but not again what was just said.

CosyVoice 2 (arXiv 2412.10117) after VALL-E 2 (arXiv 2406.05370).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def repetition_aware(
    logits: Tensor, history: Sequence[int], sampling: SamplingSpec, draw: Draw
) -> int:
    """Choose the next token from logits (K,) on CPU, given the tokens so far.

    Draws from the nucleus; if the token was said `repeat_limit` times in the last `repeat_window`,
    draws again from all others.  At temperature 0 the likeliest token is taken.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    scores = (logits.float() / sampling.temperature).log_softmax(dim=0)
    ids, weights = nucleus(scores.softmax(dim=0).numpy(), sampling.top_p, sampling.top_k)
    token = int(ids[draw(torch.from_numpy(weights))])
    recent = history[max(0, len(history) - sampling.repeat_window) :]
    if sum(said == token for said in recent) >= sampling.repeat_limit:
        scores[token] = -torch.inf
        token = draw(scores.softmax(dim=0))
    return token
