"""Sentences for synthetic speech."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from voxkit.train.sentences import SentenceSource, read_prose

TRANSCRIPTS = ["The old man walked slowly home, and his dog followed him.", "Nobody knew why."]
PROSE = ["Somebody wrote this line for everyone.", "This one is a question, is it not?"]
WORDS = ["apple", "tiger", "window", "yellow", "orange"]


def drawn(count: int = 400, seed: int = 0, prose: list[str] | None = None) -> list[str]:
    source = SentenceSource(TRANSCRIPTS, PROSE if prose is None else prose, WORDS, seed)
    return [source.draw() for _ in range(count)]


def test_a_seed_gives_the_same_sentences() -> None:
    assert drawn(50, seed=1) == drawn(50, seed=1)
    assert drawn(50, seed=1) != drawn(50, seed=2)


def test_every_sentence_can_be_spoken() -> None:
    for sentence in drawn():
        assert re.fullmatch(r"[A-Z][A-Za-z',;:?! .-]*[.?!,]", sentence), sentence
        assert 1 <= len(sentence.split()) <= 30
        assert re.search(r"[a-z]", sentence)


def test_all_kinds_are_drawn() -> None:
    sentences = drawn()
    joined = " ".join(sentences)
    assert any(p in sentences for p in PROSE)
    assert re.search(r"Hello from \w+\.|Do you know \w+\?|It costs ", joined)  # templates
    assert any(w in joined for w in WORDS)
    assert any(s.rstrip(".?!,").lower() in TRANSCRIPTS[0].lower() for s in sentences)
    assert "{" not in joined


def test_spans_of_transcripts_are_the_commonest() -> None:
    text = re.sub(r"[^a-z ]", "", TRANSCRIPTS[0].lower())
    spans = [s for s in drawn() if re.sub(r"[^a-z ]", "", s.lower()) in text]
    assert len(spans) > 400 * 0.15


def test_sentences_of_one_word_and_of_many_are_drawn() -> None:
    lengths = {len(s.split()) for s in drawn()}
    assert 1 in lengths
    assert max(lengths) >= 10


def test_without_prose_the_other_kinds_fill_in() -> None:
    assert len(set(drawn(100, prose=[]))) > 50


def test_without_transcripts_and_prose_words_are_left() -> None:
    source = SentenceSource([], [], WORDS, 0)
    assert any(w in source.draw().lower() for _ in range(50) for w in WORDS)


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """A folder with clean and unclean prose."""
    text = (
        "The tiger ate the yellow apple. A window was open,\nand nobody closed it.\n\n"
        "This has 3 digits in it. short one here no capital. "
        "The zyzzyva ate the yellow apple. Too short.\n\n"
        "http://example.org is no sentence."
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text(text)
    (tmp_path / "b.bin").write_text("The tiger was in a binary file.")
    (tmp_path / "huge.txt").write_bytes(b"The tiger was too large here.\n\n" * 120_000)
    return tmp_path


def test_prose_is_clean_sentences_of_known_words(prose: Path) -> None:
    known = set(
        "the tiger ate yellow apple a window was open and nobody closed it this has digits in "
        "binary file too large here short".split()
    )
    assert read_prose([prose], known) == [
        "A window was open, and nobody closed it.",
        "The tiger ate the yellow apple.",
    ]


def test_a_folder_that_is_not_there_holds_no_prose(tmp_path: Path) -> None:
    assert read_prose([tmp_path / "nowhere"], {"a"}) == []
