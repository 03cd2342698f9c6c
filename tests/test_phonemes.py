"""English sentences become symbols: dictionary, endings, guesses, context, punctuation."""

from __future__ import annotations

import pytest

from voxkit.phonemes import PHONES, SYMBOL_IDS, SYMBOLS, Lexicon, phones


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon.bundled()


class Spy:
    """A letter reader that says every word alike and remembers which it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def phones(self, word: str) -> tuple[str, ...]:
        self.asked.append(word)
        return ("B", "AH1")


def say(text: str, lexicon: Lexicon) -> str:
    return " ".join(phones(text, lexicon).symbols)


def test_symbols_keep_the_ids_that_weights_were_trained_with() -> None:
    assert SYMBOLS[:7] == ("<pad>", "_", ",", ".", "?", "!", ";")
    assert SYMBOLS[7:] == tuple(sorted(PHONES))
    assert len(SYMBOLS) == len(SYMBOL_IDS) == 76
    assert (SYMBOLS[7], SYMBOLS[25], SYMBOLS[75]) == ("AA0", "B", "ZH")


def test_every_entry_of_the_dictionary_is_made_of_known_phones(lexicon: Lexicon) -> None:
    assert len(lexicon.entries) > 120_000
    assert {p for said in lexicon.entries.values() for p in said.split()} == set(PHONES)


def test_words_follow_a_boundary_and_punctuation_follows_its_word(lexicon: Lexicon) -> None:
    text = phones("Hello, world!", lexicon)
    assert text.symbols == tuple("_ HH AH0 L OW1 , _ W ER1 L D !".split())
    assert text.word_index == (0,) * 6 + (1,) * 6
    assert text.words == ("Hello", "world")
    assert text.ids == tuple(SYMBOL_IDS[s] for s in text.symbols)


@pytest.mark.parametrize(
    ("written", "mark"),
    [
        ("so: it", ","),
        ("so — it", ","),
        ("so - it", ","),
        ("so... it", "."),
        ("so… it", "."),
        ("so?! it", "?"),
        ("so (it", ","),
        ("so;, it", ";"),
    ],
)
def test_other_punctuation_maps_to_five_marks(written: str, mark: str, lexicon: Lexicon) -> None:
    assert say(written, lexicon) == f"_ S OW1 {mark} _ IH1 T"


def test_quotes_vanish_and_punctuation_alone_says_nothing(lexicon: Lexicon) -> None:
    assert say("“It” 'it'", lexicon) == "_ IH1 T _ IH1 T"
    assert phones("... !", lexicon).symbols == ()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("HELLO", "HH AH0 L OW1"),
        ("café", "K AH0 F EY1"),
        ("Smith’s", "S M IH1 TH S"),
        ("boss's", "B AO1 S IH0 Z"),
        ("dogs'", "D AO1 G Z"),
        ("blogs", "B L AO1 G Z"),
        ("tweeted", "T W IY1 T IH0 D"),
        ("well-known", "W EH1 L N OW1 N"),
    ],
)
def test_words_are_looked_up_beyond_their_spelling(word: str, said: str, lexicon: Lexicon) -> None:
    assert " ".join(lexicon.lookup(word) or ()) == said


def test_endings_take_their_voice_from_the_stem() -> None:
    small = Lexicon({"zip": "Z IH1 P", "zug": "Z AH1 G", "zat": "Z AE1 T", "zuss": "Z AH1 S"})
    told = {w: " ".join(small.lookup(w) or ()) for w in "zips zugs zusses zipped zugged".split()}
    assert told == {
        "zips": "Z IH1 P S",
        "zugs": "Z AH1 G Z",
        "zusses": "Z AH1 S IH0 Z",
        "zipped": "Z IH1 P T",
        "zugged": "Z AH1 G D",
    }
    assert small.lookup("zatting") == ("Z", "AE1", "T", "IH0", "NG")
    assert small.lookup("zated") == ("Z", "AE1", "T", "IH0", "D")
    assert small.lookup("zog") is None


def test_unknown_words_go_to_the_letter_reader_without_their_ending(lexicon: Lexicon) -> None:
    spy = Spy()
    text = phones("the zorblik's Qwertyfoo", lexicon, spy)
    assert spy.asked == ["zorblik", "qwertyfoo"]
    assert text.unknown == ()
    assert text.symbols == tuple("_ DH AH0 _ B AH1 Z _ B AH1".split())


def test_what_nobody_can_say_is_reported_and_keeps_its_place(lexicon: Lexicon) -> None:
    text = phones("go 東京 zorblik now", lexicon)
    assert text.unknown == ("東京", "zorblik")
    assert text.words == ("go", "東京", "zorblik", "now")
    assert set(text.word_index) == {0, 3}


def test_words_without_vowels_and_short_capitals_are_spelt(lexicon: Lexicon) -> None:
    assert say("xkcd", lexicon) == "_ EH1 K S K EY1 S IY1 D IY1"
    assert phones("OQU", lexicon, Spy()).symbols == ("_", "OW1", "K", "Y", "UW1", "Y", "UW1")


def test_camel_case_is_read_part_by_part(lexicon: Lexicon) -> None:
    assert say("BlueHouse", lexicon) == "_ B L UW1 HH AW1 S"


@pytest.mark.parametrize(
    ("sentence", "word", "said"),
    [
        ("the apple", 0, "DH IY0"),
        ("the hour", 0, "DH IY0"),
        ("the pear", 0, "DH AH0"),
        ("the use", 0, "DH AH0"),
        ("a dog", 0, "AH0"),
        ("A dog", 0, "AH0"),
        ("vitamin A is", 1, "EY1"),
        ("U S A", 2, "EY1"),
        ("A-four paper", 0, "EY1"),
        ("I will read it", 2, "R IY1 D"),
        ("I have read it", 2, "R EH1 D"),
        ("we live here", 1, "L IH1 V"),
        ("a live show", 1, "L AY1 V"),
        ("they lead us", 1, "L IY1 D"),
        ("an old lead pipe", 2, "L EH1 D"),
        ("the wind blew", 1, "W IH1 N D"),
        ("to wind up", 1, "W AY1 N D"),
        ("close the door", 0, "K L OW1 Z"),
        ("too close to it", 1, "K L OW1 S"),
        ("in use now", 1, "Y UW1 S"),
        ("we use it", 1, "Y UW1 Z"),
        ("we used to go", 1, "Y UW1 S T"),
        ("a new record", 2, "R EH1 K ER0 D"),
        ("please record it", 1, "R IH0 K AO1 R D"),
        ("the present", 1, "P R EH1 Z AH0 N T"),
        ("to present it", 1, "P R IY0 Z EH1 N T"),
    ],
)
def test_neighbours_decide_how_a_word_is_said(
    sentence: str, word: int, said: str, lexicon: Lexicon
) -> None:
    text = phones(sentence, lexicon)
    own = [s for s, i in zip(text.symbols, text.word_index, strict=True) if i == word]
    assert " ".join(own) == f"_ {said}"


def test_a_neighbour_behind_a_comma_does_not_count(lexicon: Lexicon) -> None:
    assert say("the, apple", lexicon).startswith("_ DH AH0 ,")
