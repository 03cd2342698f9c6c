"""SSML: a subset is honoured, and whatever is wrong is told with line and column."""

from __future__ import annotations

import random

import pytest

from voxkit.errors import TextError
from voxkit.markup import Boundary, Pause, Spoken, spoken_text
from voxkit.pronunciation import Pronunciation
from voxkit.ssml import parse_ssml, say_as
from voxkit.style import PLAIN, Manner


def _speak(inside: str) -> str:
    return f"<speak>{inside}</speak>"


def _manner(inside: str) -> Manner:
    (piece,) = parse_ssml(_speak(inside))
    assert isinstance(piece, Spoken)
    return piece.manner


def _said(inside: str) -> str | None:
    (piece,) = parse_ssml(_speak(inside))
    assert isinstance(piece, Spoken)
    return piece.said.value if piece.said else None


def test_words_keep_their_place_in_the_source() -> None:
    text = '<speak>Größe <break time="500ms"/> 你好 &amp; ja</speak>'
    pieces = parse_ssml(text)
    assert spoken_text(pieces) == "Größe  你好 & ja"
    assert [text[p.start : p.end] for p in pieces] == [
        "Größe ",
        '<break time="500ms"/>',
        " 你好 &amp; ja",
    ]


@pytest.mark.parametrize(
    ("element", "ms"),
    [
        ('<break time="500ms"/>', 500.0),
        ('<break time="1.5s"/>', 1500.0),
        ('<break time="2s" strength="weak"/>', 2000.0),
        ('<break strength="x-strong"/>', 1200.0),
        ("<break/>", 400.0),
        ("<break></break>", 400.0),
    ],
)
def test_a_break_is_a_pause(element: str, ms: float) -> None:
    assert [p.ms for p in parse_ssml(_speak(element)) if isinstance(p, Pause)] == [ms]


def test_a_break_of_no_strength_is_no_pause() -> None:
    assert parse_ssml(_speak('<break strength="none"/>')) == ()


@pytest.mark.parametrize(
    ("attributes", "manner"),
    [
        ('rate="slow"', Manner(rate=0.8)),
        ('rate="150%"', Manner(rate=1.5)),
        ('rate="1.5"', Manner(rate=1.5)),
        ('pitch="high"', Manner(pitch_st=2.0)),
        ('pitch="-3st"', Manner(pitch_st=-3.0)),
        ('volume="x-loud"', Manner(energy_db=12.0)),
        ('volume="-6dB" pitch="medium"', Manner(energy_db=-6.0)),
    ],
)
def test_prosody_changes_the_manner(attributes: str, manner: Manner) -> None:
    assert _manner(f"<prosody {attributes}>x</prosody>") == manner


def test_nested_prosody_replaces_the_rate_and_adds_pitch_and_volume() -> None:
    inner = '<prosody rate="fast" pitch="+1st" volume="+2dB">x</prosody>'
    manner = _manner(f'<prosody rate="slow" pitch="+2st" volume="+3dB">{inner}</prosody>')
    assert manner == Manner(rate=1.25, pitch_st=3.0, energy_db=5.0)


def test_after_an_element_the_manner_is_as_before() -> None:
    pieces = parse_ssml(_speak('<voice name="ann">a</voice><emphasis>b</emphasis>c'))
    assert [p.manner for p in pieces if isinstance(p, Spoken)] == [
        Manner(voice="ann"),
        Manner(emphasis="moderate"),
        PLAIN,
    ]


def test_paragraphs_and_sentences_are_boundaries_and_never_doubled() -> None:
    pieces = parse_ssml(_speak("\n<p>\n <s>One.</s>\n <s>Two</s>\n</p>\n<p>Three</p>\n"))
    kinds = [p.kind if isinstance(p, Boundary) else p.text for p in pieces  # fmt: skip
             if isinstance(p, Boundary) or (isinstance(p, Spoken) and p.text.strip())]  # fmt: skip
    assert kinds == ["One.", "sentence", "Two", "paragraph", "Three", "paragraph"]


def test_a_substitution_keeps_the_text_and_says_the_alias() -> None:
    (piece,) = parse_ssml(_speak('<sub alias="World Wide Web">WWW</sub>'))
    assert isinstance(piece, Spoken)
    assert (piece.text, piece.said) == ("WWW", Pronunciation("respelling", "World Wide Web"))


def test_phonemes_are_read_as_arpabet() -> None:
    assert _said('<phoneme alphabet="x-arpabet" ph="R EH1 D">read</phoneme>') == "R EH1 D"


@pytest.mark.parametrize(
    ("kind", "words", "spoken"),
    [
        ("characters", "FBI", "F B I"),
        ("spell-out", "a1", "A 1"),
        ("digits", "2024", "2 0 2 4"),
        ("telephone", "+1 555-0123", "plus 1, 5 5 5, 0 1 2 3"),
        ("cardinal", "1999", "1,999"),
        ("cardinal", "-0.5", "-0.5"),
        ("cardinal", "+1999", "1,999"),
        ("number", "-12345.60", "-12,345.60"),
        ("ordinal", "3", "3rd"),
        ("ordinal", "112", "112th"),
        ("ordinal", "21st", "21st"),
        ("date", "2/9/2024", "February 9, 2024"),
    ],
)
def test_say_as_spells_out_what_is_meant(kind: str, words: str, spoken: str) -> None:
    assert say_as(words, kind) == spoken


@pytest.mark.parametrize(
    ("words", "layout", "spoken"),
    [
        ("9/2/2024", "dmy", "February 9, 2024"),
        ("2024-02-09", "ymd", "February 9, 2024"),
        ("2/9", "md", "February 9"),
        ("2024", "y", "2024"),
    ],
)
def test_a_date_is_read_in_its_format(words: str, layout: str, spoken: str) -> None:
    assert say_as(words, "date", layout) == spoken


def test_say_as_leaves_what_is_read_well_as_it_stands() -> None:
    assert _said('<say-as interpret-as="time">10:30</say-as>') is None


@pytest.mark.parametrize(
    ("kind", "words", "layout"),
    [
        ("ordinal", "abc", ""),
        ("cardinal", "12 monkeys", ""),
        ("digits", "none", ""),
        ("telephone", "none", ""),
        ("date", "13/13/2024", "mdy"),
        ("date", "1/2", "mdy"),
        ("date", "1/2/3", "xyz"),
        ("song", "la", ""),
    ],
)
def test_say_as_refuses_what_is_not_of_its_kind(kind: str, words: str, layout: str) -> None:
    with pytest.raises(TextError):
        say_as(words, kind, layout)


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("Hello", 1, 1, "not well-formed"),
        ("", 1, 1, "not well-formed"),
        ("<speak>\n  <p>open", 2, 10, "not well-formed"),
        ("<speak>\n</p></speak>", 2, 3, "not well-formed"),
        ("<speak>a &nbsp; b</speak>", 1, 10, "not well-formed"),
        ("<p>x</p>", 1, 1, "begin with <speak>"),
        ("<speak>\n <audio/></speak>", 2, 2, "<audio> is not supported"),
        ("<speak>你好<break time='5'/></speak>", 1, 10, "break time"),
        ("<speak><break strength='huge'/></speak>", 1, 8, "break strength"),
        ("<speak><break>x</break></speak>", 1, 15, "must be empty"),
        ("<speak><prosody>x</prosody></speak>", 1, 8, "needs rate"),
        ("<speak><prosody rate='9'>x</prosody></speak>", 1, 8, "rate must"),
        ("<speak><prosody pitch='150Hz'>x</prosody></speak>", 1, 8, "pitch must"),
        ("<speak><prosody volume='50'>x</prosody></speak>", 1, 8, "volume must"),
        ("<speak><prosody range='high'>x</prosody></speak>", 1, 8, "no attribute range"),
        ("<speak><voice>x</voice></speak>", 1, 8, "needs name"),
        ("<speak><sub ALIAS='x'>y</sub></speak>", 1, 8, "needs alias"),
        ("<speak><sub alias='x'><s>y</s></sub></speak>", 1, 23, "may not stand inside"),
        ("<speak><s><p>y</p></s></speak>", 1, 11, "may not stand inside"),
        ("<speak><speak/></speak>", 1, 8, "must hold everything"),
        ("<speak><emphasis level='mad'>x</emphasis></speak>", 1, 8, "emphasis level"),
        ("<speak><say-as interpret-as='x'>y</say-as></speak>", 1, 8, "interpret-as"),
        ("<speak><phoneme alphabet='ipa' ph='x'>y</phoneme></speak>", 1, 8, "alphabet"),
        ("<speak>a\n<phoneme ph='Q'>y</phoneme></speak>", 2, 1, "ARPAbet"),
    ],
)
def test_a_mistake_is_told_with_line_and_column(
    text: str, line: int, column: int, what: str
) -> None:
    with pytest.raises(TextError) as error:
        parse_ssml(text)
    assert str(error.value).startswith(f"SSML, line {line}, column {column}: ")
    assert what in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE speak><speak>a</speak>",
        '<!DOCTYPE speak [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><speak>&b;</speak>',
        '<!DOCTYPE speak [<!ENTITY x SYSTEM "file:///etc/passwd">]><speak>&x;</speak>',
    ],
)
def test_document_types_and_entities_are_refused(text: str) -> None:
    with pytest.raises(TextError, match="document type is not allowed"):
        parse_ssml(text)


def test_half_a_character_is_refused_in_one_sentence() -> None:
    with pytest.raises(TextError, match="half a character"):
        parse_ssml("<speak>\ud800</speak>")


def test_an_xml_head_comments_and_cdata_are_fine() -> None:
    head = '<?xml version="1.0" encoding="UTF-16"?>\n'
    body = '<speak version="1.1" xml:lang="en-US">a<!-- b --><![CDATA[<c>]]></speak>'
    assert spoken_text(parse_ssml(head + body)) == "a<c>"


def test_any_jumble_is_read_or_refused_with_its_place() -> None:
    dice = random.Random(6)
    parts = "<speak> </speak> <p> </p> <s> </s> <break/> a é & < <sub> </prosody> \x00".split(" ")
    parts += ["<prosody rate='slow'>", "<sub alias='x'>", "</sub>", "\n"]
    for _ in range(800):
        text = _speak("".join(dice.choice(parts) for _ in range(dice.randrange(8))))
        try:
            parse_ssml(text)
        except TextError as error:
            assert str(error).startswith("SSML, line ")


def test_the_words_of_a_well_formed_document_are_its_text() -> None:
    dice = random.Random(7)
    for _ in range(300):
        words, source = "", ""
        for _ in range(6):
            word = dice.choice(["one ", "zwölf ", "三", "\n", "x & y "])
            words += word
            inside = word.replace("&", "&amp;")
            source += dice.choice(
                [inside, f"<s>{inside}</s>", f"<prosody rate='slow'>{inside}</prosody>",
                 f"<sub alias='y'>{inside}</sub>", f"<emphasis>{inside}</emphasis><break/>"]
            )  # fmt: skip
        assert spoken_text(parse_ssml(_speak(source))) == words
