"""Text in several languages that arrives in pieces gives the same sentences however it is cut."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from tiny import cuts

from voxkit.multilingual import prepare
from voxkit.multilingual_stream import MultilingualStream
from voxkit.text import Script, Sentence

TEXT = (
    "今天天气很好，我们一起去公园玩吧。价格是1,299.99元，真的太贵了，大家都这么说！你好。"
    "It rained all day long, so we stayed at home, Dr. Smith said. "
    "昨日は雨が降りましたので、家で本を読みました。「はい、そうです」と言った。\n\n"
    "오늘은 날씨가 아주 좋습니다, 그래서 우리는 공원에 갑니다. The end of 12 stories"
)


def whole(text: str) -> Script:
    return prepare(text, length=len, most=200, least=1)


def streamed(pieces: list[str]) -> tuple[list[Sentence], tuple[str, ...]]:
    stream = MultilingualStream(whole)
    out = [sentence for piece in pieces for sentence in stream.push(piece)]
    return out + stream.finish(), stream.unsaid


@pytest.mark.parametrize("seed", range(8))
def test_how_the_text_is_cut_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = [TEXT[a:b] for a, b in cuts(len(TEXT), rng, 1 + 3 * seed)]
    assert streamed(pieces) == streamed([TEXT])


def test_joined_they_say_what_the_whole_text_says() -> None:
    said = "".join(s.text.strip(" ,，、.。") for s in streamed([TEXT])[0])
    expected = "".join(s.text for s in whole(TEXT).sentences)
    marks = str.maketrans("", "", " ,，、.。")
    assert said.translate(marks) == expected.translate(marks)


def test_a_number_is_read_whole_wherever_it_is_cut() -> None:
    text = "价格是1299元。"
    for place in range(1, len(text)):
        sentences, _ = streamed([text[:place], text[place:]])
        assert [s.text for s in sentences] == ["价格是一千二百九十九元。"]


def test_a_sentence_leaves_once_nothing_can_change_it() -> None:
    stream = MultilingualStream(whole)
    assert stream.push("你好。") == []  # a closing mark may follow
    assert [s.text for s in stream.push("今天")] == ["你好。"]
    assert stream.push("is one. Tw") == []
    assert stream.finish() != []


def test_blanks_before_the_first_word_are_not_kept() -> None:
    stream = MultilingualStream(whole)
    before = len(pickle.dumps(stream))
    for _ in range(100):
        assert stream.push(" \n\n ") == []
    assert len(pickle.dumps(stream)) == before
    stream.push("你好。")
    assert [s.text for s in stream.finish()] == ["你好。"]


def test_a_clause_leaves_before_its_sentence_ends_and_goes_on() -> None:
    stream = MultilingualStream(whole)
    first = stream.push("It rained all day long, so we ")
    assert [(s.text, s.cut) for s in first] == [("It rained all day long,", True)]
    rest = [*stream.push("stayed in."), *stream.finish()]
    assert [(s.text, s.cut) for s in rest] == [(" so we stayed in.", False)]


def test_what_cannot_be_said_is_told_and_stops_nothing() -> None:
    sentences, unsaid = streamed(["Hello ☃ there. ", "☃☃☃. ", "Bye."])
    assert [s.text for s in sentences] == ["Hello there.", "Bye."]
    assert "☃" in unsaid


def test_memory_does_not_grow_with_the_text() -> None:
    stream = MultilingualStream(whole)
    for _ in range(200):
        stream.push("This is one more sentence of the story. ")
    assert len(stream._buffer) < 100
