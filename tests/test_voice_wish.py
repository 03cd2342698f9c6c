"""Descriptions of people are understood: who, how high, how fast, how hoarse; the rest is told."""

from __future__ import annotations

import pytest

from voxkit.errors import VoiceError
from voxkit.voice_wish import Wish, read_wish


def test_the_example_of_the_manual_is_understood() -> None:
    wish = read_wish("an old man, deep and slow, a little hoarse")
    assert wish.gender == "male"
    assert wish.pitch_st is not None
    assert wish.pitch_st < -2
    assert wish.rate < 0.8
    assert wish.traits["clearness_db"] < -1
    assert (wish.ignored, wish.styles) == ((), ())


@pytest.mark.parametrize(
    ("words", "gender"),
    [
        ("a woman", "female"),
        ("A GENTLEMAN", "male"),
        ("grandmother", "female"),
        ("a boy", "male"),
        ("低沉的男声", "male"),
        ("年轻女声", "female"),
        ("not a man", "female"),
        ("deep", None),
        ("old and slow", None),
    ],
)
def test_who_speaks_is_found(words: str, gender: str | None) -> None:
    assert read_wish(words).gender == gender


def clearness(words: str) -> float:
    return read_wish(words).traits["clearness_db"]


def test_intensities_and_negations_count() -> None:
    assert clearness("very hoarse") < clearness("hoarse") < clearness("a little hoarse") < 0
    assert clearness("not hoarse") > 0
    assert clearness("a clear voice") > 1
    assert (
        read_wish("bright").traits["brightness_db"] > 0 > read_wish("dark").traits["brightness_db"]
    )


def test_pitch_is_taken_in_hertz_too() -> None:
    wish = read_wish("a man at 95.5 Hz")
    assert (wish.gender, wish.pitch_hz, wish.pitch_st) == ("male", 95.5, None)
    for hertz in ("20 Hz", "900 Hz"):
        with pytest.raises(VoiceError, match="people speak at 60 to 400 Hz"):
            read_wish(f"a man, {hertz}")


def test_children_are_high_with_short_vocal_tracts() -> None:
    wish = read_wish("a little girl")
    assert wish.pitch_hz is not None
    assert wish.pitch_hz > 220
    assert wish.formants > 1.05


def test_moods_are_styles_and_strange_words_are_told() -> None:
    wish = read_wish("a cheerful nasal woman from Mars")
    assert wish.styles == ("emotion happy",)
    assert "nasal" in wish.ignored
    assert "Mars" in wish.ignored


@pytest.mark.parametrize("words", ["", "  ", "\x1b[2J", "xyzzy", "cheerful", "a robot", "x" * 3000])
def test_what_says_nothing_of_a_voice_is_refused(words: str) -> None:
    with pytest.raises(VoiceError) as caught:
        read_wish(words)
    assert str(caught.value).isprintable()
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("words", "gave_way"),
    [
        ("an old man, a young woman", [("old", "young"), ("man", "woman")]),
        ("a woman, deep and high", [("deep", "high")]),
        ("a sad angry man", [("sad", "angry")]),
        ("a grandmother, a young man", [("grandmother", "man” and “young")]),
        ("an old man, deep, not young", []),
    ],
)
def test_of_contradictions_the_later_is_meant_and_the_other_told(
    words: str, gave_way: list[tuple[str, str]]
) -> None:
    told = [(phrase, f"gives way to “{winner}”") for phrase, winner in gave_way]
    assert sorted(read_wish(words).gave_way) == sorted(told)


def test_of_two_ages_the_later_is_meant() -> None:
    assert read_wish("an old man, a young woman").traits == read_wish("a young woman").traits


def test_two_moods_are_no_voice() -> None:
    with pytest.raises(VoiceError, match="tells how a voice sounds"):
        read_wish("sad, angry")


def test_contradictions_and_heaps_of_words_stay_in_bounds() -> None:
    wish: Wish = read_wish("very very fast " * 20 + "old " * 20 + "a man")
    assert 0.4 <= wish.rate <= 2.5
