"""Forced alignment."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from voxkit.phonemes import Lexicon, PhoneText, phones
from voxkit.train.align import Graph, align, graph
from voxkit.train.corpus import PHONE_CLASSES, phone_class

PAU = PHONE_CLASSES.index("PAU")


def text(words: str) -> PhoneText:
    return phones(words, Lexicon.bundled())


def classes(*names: str) -> list[int]:
    return [PHONE_CLASSES.index(name) for name in names]


# ---- the states -------------------------------------------------------------------------------


def test_phones_must_be_said_and_silences_between_words_may_be() -> None:
    states = graph(text("Hello, you."))
    names = [PHONE_CLASSES[c] for c in states.classes]
    assert names == "PAU HH AX L OW PAU Y UW PAU".split()
    assert states.optional.tolist() == [name == "PAU" for name in names]


def test_each_state_knows_its_symbol_in_the_text() -> None:
    said = text("Hello, you.")
    states = graph(said)
    for name, position in zip(states.classes, states.symbols, strict=True):
        symbol = said.symbols[position]
        assert name == (phone_class(symbol) if symbol[0].isalpha() else PAU)
    silences = [said.symbols[p] for p, o in zip(states.symbols, states.optional, strict=True) if o]
    assert silences == ["_", ",", "."]  # a mark claims the gap from the word boundary


def test_a_text_without_a_mark_may_end_in_silence_too() -> None:
    states = graph(text("Hello"))
    assert states.classes[-1] == PAU
    assert states.optional[-1]


@pytest.mark.parametrize("words", ["A.", "Wait. No!", "One two, three; four?"])
def test_silences_never_stand_side_by_side(words: str) -> None:
    optional = graph(text(words)).optional
    assert not (optional[1:] & optional[:-1]).any()
    assert optional[0] and optional[-1]


# ---- the path ---------------------------------------------------------------------------------


def every_path(states: Graph, frames: int) -> list[tuple[int, ...]]:
    """All ways to say the states in so many frames, by trying everything."""
    count = len(states.classes)
    must = [n for n in range(count) if not states.optional[n]]
    found = []
    for path in itertools.combinations_with_replacement(range(count), frames):
        steps = [b - a for a, b in itertools.pairwise(path)]
        if set(must) <= set(path) and all(step <= 2 for step in steps):
            found.append(path)
    return found


def score(scores: np.ndarray, states: Graph, path: tuple[int, ...]) -> float:
    return float(sum(scores[t, states.classes[n]] for t, n in enumerate(path)))


@pytest.mark.parametrize(
    ("words", "frames"),
    [("A.", 1), ("A.", 4), ("Hi.", 2), ("Hi.", 5), ("A, a.", 5), ("A a", 6), ("Hi, I.", 7)],
)
@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_the_best_of_all(words: str, frames: int, seed: int) -> None:
    states = graph(text(words))
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (frames, len(PHONE_CLASSES)))
    best = max(score(scores, states, path) for path in every_path(states, frames))
    found = align(scores, states)
    assert found is not None
    assert tuple(found) in every_path(states, frames)
    assert score(scores, states, tuple(found)) == pytest.approx(best)


def test_clear_scores_are_followed_to_the_frame() -> None:
    states = graph(text("Hello, you."))
    said = [1, 1, 2, 2, 2, 3, 4, 4, 5, 5, 5, 6, 7, 7]  # no silence around it, one inside
    scores = np.full((len(said), len(PHONE_CLASSES)), -9.0)
    scores[np.arange(len(said)), states.classes[said]] = 0.0
    found = align(scores, states)
    assert found is not None
    assert found.tolist() == said


def test_a_clip_too_short_for_its_text_has_no_path() -> None:
    states = graph(text("Hello."))
    scores = np.zeros((3, len(PHONE_CLASSES)))
    assert align(scores, states) is None
    assert align(np.zeros((4, len(PHONE_CLASSES))), states) is not None


def test_long_sentences_with_more_than_a_byte_of_states_are_aligned() -> None:
    states = graph(text(" ".join(["Hello there, my friend"] * 12) + "."))
    count = len(states.classes)
    assert count > 150
    scores = np.full((2 * count, len(PHONE_CLASSES)), -9.0)
    said = np.repeat(np.arange(count), 2)
    scores[np.arange(2 * count), states.classes[said]] = 0.0
    found = align(scores, states)
    assert found is not None
    assert np.array_equal(found, said)


def test_every_sound_has_a_class() -> None:
    assert phone_class("AH0") == PHONE_CLASSES.index("AX")
    assert phone_class("AH1") == phone_class("AH2") == PHONE_CLASSES.index("AH")
    assert [phone_class("T"), phone_class("ER0"), phone_class("IY1")] == classes("T", "ER", "IY")
