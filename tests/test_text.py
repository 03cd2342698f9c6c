"""Raw text becomes sentences that read as an English reader would, whole or streamed."""

from __future__ import annotations

import random
import subprocess
import sys
import unicodedata

import pytest

from voxkit.clauses import count_words
from voxkit.errors import TextError
from voxkit.text import MAX_CHARACTERS, Script, Sentence, TextStream, prepare

READ_ALOUD = {
    # money
    "Dr. Smith paid $3.50.": "Doctor Smith paid three dollars and fifty cents.",
    "It costs $1 or $0.99.": "It costs one dollar or ninety-nine cents.",
    "He owes $1,000,000.01.": "He owes one million dollars and one cent.",
    "A $1.5 billion deal": "A one point five billion dollars deal.",
    "£5m and €1.2B": "five million pounds and one point two billion euros.",
    "¥500, 50¢ and £3.20": "five hundred yen, fifty cents and three pounds and twenty pence.",
    "between $5-10 a day": "between five to ten dollars a day.",
    "5 USD or CHF 20": "five U S dollars or twenty Swiss francs.",
    "It costs 5,50 €.": "It costs five euros and fifty cents.",
    "$5/month": "five dollars per month.",
    # dates and years
    "on Jan. 3rd, 2021": "on January third, twenty twenty-one.",
    "On March 3, 2000, it ended.": "On March third, two thousand, it ended.",
    "the 4th of July": "the fourth of July.",
    "born 3 May 2019": "born the third of May, twenty nineteen.",
    "on 12/25/2020": "on December twenty-fifth, twenty twenty.",
    "on 25.12.2023": "on December twenty-fifth, twenty twenty-three.",
    "since 2020-01-05": "since January fifth, twenty twenty.",
    "the meeting on 4/1": "the meeting on April first.",
    "in 1905 and 2003": "in nineteen oh five and two thousand three.",
    "In 1900 it began.": "In nineteen hundred it began.",
    "the 1990s and the '80s": "the nineteen nineties and the eighties.",
    "in her 20s": "in her twenties.",
    "the war of 1914-1918": "the war of nineteen fourteen to nineteen eighteen.",
    "the class of '99": "the class of ninety-nine.",
    "It has 2048 files.": "It has two thousand forty-eight files.",
    "the year 2048": "the year twenty forty-eight.",
    "on Sept. 5": "on September fifth.",
    "open Mon-Fri": "open Monday to Friday.",
    # times
    "at 3:30pm": "at three thirty P M.",
    "at 10 a.m. sharp": "at ten A M sharp.",
    "at 12:00": "at twelve o'clock.",
    "at 14:05": "at fourteen oh five.",
    "open 9am-5pm": "open nine A M to five P M.",
    "from 5-6pm": "from five to six P M.",
    "after 3:00:15": "after three hours zero minutes fifteen seconds.",
    # telephones and codes
    "Call 555-1234.": "Call five five five, one two three four.",
    "(212) 555-0199": "two one two, five five five, zero one nine nine.",
    "+1-800-555-0199": "plus one, eight zero zero, five five five, zero one nine nine.",
    "Call 911 now!": "Call nine one one now!",
    "agent 007": "agent zero zero seven.",
    "card 4111111111111111": "card four" + " one" * 15 + ".",
    # measures
    "20% of 0.5%": "twenty percent of zero point five percent.",
    "-5°C and 70°F": "minus five degrees Celsius and seventy degrees Fahrenheit.",
    "a 90° angle": "a ninety degrees angle.",
    "80kg at 60 mph": "eighty kilograms at sixty miles per hour.",
    "5'10\" tall": "five feet ten inches tall.",
    'a 27" screen': "a twenty-seven inch screen.",
    "1 km or 2.5 km": "one kilometer or two point five kilometers.",
    "100 km² of land": "one hundred square kilometers of land.",
    "5 lbs. of sugar": "five pounds of sugar.",
    "16GB at 3.5 GHz": "sixteen gigabytes at three point five gigahertz.",
    "a timeout of 30s": "a timeout of thirty seconds.",
    "10 x 20 cm": "ten by twenty centimeters.",
    "3-4 kg, 10–15%": "three to four kilograms, ten to fifteen percent.",
    # numbers
    "1,234,567 people": "one million two hundred thirty-four thousand five hundred sixty-seven "
    "people.",
    "1 000 000 people": "one million people.",
    "pi is 3.14 or .5": "pi is three point one four or point five.",
    "the 21st, 2nd and 112th": "the twenty-first, second and one hundred twelfth.",
    "1/2 cup, 3/4 full": "one half cup, three quarters full.",
    "2½ inches": "two and a half inches.",
    "3 3/4 miles": "three and three quarters miles.",
    "version 2.0.1 of v2": "version two point zero point one of version two.",
    "pages 10-20": "pages ten to twenty.",
    "It is -7 today.": "It is minus seven today.",
    "3 + 4 = 7": "three plus four equals seven.",
    "10 - 3 = 7": "ten minus three equals seven.",
    "x² + y³": "x squared plus y cubed.",
    "It's 3x faster.": "It's three times faster.",
    "We are #1, 24/7.": "We are number one, twenty-four seven.",
    "They won 3-2.": "They won three to two.",
    "a 16:9 picture": "a sixteen to nine picture.",
    # Roman numerals
    "Henry VIII ruled.": "Henry the eighth ruled.",
    "Elizabeth I was queen.": "Elizabeth the first was queen.",
    "Chapter IV of World War II": "Chapter four of World War two.",
    "Am I V or X?": "Am I V or X?",
    # addresses
    "visit example.com.": "visit example dot com.",
    "https://www.site.com/a?x=1": "W W W dot site dot com slash A question mark X equals one.",
    "mail joe.b@site.org": "mail joe dot B at site dot org.",
    "open config.json": "open config dot json.",
    "#MeToo and @jane_doe": "hashtag Me Too and at jane doe.",
    # abbreviations and initials
    "Mr. and Mrs. Jones vs. St. Paul": "Mister and Missus Jones versus Saint Paul.",
    "12 St. John St.": "twelve Saint John Street.",
    "No. 5, e.g. this, etc.": "Number five, for example, this, et cetera.",
    "I say no. 7 is all.": "I say number seven is all.",
    "see Fig. 3, pp. 5-6": "see Figure three, pages five to six.",
    "Smith et al. agree": "Smith et al agree.",
    "NASA and the FBI's CEOs": "NASA and the F B I's C E O's.",
    "the U.S. and J. K. Rowling": "the U S and J K Rowling.",
    "a Ph.D. in AT&T R&D": "a P H D in A T and T R and D.",
    "MP3, F-16, A4, H₂O": "M P three, F sixteen, A-four, H two O.",
    "THIS IS NOT A TEST": "this is not a test.",
    "This is NOT ok": "This is NOT ok.",
    "C++, C# and .NET": "C plus plus, C sharp and dot NET.",
    # signs and typography
    "“Smart” ‘quotes’ — and so on…": "Smart quotes, and so on.",
    "and/or, he/she, w/o": "and or, he or she, without.",
    "cats & dogs @ home": "cats and dogs at home.",
    "α and π²": "alpha and pi squared.",
    "ﬁne ﬂuﬀ, ｆｕｌｌ wi\u00addth": "fine fluff, full width.",
    "zero\u200bwidth\ufeff": "zerowidth.",
    "**bold** _it_ `code` [link](http://x.y)": "bold it code link.",
    "naïve Zürich café": "naïve Zürich café.",
    "٣ apples": "three apples.",
    "state-of-the-art T-shirts": "state-of-the-art T-shirts.",
    "the dogs' 'toys'": "the dogs' toys.",
    "Really?! No...": "Really? No.",
}


def said(raw: str, max_words: int = 60) -> list[str]:
    return [sentence.text for sentence in prepare(raw, max_words=max_words).sentences]


def words(script: Script) -> str:
    """Every letter that is said."""
    return "".join(c for s in script.sentences for c in s.text if c.isalpha())


@pytest.mark.parametrize("raw", READ_ALOUD)
def test_text_is_read_as_an_english_reader_would(raw: str) -> None:
    assert " ".join(said(raw)) == READ_ALOUD[raw]


@pytest.mark.parametrize(
    ("raw", "sentences"),
    [
        ("Dr. Smith paid $3.50. He left.", 2),
        ("It is 5 p.m. in the U.S. and I am in St. Louis.", 1),
        ("We met in the U.S. Then we left.", 2),
        ("J. R. Smith of Apple Inc. spoke.", 1),
        ("Use e.g. this, i.e. that, cf. those.", 1),
        ("Wait... what? No! Yes.", 3),
        ("“Stop!” he said. “Why?” she asked.", 2),
        ("all lower case. no capitals here. fine.", 3),
        ("No. 5 is alive. I said no. Go.", 3),
        ("Buy milk, eggs, etc. We need them.", 2),
        ("See www.example.com. Then write.", 2),
        ("The end.Then more.", 2),
        ("Costs rose 3.5 percent in 1999. The next year they fell.", 2),
        ("It weighs 5 lbs. or so.", 1),
        ("He lives on Elm St. She does not.", 2),
        ("Plan B. It works.", 2),
    ],
)
def test_sentences_end_where_a_reader_would_stop(raw: str, sentences: int) -> None:
    assert len(said(raw)) == sentences


def test_lines_that_were_only_wrapped_join_and_list_items_part() -> None:
    wrapped = "This line was wrapped by an editor that breaks at\nsixty characters or so."
    assert len(said(wrapped)) == 1
    assert said("# Shopping\nFor today:\n- milk\n- ten eggs\n1. Go\n2. Come back") == [
        "Shopping.",
        "For today.",
        "milk.",
        "ten eggs.",
        "one, Go.",
        "two, Come back.",
    ]


def test_paragraph_ends_are_marked() -> None:
    script = prepare("One here. Two here.\n\nThree here.\n \nFour", max_words=20)
    assert [s.paragraph_end for s in script.sentences] == [False, True, True, True]


def test_a_sentence_knows_how_it_was_written() -> None:
    first, second = prepare("It cost $5. Fine.", max_words=20).sentences
    assert first == Sentence("It cost five dollars.", False, "It cost $5.")
    assert second.source == "Fine."


@pytest.mark.parametrize(
    ("raw", "unsaid"),
    [
        ("Hello 😀 and 👋🏽 again 😀.", ("😀", "👋🏽")),
        ("Tokyo is 東京 in Japanese.", ("東京",)),
        ("A bell\x07 rings\x00.", ("U+0007", "U+0000")),
        ("Да means yes.", ("Да",)),
        ("Brand™ new ★ thing", ("™", "★")),
        ("A lone \ud83d surrogate", ("U+D83D",)),
    ],
)
def test_what_cannot_be_said_is_reported(raw: str, unsaid: tuple[str, ...]) -> None:
    script = prepare(raw, max_words=20)
    assert script.unsaid == unsaid
    assert not set("".join(unsaid)) & set("".join(s.text for s in script.sentences))


def test_every_character_of_unicode_is_said_or_reported_or_layout() -> None:
    plain = "gostop"
    for start in range(0x21, 0x3000, 7):
        c = chr(start)
        if unicodedata.category(c) in ("Ll", "Lu", "Lo", "Nd", "No"):
            script = prepare(f"go {c} stop", max_words=20)
            assert script.unsaid or len(words(script)) > len(plain), hex(start)


@pytest.mark.parametrize("raw", ["", "  \n\t ", "...!?", "—", "😀🎉", "世界", "***"])
def test_nothing_to_say_is_an_error_in_one_sentence(raw: str) -> None:
    with pytest.raises(TextError, match="There is nothing to say"):
        prepare(raw, max_words=20)


def test_a_text_of_hours_is_refused_with_its_length() -> None:
    with pytest.raises(TextError, match=r"200,001 characters, about 4 hours .* split"):
        prepare("a" * (MAX_CHARACTERS + 1), max_words=20)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(TextError, match="'xx'"):
        prepare("hello", language="xx", max_words=20)


# Texts that make a careless rule or search slow: minutes if it is quadratic.
@pytest.mark.parametrize(
    "unit", ["a", "1", "!", '"', " x", "\n", "1,", "A.", "a@", "- ", "1/", "-a", "(", "$", "1:"]
)
def test_odd_text_is_read_in_linear_time(unit: str) -> None:
    raw = (unit * 8_000)[:8_000] + " end"
    sentences = prepare(raw, max_words=14).sentences
    assert all(0 < count_words(s.text) <= 14 for s in sentences)


LONG = (
    "Dr. Smith paid $3.50 on Jan. 3rd, 2021; he was in the U.S. at 5 p.m. “What?” he asked. "
    "See example.com... or not! This one goes on and on, with many clauses, because its author "
    "could not stop, and so it continues through the night until somebody says stop.\n\n"
    "# Title\n- one 😀\n- two 世界\n\nThe end.Then J. K. Roe, e.g. at 1,234.5 km/h, etc. No. 5. "
)


def pieces(text: str, mean: int, rng: random.Random) -> list[str]:
    out = []
    while text:
        size = rng.randint(1, 2 * mean)
        out.append(text[:size])
        text = text[size:]
    return out


def streamed(parts: list[str], max_words: int) -> tuple[list[Sentence], tuple[str, ...]]:
    stream = TextStream(max_words=max_words)
    out = [sentence for part in parts for sentence in stream.push(part)]
    return [*out, *stream.finish()], stream.unsaid


@pytest.mark.parametrize("mean", [1, 3, 12, 60])
def test_text_cut_anywhere_streams_to_the_same_sentences(mean: int) -> None:
    rng = random.Random(mean)
    script = prepare(LONG, max_words=12)
    for _ in range(3):
        sentences, unsaid = streamed(pieces(LONG, mean, rng), 12)
        assert tuple(sentences) == script.sentences
        assert unsaid == script.unsaid


def test_random_characters_stream_to_the_same_sentences() -> None:
    rng = random.Random(7)
    alphabet = [
        *"abcAB .,.!?\n\n'\"()-125:$%😀世",
        "Dr.",
        "St. ",
        "e.g. ",
        "U.S. ",
        "The ",
        "etc. ",
    ]
    for _ in range(60):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(90)))
        whole = streamed([text], 8)
        assert streamed(pieces(text, 2, rng), 8) == whole, text


def test_endless_text_streams_to_the_same_sentences() -> None:
    rng = random.Random(3)
    for unit in ("word ", "w", "so on, ", "a.", "end.Then"):
        text = (unit * 4000)[:4700]
        assert streamed(pieces(text, 400, rng), 14) == streamed([text], 14)


def test_a_stream_releases_a_sentence_only_when_its_end_is_certain() -> None:
    stream = TextStream(max_words=20)
    assert stream.push("It cost 3.") == []
    assert stream.push("50 at Dr. ") == []
    assert stream.push("Smith's. ") == []
    assert [s.text for s in stream.push("Then more ")] == [
        "It cost three point five zero at Doctor Smith's."
    ]
    assert [s.text for s in stream.finish()] == ["Then more."]


def test_a_stream_of_words_keeps_little() -> None:
    stream = TextStream(max_words=14)
    heard = 0
    for _ in range(3000):
        heard += sum(count_words(s.text) for s in stream.push("word "))
    assert heard > 3000 - 1000


def test_importing_text_brings_no_rules_and_no_torch() -> None:
    code = (
        "import sys, voxkit.text; "
        "assert not {'torch', 'numpy', 'voxkit.reading', 'voxkit.phonemes'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
