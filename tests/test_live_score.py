"""Marked-up text that arrives in pieces says what the whole text says."""

from __future__ import annotations

import pickle
import random
from functools import partial

import numpy as np
import pytest
import tiny

from voxkit import text
from voxkit.live_score import Marked, MarkedText
from voxkit.markup import parse, pronounce
from voxkit.options import Options
from voxkit.pronunciation import Pronunciation
from voxkit.score import write_script
from voxkit.text import Sentence, TextStream
from voxkit.voice import Voice

LEXICON = {"voxkit": Pronunciation("respelling", "vox kit")}
TEXTS = (
    "Hello there. How are you?",
    "I <strong>really</strong> mean it. [pause:500ms][pause:1s]It costs [rate:0.8]$5.50[/rate].",
    '[voice:dave]"Hello," he said.[/voice]\n\n[voice:anna]Hi![breath] There. [foo] [1] 🙂 Yes.',
    "I [read](/R EH1 D/) [Ng](/IH1 NG/)'s book; a [GIF](jif)! a < b \\[x\\] \\<b\\> voxkit.",
    "So [rate=1.2]it [pause 500ms]is. [sigh deeply]No [rate:0.8 one. <break time=1s>A [voice",
    "One [rate:2 two [pause:1s]three [pitch\nfour]. Five [breath [sigh] six [/rate now] seven.",
    "Is it [pitch:+2]true[/pitch]? Yes [volume:-3]and no[/volume], voxkit said.",
)


def live(
    marked: str, seed: int, lexicon: dict[str, Pronunciation]
) -> tuple[list[Sentence], set[str]]:
    """Take a text in pieces of random length."""
    chance, out, start = random.Random(seed), list[Sentence](), 0
    source = MarkedText(partial(TextStream, max_words=16), frozenset("/"), lexicon)
    while start < len(marked):
        end = start + chance.randint(1, (1, 4, 20, 999)[seed % 4])
        out += source.push(marked[start:end])
        start = end
    return [*out, *source.finish()], set(source.unsaid)


def facts(sentences: list[Sentence] | tuple[Sentence, ...]) -> list[tuple[object, ...]]:
    return [(s.text, s.manner, s.pause_ms) for s in sentences]


@pytest.mark.parametrize("lexicon", [{}, LEXICON])
@pytest.mark.parametrize("marked", TEXTS)
def test_pieces_say_what_the_whole_says(marked: str, lexicon: dict[str, Pronunciation]) -> None:
    pieces = pronounce(parse(marked), lexicon)
    whole = write_script(pieces, partial(text.prepare, max_words=16), frozenset("/"))
    for seed in range(12):
        sentences, unsaid = live(marked, seed, lexicon)
        assert facts(sentences) == facts(whole.sentences), seed
        assert unsaid == {*whole.unsaid, *whole.notes}


@pytest.mark.parametrize(
    "marked",
    [
        "A <strong>big</strong>\n\nHouse.",
        "So <strong>big</strong>... www.example.com is. [rate:2] \n\n It ends.[/rate]",
        "[x] [read](/R EH1 D/). \\[y\\].[pause:1s]?! Is it [volume:-3]so[/volume]).",
    ],
)
def test_where_marked_text_is_cut_changes_nothing(marked: str) -> None:
    source = MarkedText(partial(TextStream, max_words=16), frozenset("/"), {})
    at_once = [*source.push(marked), *source.finish()]
    for seed in range(24):
        assert live(marked, seed, {}) == (at_once, set(source.unsaid))


def test_a_pause_before_all_words_is_silence_alone() -> None:
    sentences, _ = live("[pause:1s]Hi.", 0, {})
    assert [(s.text, s.pause_ms) for s in sentences] == [("", 1000.0), ("Hi.", None)]


def test_a_sentence_is_said_before_the_text_is_complete() -> None:
    source = MarkedText(partial(TextStream, max_words=16), frozenset("/"), {})
    said = source.push("[rate:2]Hello there. How are you? I am")
    assert [s.text for s in said] == ["Hello there."] or len(said) == 2
    assert {s.manner.rate for s in said} == {2.0}


def test_what_looks_like_a_tag_and_never_ends_is_text() -> None:
    said, _ = live("Hello [there " + "word " * 100, 1, {})
    assert sum(s.text.count("word") for s in said) == 100


@pytest.mark.parametrize("piece", ["One more sentence. ", "One [laugh] more. ", "word "])
def test_what_was_said_long_ago_is_not_kept(piece: str) -> None:
    source = MarkedText(partial(TextStream, max_words=16), frozenset("/"), {})
    sizes = []
    for _ in range(2):
        for _ in range(1000):
            source.push(piece)
        sizes.append(len(pickle.dumps(source)))
    assert sizes[1] < sizes[0] + len(piece) * 500


def test_an_engine_speaks_marked_text_as_it_comes() -> None:
    def find(name: str) -> Voice:
        return tiny.voice(1, name=name)

    engine, options = tiny.engine(), Options(seed=2)
    marked = "[pause:100ms]Yes. [voice:bert]No.[/voice] [pause:250ms]Yes."
    whole = engine.speak(engine.prepare(parse(marked)), tiny.voice(), options, voices=find)
    made = engine.speak(Marked(list(marked)), tiny.voice(), options, voices=find)
    assert np.array_equal(made.samples, whole.samples)
