"""Forced alignment: which symbol of the text a mel frame speaks, by Viterbi over phone scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxkit.phonemes import PhoneText
from voxkit.train.corpus import PHONE_CLASSES, phone_class

_MARKS = frozenset(",.?!;")


@dataclass(frozen=True)
class Graph:
    """Left-to-right states of a sentence: its phones, and between words silences to skip."""

    classes: np.ndarray  # (n,) phone class
    optional: np.ndarray  # (n,) bool
    symbols: np.ndarray  # (n,) position of the state's symbol in the text


def graph(text: PhoneText) -> Graph:
    """Build the states of one sentence."""
    silence = PHONE_CLASSES.index("PAU")
    states: list[tuple[int, bool, int]] = []
    for position, symbol in enumerate(text.symbols):
        if symbol == "_" or symbol in _MARKS:
            # One silence a gap; a mark claims it from the word boundary.
            if states and states[-1][1]:
                if states[-1][2] == position - 1 and text.symbols[position - 1] in _MARKS:
                    continue
                states.pop()
            states.append((silence, True, position))
        else:
            states.append((phone_class(symbol), False, position))
    if not states[-1][1]:
        states.append((silence, True, len(text.symbols) - 1))
    classes, optional, symbols = zip(*states, strict=True)
    return Graph(np.array(classes), np.array(optional), np.array(symbols))


def align(scores: np.ndarray, states: Graph) -> np.ndarray | None:
    """Best path: log scores (F, C) → state of each frame (F,), or None if the clip is too short."""
    frames, count = len(scores), len(states.classes)
    if frames < int((~states.optional).sum()):
        return None
    local = scores[:, states.classes]  # (F, n)
    skip = np.full(count, -np.inf)
    skip[2:][states.optional[1:-1]] = 0.0
    best = np.full(count, -np.inf)
    best[0] = local[0, 0]
    if states.optional[0]:
        best[1] = local[0, 1]
    choice = np.zeros((frames, count), np.int8)
    shifted = np.full((3, count), -np.inf)
    for t in range(1, frames):
        shifted[0] = best
        shifted[1, 1:] = best[:-1]
        shifted[2, 2:] = best[:-2]
        shifted[2] += skip
        choice[t] = shifted.argmax(0)
        best = shifted.max(0) + local[t]
    state = count - 1
    if states.optional[-1] and best[-2] > best[-1]:
        state = count - 2
    if not np.isfinite(best[state]):
        return None
    path = np.empty(frames, np.int64)
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state -= int(choice[t, state])
    return path
