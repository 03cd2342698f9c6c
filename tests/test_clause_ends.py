"""Clauses end where no figure, bracket or quotation is torn, and more text changes no answer."""

from __future__ import annotations

import pytest

from voxkit.clause_ends import clause_end


def clauses(text: str) -> list[str]:
    found, start = [], 0
    while (end := clause_end(text, start, len(text))) is not None:
        found.append(text[start:end].strip())
        start = end
    return [*found, text[start:]]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("When the rain stopped, we went out", 2),
        ("When it rained, all stayed in", 1),  # too short a clause
        ("When it rained, we stayed, of course, at home", 2),
        ("On the first of May 5, 1998, nobody came", 1),
        ("It costs him 1,299 dollars and he pays", 1),
        ("We meet at half past 10:30 in the morning", 1),
        ("The dog (which is old, I think) barks at night", 1),
        ('He said to me "well, then we go, all of us" and left', 1),
        ('He said to me "well, then we go", and left', 2),
        ("The long and stony road – which nobody here knows – ends now", 3),
        ("今天的天气真的很好，我们一起去公园玩吧", 2),
        ("价格是1，299元", 1),
        ("昨日は雨が降りました、家で本を読みました", 2),
        ("No marks at all in this sentence of many words", 1),
    ],
)
def test_a_sentence_is_cut_at_its_clauses(text: str, parts: int) -> None:
    assert len(clauses(text)) == parts


def test_nothing_is_lost() -> None:
    text = "When the rain stopped, at about ten, the children ran out; and, laughing loudly, sang"
    assert " ".join(clauses(text)) == text


def test_more_text_changes_no_answer() -> None:
    text = "When the rain stopped (at ten, say), the children ran out to play, and sang a song"
    answers = {clause_end(text, 0, known) for known in range(len(text))}
    assert answers == {None, clause_end(text, 0, len(text))}
