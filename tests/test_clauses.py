"""Long sentences split where a speaker would breathe."""

from __future__ import annotations

import random

import pytest

from voxkit.clauses import count_words, split_clauses

TALE = (
    "The old man walked slowly through the quiet village, because his knee hurt; nobody greeted "
    "him although he had lived there for more than sixty years and knew every single house."
)


def bare(text: str) -> list[str]:
    return [w.strip(",.;") for w in text.split()]


@pytest.mark.parametrize("max_words", [8, 10, 14, 20])
def test_no_word_is_lost_and_no_piece_is_too_long_or_too_short(max_words: int) -> None:
    rng = random.Random(max_words)
    vocabulary = TALE.split()
    for length in range(max_words + 1, 90):
        text = " ".join(rng.choice(vocabulary) for _ in range(length))
        pieces = split_clauses(text, max_words)
        assert bare(" ".join(pieces)) == bare(text)
        assert all(4 <= count_words(piece) <= max_words for piece in pieces)


def test_a_short_sentence_stays_whole() -> None:
    assert split_clauses("One, two; three.", 3) == ["One, two; three."]


def test_nothing_gives_no_pieces() -> None:
    assert split_clauses("", 5) == []


def test_cuts_prefer_semicolons_commas_and_conjunctions() -> None:
    assert split_clauses(TALE, 14) == [
        "The old man walked slowly through the quiet village, because his knee hurt;",
        "nobody greeted him although he had lived there for more than sixty years,",
        "and knew every single house.",
    ]


def test_a_number_and_spelt_initials_are_not_torn_apart() -> None:
    text = "It has one hundred twenty-three thousand four hundred fifty-six people in the U S A."
    assert not any(
        a.endswith(("hundred,", "thousand,", "four,", "U,", "S,")) for a in split_clauses(text, 12)
    )


def test_a_cut_inside_a_clause_is_marked_as_going_on() -> None:
    first, *_ = split_clauses("one big red dog saw " * 4, 10)
    assert first.endswith(",")


def test_a_word_of_two_thousand_letters_is_cut() -> None:
    pieces = split_clauses("so " + "x" * 2000 + " it was.", 14)
    assert max(len(piece) for piece in pieces) <= 14 * 11
    assert sum(piece.count("x") for piece in pieces) == 2000


def test_a_chain_of_hyphens_counts_as_its_words_and_is_cut() -> None:
    assert count_words("well-known man") == 3
    pieces = split_clauses("-".join(["word"] * 40), 10)
    assert all(count_words(piece) <= 10 for piece in pieces)
    assert sum(count_words(piece) for piece in pieces) == 40
