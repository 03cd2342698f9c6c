"""Inline markup: every tag does what it says, unknown ones are reported, no word is lost."""

from __future__ import annotations

import random
import re

import pytest

from voxkit.instruct import FAMILIES, NEUTRAL, Style
from voxkit.markup import (
    EVENTS,
    HONOURED,
    Event,
    Pause,
    Piece,
    Spoken,
    Unknown,
    parse,
    problems,
    pronounce,
    spoken_text,
)
from voxkit.pronunciation import Pronunciation
from voxkit.style import PLAIN, Manner


def _spoken(text: str) -> list[tuple[str, Manner]]:
    return [(p.text, p.manner) for p in parse(text) if isinstance(p, Spoken)]


def _unknown(text: str) -> list[str]:
    return [p.tag for p in parse(text) if isinstance(p, Unknown)]


def test_plain_text_is_one_piece() -> None:
    assert parse("Hello, world.") == (Spoken("Hello, world.", PLAIN, None, 0, 13),)


def test_empty_text_has_no_pieces() -> None:
    assert parse("") == ()


# ---- tags -------------------------------------------------------------------------------------


def test_a_pause_has_its_length_and_its_place() -> None:
    assert parse("One [pause:1.5s] two") == (
        Spoken("One ", PLAIN, None, 0, 4),
        Pause(1500.0, 4, 16),
        Spoken(" two", PLAIN, None, 16, 20),
    )


@pytest.mark.parametrize("tag", ["[pause:500ms]", "[PAUSE: 0.5 s ]", "[pause:.5s]"])
def test_a_pause_may_be_written_in_several_ways(tag: str) -> None:
    assert [p.ms for p in parse(tag) if isinstance(p, Pause)] == [500.0]


@pytest.mark.parametrize(
    "tag", ["[pause]", "[pause:]", "[pause:5]", "[pause:-1s]", "[pause:61s]", "[pause:long]"]
)
def test_a_pause_that_cannot_be_read_is_reported(tag: str) -> None:
    assert _unknown(f"a{tag}b") == [tag]
    assert "[pause:500ms]" in problems(parse(tag))[0]


@pytest.mark.parametrize("name", [*EVENTS, "Breath", "laugh"])
def test_a_sound_is_an_event(name: str) -> None:
    (event,) = parse(f"[{name}]")
    assert isinstance(event, Event)
    assert event.name in EVENTS


def test_strong_and_laughter_hold_up_to_their_end() -> None:
    assert _spoken("a <strong>b</strong> <laughter>c</laughter>") == [
        ("a ", PLAIN),
        ("b", Manner(emphasis="strong")),
        (" ", PLAIN),
        ("c", Manner(laughing=True)),
    ]


def test_a_rate_holds_up_to_its_end_or_the_end_of_the_text() -> None:
    assert _spoken("[rate:1.2]a[/rate]b[rate:80%]c") == [
        ("a", Manner(rate=1.2)),
        ("b", PLAIN),
        ("c", Manner(rate=0.8)),
    ]


def test_an_inner_rate_replaces_the_outer_and_gives_it_back() -> None:
    rates = [manner.rate for _, manner in _spoken("[rate:2]a[rate:0.5]b[/rate]c[/rate]d")]
    assert rates == [2.0, 0.5, 2.0, 1.0]


def test_tags_of_different_kinds_may_overlap() -> None:
    assert _spoken("[rate:2]a[pitch:+3]b[/rate]c[/pitch]d") == [
        ("a", Manner(rate=2.0)),
        ("b", Manner(rate=2.0, pitch_st=3.0)),
        ("c", Manner(pitch_st=3.0)),
        ("d", PLAIN),
    ]


@pytest.mark.parametrize(
    ("tag", "manner"),
    [
        ("[rate:+20%]", Manner(rate=1.2)),
        ("[rate:-25%]", Manner(rate=0.75)),
        ("[pitch:-1.5st]", Manner(pitch_st=-1.5)),
        ("[pitch:+100%]", Manner(pitch_st=12.0)),
        ("[volume:-3]", Manner(energy_db=-3.0)),
        ("[volume:+6dB]", Manner(energy_db=6.0)),
    ],
)
def test_numbers_are_read_with_their_units(tag: str, manner: Manner) -> None:
    assert _spoken(f"{tag}x") == [("x", manner)]


@pytest.mark.parametrize(
    "tag",
    ["[rate:9]", "[rate:fast]", "[rate]", "[rate:+1]", "[rate:0]", "[pitch:99]", "[pitch:3Hz]",
     "[pitch:-100%]", "[volume:1000]", "[voice:]", "[/rate]", "[/voice]", "[/pause]", "</strong>"],
)  # fmt: skip
def test_a_tag_with_a_wrong_value_is_reported_and_changes_nothing(tag: str) -> None:
    assert _unknown(f"a{tag}b") == [tag]
    assert _spoken(f"a{tag}b") == [("a", PLAIN), ("b", PLAIN)]


def test_voices_take_turns_in_a_dialogue() -> None:
    voices = [m.voice for _, m in _spoken("x[voice:ann]a[voice:bob(2)+cy]b[/voice]c")]
    assert voices == [None, "ann", "bob(2)+cy", None]


def test_a_sound_is_made_by_the_voice_that_speaks() -> None:
    (event,) = (p for p in parse("[voice:ann][sigh]") if isinstance(p, Event))
    assert event.manner.voice == "ann"


# ---- pronunciations ---------------------------------------------------------------------------


def test_a_word_with_a_respelling_keeps_its_text() -> None:
    assert parse("Ask [Nguyen](win).") == (
        Spoken("Ask ", PLAIN, None, 0, 4),
        Spoken("Nguyen", PLAIN, Pronunciation("respelling", "win"), 4, 17),
        Spoken(".", PLAIN, None, 17, 18),
    )


def test_phones_between_slashes_are_phones() -> None:
    (piece,) = parse("[read](/r eh1 d/)")
    assert isinstance(piece, Spoken) and piece.said is not None
    assert piece.said.phones == ("R", "EH1", "D")


def test_several_words_may_share_a_pronunciation() -> None:
    (piece,) = parse("[Dr. No](doctor no)")
    assert isinstance(piece, Spoken)
    assert (piece.text, piece.said) == ("Dr. No", Pronunciation("respelling", "doctor no"))


@pytest.mark.parametrize("so", ["(/Q Q/)", "()", "(//)", "( )"])
def test_a_pronunciation_that_cannot_be_read_is_reported_and_the_word_spoken(so: str) -> None:
    assert _unknown(f"[word]{so}") == [so]
    assert spoken_text(parse(f"[word]{so}")) == "word"


@pytest.mark.parametrize("link", ["https://a.org/b", "www.a.org", "mailto:a@b", "#top", "/docs/a"])
def test_a_link_is_not_taken_for_a_pronunciation(link: str) -> None:
    pieces = parse(f"See [the docs]({link}).")
    assert spoken_text(pieces) == "See the docs."
    assert all(p.said is None for p in pieces if isinstance(p, Spoken))
    assert "link" in problems(pieces)[0]


def test_a_known_tag_before_a_parenthesis_stays_a_tag() -> None:
    pieces = parse("[breath](softly)")
    assert isinstance(pieces[0], Event)
    assert spoken_text(pieces) == "(softly)"


def test_a_lexicon_is_applied_to_whole_words_in_any_case() -> None:
    lexicon = {"gif": Pronunciation("respelling", "jif")}
    pieces = pronounce(parse("A GIF, gifs, [gif](ghif)!"), lexicon)
    said = [(p.text, p.said.value) for p in pieces if isinstance(p, Spoken) and p.said]
    assert said == [("GIF", "jif"), ("gif", "ghif")]
    assert spoken_text(pieces) == "A GIF, gifs, gif!"


def test_a_lexicon_prefers_the_longest_word_and_the_exact_case() -> None:
    lexicon = {
        "Polish": Pronunciation("respelling", "pole-ish"),
        "polish": Pronunciation("respelling", "pollish"),
        "New York": Pronunciation("respelling", "noo york"),
        "New": Pronunciation("respelling", "nyoo"),
    }
    pieces = pronounce(parse("Polish polish New York New"), lexicon)
    said = [p.said.value for p in pieces if isinstance(p, Spoken) and p.said]
    assert said == ["pole-ish", "pollish", "noo york", "nyoo"]


def test_a_lexicon_finds_chinese_words_without_spaces() -> None:
    pieces = pronounce(parse("他叫单先生"), {"单": Pronunciation("respelling", "善")})
    assert [p.text for p in pieces if isinstance(p, Spoken)] == ["他叫", "单", "先生"]


def test_pieces_cut_by_a_lexicon_keep_their_places() -> None:
    text = "one two three"
    pieces = pronounce(parse(text), {"two": Pronunciation("respelling", "too")})
    assert [text[p.start : p.end] for p in pieces] == ["one ", "two", " three"]


# ---- what is no markup ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "as shown in [1]",
        "he said [see below] that",
        "2 < 3 and 4 > 1",
        "a <b and c> d",
        "[",
        "]",
        "<>",
        "[]",
        "[](x)",
        "[...](x)",
        "C:\\new\\text",
        "x[0](y",
        "1 <2> 3",
        "[a\nb]",
        "[Smith 2020] and [Volume 3]",
        "[voice over the phone]",
        "[pause for 2 seconds]",
        "[rate of 3 in 5]",
        "[noise level 5]",
        "[accent on it]",
        "[break point 2]",
        "[laughter\nand applause]",
        "<voice of reason>",
        "[voice over",
    ],
)
def test_text_that_only_looks_like_markup_is_spoken(text: str) -> None:
    assert spoken_text(parse(text)) == text
    assert problems(parse(text)) == ()


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (r"\[breath\]", "[breath]"),
        (r"\<strong\>", "<strong>"),
        (r"a\\[pause:1s]b", "a\\b"),
        (r"[word\](x)", "[word](x)"),
    ],
)
def test_an_escaped_character_is_text(text: str, spoken: str) -> None:
    assert spoken_text(parse(text)) == spoken


@pytest.mark.parametrize(
    "tag",
    ["[applause]", "[happy]", "[breath:2]", "<b>", "</b>", "<br/>", '<a href="x">', "<strong/>",
     "<|endofprompt|>", "<|im_start|>", "[ǐ]"],
)  # fmt: skip
def test_an_unknown_tag_is_reported_and_never_spoken(tag: str) -> None:
    pieces = parse(f"Well {tag}then.")
    assert spoken_text(pieces) == "Well then."
    assert _unknown(f"Well {tag}then.") == [tag]
    (sentence,) = problems(pieces)
    assert sentence.startswith(tag) and sentence.endswith(".")


@pytest.mark.parametrize(
    ("tag", "instead"),
    [
        ("[rate=1.2]", "[rate:1.2]"),
        ("[Rate = 1.2]", "[rate:1.2]"),
        ("[rate 1.2]", "[rate:1.2]"),
        ("[rate1.2]", "[rate:1.2]"),
        ("[pause 500ms]", "[pause:500ms]"),
        ("[pause : 1s]", "[pause:500ms]"),
        ("[break 2 seconds]", "[pause:500ms]"),
        ("[pitch -2st]", "[pitch:+2]"),
        ("[volume +3 dB]", "[volume:-3]"),
        ("[voice=ann]", "[voice:ann]"),
        ("[sigh deeply]", "[sigh]"),
        ("[laugh softly]", "[laughter]"),
        ("[/rate 1.2]", "[/rate]"),
        ("<break time=500ms>", "\\<"),
        ("<break 500ms/>", "\\<"),
        ("</prosody rate=slow>", "\\<"),
    ],
)
def test_what_is_nearly_a_tag_is_reported_and_never_spoken(tag: str, instead: str) -> None:
    assert spoken_text(parse(f"Well {tag}then.")) == "Well then."
    (sentence,) = problems(parse(f"Well {tag}then."))
    assert sentence.startswith(tag)
    assert instead in sentence


@pytest.mark.parametrize(
    ("text", "tag", "spoken"),
    [
        ("So [rate:1.2 fast.", "[rate:1.2", "So  fast."),
        ("So [rate:1.2 fast.\nYes]", "[rate:1.2", "So  fast.\nYes]"),
        ("So [pause:1s[sigh].", "[pause:1s", "So ."),
        ("So [/rate", "[/rate", "So "),
        ("So [breath [sigh]", "[breath", "So  "),
    ],
)
def test_a_tag_that_nobody_closed_takes_no_words_with_it(text: str, tag: str, spoken: str) -> None:
    assert _unknown(text) == [tag]
    assert spoken_text(parse(text)) == spoken


# ---- properties -------------------------------------------------------------------------------

# (source, what is spoken of it)
FRAGMENTS = [
    ("Hello ", "Hello "),
    ("wörld. ", "wörld. "),
    ("你好", "你好"),
    ("[1] ", "[1] "),
    ("2 < 3 ", "2 < 3 "),
    ("🙂", "🙂"),
    ("\n\n", "\n\n"),
    (r"\[x\] ", "[x] "),
    ("[pause:200ms]", ""),
    ("[breath]", ""),
    ("[rate:1.5]", ""),
    ("[/rate]", ""),
    ("[voice:ann]", ""),
    ("[/voice]", ""),
    ("<strong>", ""),
    ("</strong>", ""),
    ("<laughter>", ""),
    ("[nonsense]", ""),
    ("<br/>", ""),
    ("<|zh|>", ""),
    ("[Xiao](/SH AW1/)", "Xiao"),
    ("[bad](/Q/)", "bad"),
    ("[link](https://a.b)", "link"),
    ("[rate=2]", ""),
    ("[pause 1s]", ""),
    ("<break time=1s>", ""),
    ("[rate of 3] ", "[rate of 3] "),
]


def _ordered(pieces: tuple[Piece, ...], text: str) -> bool:
    """Pieces stand in order, do not overlap and stay inside the text."""
    ends = [0]
    for piece in pieces:
        if not ends[-1] <= piece.start < piece.end <= len(text):
            return False
        ends.append(piece.end)
    return True


def test_the_words_of_any_mixture_are_the_text_without_its_markup() -> None:
    dice = random.Random(4)
    for _ in range(500):
        parts = [dice.choice(FRAGMENTS) for _ in range(dice.randrange(12))]
        text = "".join(source for source, _ in parts)
        pieces = parse(text)
        assert spoken_text(pieces) == "".join(spoken for _, spoken in parts), text
        assert _ordered(pieces, text)


SILENT = re.compile(r"(?i)(\[/?(rate|pitch|volume|voice)(:[^\[\]]*)?\]|</?(strong|laughter)>)*")


def test_every_character_of_any_jumble_is_in_a_piece_or_in_a_known_tag() -> None:
    dice = random.Random(5)
    for _ in range(2000):
        parts = [dice.choice(FRAGMENTS)[0] for _ in range(4)]
        parts += ["".join(dice.choice('[]<>()|:\\"= \nab1.é/') for _ in range(6)) for _ in range(4)]
        dice.shuffle(parts)
        text = "".join(parts)
        pieces = parse(text)
        assert _ordered(pieces, text), text
        at = 0
        for piece in pieces:
            assert SILENT.fullmatch(text[at : piece.start]), text
            source, at = text[piece.start : piece.end], piece.end
            if isinstance(piece, Unknown):
                assert piece.tag == source
            elif isinstance(piece, Spoken) and source == f"[{piece.text}]":
                assert text[piece.end] == "("  # a link or a pronunciation that was refused
            elif isinstance(piece, Spoken) and piece.said:
                assert source.startswith(f"[{piece.text}](")
            elif isinstance(piece, Spoken):
                assert re.sub(r"\\([\[\]<>\\])", r"\1", source) == piece.text
        assert SILENT.fullmatch(text[at:]), text


def test_reading_long_text_takes_time_in_proportion() -> None:
    for text in (
        "[" * 20_000,
        "[a](" * 5_000,
        "<a " * 9_000,
        "[" + "a" * 20_000,
        "\\" * 19_999,
    ):
        assert len(spoken_text(parse(text))) > 0  # a quadratic reader would take minutes here


# ---- meaning ----------------------------------------------------------------------------------


def test_a_manner_changes_the_style_of_the_request() -> None:
    style = Manner(rate=1.5, pitch_st=1.0).over(Style(rate=0.8, pitch_st=-2.0, emotion="sad"))
    assert (style.rate, style.pitch_st, style.emotion) == (pytest.approx(1.2), -1.0, "sad")
    assert PLAIN.over(NEUTRAL) == NEUTRAL


def test_emphasis_is_slower_and_louder() -> None:
    strong = Manner(emphasis="strong").over(NEUTRAL)
    assert strong.rate < 1.0
    assert strong.energy_db > 0.0


def test_the_table_of_what_is_honoured_speaks_of_every_family() -> None:
    for row in HONOURED:
        assert all(getattr(row, family) for family in FAMILIES)
    listed = " ".join(row.markup for row in HONOURED)
    for tag in ("[pause:", "[rate:", "[pitch:", "[volume:", "[voice:", "<strong>", "<laughter>"):
        assert tag in listed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[rate:5]hi[/rate] there", "write it as in [rate:1.2], between 0.25 and 4"),
        ("[pitch:+13]hi[/pitch]", "write it as in [pitch:+2], between -12 and 12"),
        ("[volume:60]hi[/volume]", "write it as in [volume:-3], between -24 and 12"),
    ],
)
def test_a_tag_out_of_its_limits_names_them_once(text: str, reason: str) -> None:
    pieces = parse(text)
    assert [p.reason for p in pieces if isinstance(p, Unknown)] == [reason]
    assert all(p.manner == PLAIN for p in pieces if isinstance(p, Spoken))


def test_a_tag_out_of_its_limits_leaves_those_around_it() -> None:
    pieces = parse("[rate:0.5]a[rate:9]b[/rate]c[/rate]d")
    rates = [(p.text, p.manner.rate) for p in pieces if isinstance(p, Spoken)]
    assert rates == [("a", 0.5), ("b", 0.5), ("c", 0.5), ("d", 1.0)]


@pytest.mark.parametrize("text", ['<prosody rate="slow">a</prosody>', "<p>a</p>", "a <break/>"])
def test_ssml_without_its_flag_is_called_so(text: str) -> None:
    reasons = {p.reason for p in parse(text) if isinstance(p, Unknown)}
    assert reasons == {"it is SSML, which --ssml reads; write \\< for a sign that is text"}
