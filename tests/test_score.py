"""Marked-up text becomes sentences with manners and pauses; plain text stays as it was."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import tiny_cosyvoice

from voxkit import text
from voxkit.cosyvoice_front import BpeText
from voxkit.errors import TextError
from voxkit.markup import parse, pronounce
from voxkit.phonemes import Lexicon, phones
from voxkit.pronunciation import read_lexicon
from voxkit.score import write_script
from voxkit.ssml import parse_ssml
from voxkit.style import PLAIN, Manner
from voxkit.text import Script

prepare = partial(text.prepare, max_words=16)
NATIVE = frozenset("/")
HUB = frozenset(["[breath]", "[laughter]", "<strong>", "</strong>", "<laughter>", "</laughter>"])
PHONES = frozenset(["[R]", "[EH1]", "[D]"])


def keeping(raw: str) -> Script:
    """Take a text as one sentence, as it stands."""
    if not any(c.isalpha() for c in raw):
        raise TextError("There is nothing to say.")
    return Script((text.Sentence(raw.strip(), True, raw.strip()),), ())


def native(marked: str) -> Script:
    return write_script(parse(marked), prepare, NATIVE)


def hub(marked: str, marks: frozenset[str] = HUB) -> Script:
    return write_script(parse(marked), keeping, marks)


def words(script: Script) -> list[str]:
    return [sentence.text for sentence in script.sentences]


PLAIN_TEXTS = (
    "Hello there. How are you?",
    "Dr. Smith paid $5.50 [1] for it, didn't he?\n\nA new paragraph; " + "many words " * 30,
    "Not said: 🙂. A < b, said “Ann”!",
)


@pytest.mark.parametrize("plain", PLAIN_TEXTS)
def test_plain_text_gives_the_same_script_as_without_markup(plain: str) -> None:
    assert native(plain) == prepare(plain)


def test_a_change_inside_a_sentence_cuts_it_and_is_heard_to_go_on() -> None:
    script = native("I <strong>really</strong> mean it. It is true.")
    assert words(script) == ["I,", "really,", "mean it.", "It is true."]
    assert [s.cut for s in script.sentences] == [True, True, False, False]
    strong = Manner(emphasis="strong")
    assert [s.manner for s in script.sentences] == [PLAIN, strong, PLAIN, PLAIN]


def test_without_a_comma_no_pause_is_made_at_a_change_inside_a_sentence() -> None:
    script = native("I <strong>really</strong>, truly [rate:0.8]mean[/rate]: it. Yes.")
    assert words(script) == ["I,", "really,", "truly,", "mean.", "it.", "Yes."]
    assert [s.pause_ms for s in script.sentences] == [0.0, None, 0.0, None, None, None]


def test_a_change_between_sentences_cuts_none() -> None:
    script = native("One. [rate:1.2]Two.[/rate] Three.")
    assert words(script) == ["One.", "Two.", "Three."]
    assert not any(s.cut for s in script.sentences)
    assert [s.manner.rate for s in script.sentences] == [1.0, 1.2, 1.0]


def test_numbers_are_read_whole_inside_a_change() -> None:
    assert words(native("It costs [rate:0.8]$5.50[/rate] today."))[1] == (
        "five dollars and fifty cents,"
    )


def test_a_mark_behind_a_change_belongs_to_it() -> None:
    assert words(native("Is it [pitch:+2]true[/pitch]? Yes.")) == ["Is it,", "true?", "Yes."]


def test_a_paragraph_ends_before_a_change_too() -> None:
    script = native("[voice:ann]Hello.[/voice]\n\n[voice:bob]Hi.[/voice] Bye.")
    assert [s.paragraph_end for s in script.sentences] == [True, False, True]
    assert [s.manner.voice for s in script.sentences] == ["ann", "bob", None]


def test_a_wrapped_line_ends_nothing_at_a_change() -> None:
    assert native("She said\n<strong>no</strong>.").sentences[0].cut


@pytest.mark.parametrize(
    ("marked", "lead", "pauses"),
    [
        ("One.[pause:500ms] Two.", 0.0, [500.0, None]),
        ("One [pause:0.5s][pause:1s] two.", 0.0, [1500.0, None]),
        ("[pause:1s]One.[pause:2s]", 1000.0, [2000.0]),
        ("One.[pause:1s]🙂[pause:1s] Two.", 0.0, [2000.0, None]),
    ],
)
def test_pauses_are_exact(marked: str, lead: float, pauses: list[float | None]) -> None:
    script = native(marked)
    assert script.lead_ms == lead
    assert [s.pause_ms for s in script.sentences] == pauses


def test_a_respelling_is_said_in_place_of_the_word() -> None:
    assert words(native("A [GIF](jif) file.")) == ["A jif file."]


def test_phones_reach_the_model_and_the_source_keeps_the_word() -> None:
    (sentence,) = native("I [read](/R EH1 D/) [Ng](/IH1 NG/)'s [read](/R IY1 D/).").sentences
    assert sentence.text == "I /R EH1 D/ /IH1 NG/'s /R IY1 D/."
    assert sentence.source == "I read Ng's read."
    said = " ".join(phones(sentence.text, Lexicon({"i": "AY1"})).symbols)
    assert said == "_ AY1 _ R EH1 D _ IH1 NG Z _ R IY1 D ."


def test_a_word_that_stands_in_for_phones_may_be_in_the_text_itself() -> None:
    (sentence,) = native("An aardvark [read](/R EH1 D/) the abacus.").sentences
    assert sentence.text == "An aardvark /R EH1 D/ the abacus."


def test_hundreds_of_words_may_be_given_in_phones(tmp_path: Path) -> None:
    names = [f"w{a}{b}x" for a in "bcdfghjklm" for b in "bcdfghjklm"]
    (tmp_path / "lexicon.tsv").write_text(
        "\n".join(f"{n}\tB AA1 {n[1].upper()}" for n in names if n[1] in "bdfgklm")
    )
    lexicon = read_lexicon(tmp_path / "lexicon.tsv")
    pieces = pronounce(parse(" and ".join(lexicon) + "."), lexicon)
    said = " ".join(words(write_script(pieces, prepare, NATIVE)))
    assert said.count("/B AA1 ") == len(lexicon) == 70
    assert not any(name in said for name in lexicon)


def test_sounds_are_silent_and_reported_where_the_model_has_none() -> None:
    script = native("Well [breath] no.")
    assert words(script) == ["Well no."]
    assert script.notes == ("[breath] is silent: this model has no such sound.",)


def test_sounds_and_strong_words_reach_a_model_that_knows_them() -> None:
    script = hub("Well [breath] <strong>no</strong>, <laughter>ha</laughter>.")
    assert words(script) == ["Well [breath] <strong>no</strong>, <laughter>ha</laughter>."]
    assert script.notes == ()


def test_an_escaped_tag_is_no_sound(tmp_path: Path) -> None:
    assert words(hub("Write \\[breath\\] here.")) == ["Write breath here."]


def test_phones_are_marks_of_a_model_that_knows_them_all() -> None:
    assert words(hub("I [read](/R EH1 D/).", HUB | PHONES)) == ["I [R][EH1][D]."]
    script = hub("I [read](/R EH1 D/).")
    assert words(script) == ["I read."]
    assert "'read' is said as it is written" in script.notes[0]


def test_unknown_tags_are_reported_and_never_spoken() -> None:
    script = native("One [explode] two <blink>three</blink>.")
    assert words(script) == ["One two three."]
    assert [note.split()[0] for note in script.notes] == ["[explode]", "<blink>", "</blink>"]


def test_what_cannot_be_said_is_reported_once_and_the_rest_is_spoken() -> None:
    script = native("[rate:2]🙂[/rate] Hello 🙂.")
    assert words(script) == ["Hello."]
    assert script.unsaid == ("🙂",)


@pytest.mark.parametrize("marked", ["[pause:1s]", "[breath]", "[foo]", "[rate:2]...[/rate]"])
def test_markup_without_words_is_nothing_to_say(marked: str) -> None:
    with pytest.raises(TextError, match="nothing to say"):
        native(marked)


def test_ssml_sentences_end_where_they_say() -> None:
    document = "<speak><p><s>One</s><s>two</s></p><p>three <break time='1s'/> four</p></speak>"
    script = write_script(parse_ssml(document), prepare, NATIVE)
    assert words(script) == ["One.", "two.", "three,", "four."]
    assert [s.paragraph_end for s in script.sentences] == [False, True, False, True]
    assert [s.pause_ms for s in script.sentences] == [None, None, 1000.0, None]


def test_marked_up_text_of_any_length_is_refused_like_plain_text() -> None:
    with pytest.raises(TextError, match=r"300,\d+ characters"):
        native("[rate:2]" + "a b " * 75_000 + "[/rate] c")


@pytest.mark.parametrize(
    ("family", "says"),
    [("cosyvoice2", "I read it [breath]."), ("cosyvoice3", "I [R][EH1][D] it [breath].")],
)
def test_a_hub_model_gets_its_marks_through_its_own_reading_of_text(
    tmp_path: Path, family: str, says: str
) -> None:
    spec = tiny_cosyvoice.spec_of(family)
    tiny_cosyvoice.write_text_files(tmp_path, spec)
    frontend = BpeText(spec.text, tmp_path)
    pieces = parse("I [read](/R EH1 D/) it [breath].")
    assert words(write_script(pieces, frontend.prepare, frontend.marks)) == [says]


@pytest.mark.parametrize("marked", ["[laughter]", "[pause:1s]", "[laughter] [nonsense]\n"])
def test_a_text_of_markup_alone_is_told_so(marked: str) -> None:
    with pytest.raises(TextError, match="the text holds only markup"):
        native(marked)
    assert words(hub("[laughter]", HUB)) == ["[laughter]"]
