"""Turns raw text in Chinese, English, Japanese and Korean, also mixed, into sentences to be spoken.

For models that read text as byte pairs: letters stay as they are, what is written in figures and
signs becomes words of the language around it.  The rules are our own: wetext 0.1.8 was measured
for the same work and misread a third of the Chinese and nearly half of the Japanese lines of
`tests/test_multilingual.py` (2月2日 as 二月两日, 10-20 as a date, $1,299.99 as two amounts, 100mL
as metres, COVID-19 as minus nineteen), where what it reads well the rules read too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

from voxkit.breaks import CLAUSE, find_sentences
from voxkit.errors import TextError
from voxkit.languages import (
    CYRILLIC,
    HAN,
    HANGUL,
    KANA,
    LATIN,
    Language,
    main_language,
    stretches,
    writing,
)
from voxkit.lookalikes import visible
from voxkit.markup import EVENTS
from voxkit.passages import Marks, Piece, arrange, divide, join_glue
from voxkit.signs import read_signs
from voxkit.text import MAX_CHARACTERS, Script, Sentence
from voxkit.typography import (
    CLOSING,
    HELD,
    MARKS,
    OPENING,
    plain_signs,
    set_marks,
    without_layout,
)

# What the models of the hub know beside words.
INLINE_MARKS = (*(f"[{e}]" for e in EVENTS), "<strong>", "</strong>", "<laughter>", "</laughter>")


def prepare(
    raw: str,
    *,
    length: Callable[[str], int],
    most: int,
    least: int,
    marks: Iterable[str] = INLINE_MARKS,
) -> Script:
    """Return the sentences of `raw`, joined and cut to between `least` and `most` by `length`.

    `length` counts the text ids of a text and `marks` are what a model knows beside words; those
    of the form `<|…|>` steer the model and are reported, never passed on.
    Raises `TextError` for a text with nothing to say and for more than 200,000 characters.
    """
    if len(raw) > MAX_CHARACTERS:
        raise TextError(
            f"This text has {len(raw):,} characters; split it into parts of at most "
            f"{MAX_CHARACTERS:,} characters and speak them one by one."
        )
    known = _known(tuple(sorted(m for m in marks if not m.startswith("<|"))))
    unsaid: dict[str, None] = {}  # ordered and without repeats
    pieces = _pieces(raw, known, unsaid, length, most)
    if not pieces:
        raise TextError(_nothing_to_say(raw, tuple(unsaid)))
    sentences = [
        Sentence(p.said, p.bond == 0, raw[p.start : p.end].strip(), cut=p.bond >= CLAUSE)
        for p in arrange(pieces, length, most, least)
    ]
    return Script(tuple(sentences), tuple(unsaid))


def _nothing_to_say(raw: str, unsaid: tuple[str, ...]) -> str:
    if unsaid:
        few = " ".join(unsaid[:3]) + (" …" if len(unsaid) > 3 else "")
        return f"There is nothing to say in this text: {few[:60]} cannot be spoken; add some words."
    if raw.strip():
        return "There is nothing to say in this text: it holds only punctuation; add some words."
    return "There is nothing to say: the text is empty; give at least one word."


def _pieces(
    raw: str, known: Marks, unsaid: dict[str, None], length: Callable[[str], int], most: int
) -> list[Piece]:
    """Read every sentence, and divide the long ones; what is not said goes to the one before it.

    A pair of marks around several sentences goes around each of them.
    """
    home = main_language(raw)
    held = [m.span() for m in re.finditer(f"{known.single}|{_CONTROL}", raw)]
    pairs = _pair_up(raw, known)
    held += [(a.start(), b.end()) for a, b in pairs if b.end() - a.start() <= _LONG_PAIR]
    pairs = [(a, b) for a, b in pairs if b.end() - a.start() > _LONG_PAIR]
    pieces: list[Piece] = []
    start = 0
    for span in find_sentences(raw, held):
        whole = span.bond < CLAUSE
        written = raw[span.start : span.end]
        before = "".join(a[0] for a, b in pairs if a.end() <= span.start <= b.start())
        behind = "".join(b[0] for a, b in pairs if a.end() <= span.end <= b.start())
        said, missed = read_sentence(f"{before}{written}{behind}", home, known, whole=whole)
        unsaid |= dict.fromkeys(visible(item) for item in missed)
        if not said and not pieces:
            continue
        if said:
            if pieces and (pieces[-1].bond < CLAUSE or raw[start - 1].isspace()):
                pieces[-1] = replace(pieces[-1], glue=join_glue(pieces[-1].said, said))
            piece = Piece(said, start, span.end, span.bond)
            long = length(said) > most
            source = raw[start : span.end]
            pieces += divide(piece, source, length, most, known) if long else [piece]
        else:
            bond = min(pieces[-1].bond, span.bond)
            pieces[-1] = replace(pieces[-1], end=span.end, bond=bond)
        start = span.end
    return pieces


# --- marks that the model knows -------------------------------------------------------------------

_CONTROL = r"<\|[^<>|\n]*\|>"
_TAG = re.compile(rf"{_CONTROL}|</?[A-Za-z][^<>\n]{{0,80}}>")
_FIRST_HELD = 0xE000
_LONG_PAIR = 200  # characters; what a shorter pair of marks is around is one sentence


@cache
def _known(marks: tuple[str, ...]) -> Marks:
    longest = sorted(marks, key=len, reverse=True)
    pairs = [(m, f"</{m[1:]}") for m in longest if m[:1] == "<" and f"</{m[1:]}" in marks]
    return Marks(
        single="|".join(map(re.escape, longest)) or r"(?!)",
        pairs="|".join(f"{re.escape(a)}(?:(?!{re.escape(a)}).)*?{re.escape(b)}" for a, b in pairs)
        or r"(?!)",
        empty="|".join(rf"{re.escape(a)}\s*{re.escape(b)}" for a, b in pairs) or r"(?!)",
    )


def _pair_up(text: str, known: Marks) -> list[tuple[re.Match[str], re.Match[str]]]:
    """Find the marks that open and close something, each with its partner."""
    waiting: dict[str, list[re.Match[str]]] = {}
    found: list[tuple[re.Match[str], re.Match[str]]] = []
    for m in re.finditer(known.single, text):
        if m[0].startswith("</"):
            if opened := waiting.get(m[0][2:]):
                found.append((opened.pop(), m))
        elif m[0].startswith("<"):
            waiting.setdefault(m[0][1:], []).append(m)
    return found


def read_sentence(
    written: str, home: Language | None, known: Marks, *, whole: bool = True
) -> tuple[str, tuple[str, ...]]:
    """Return what is said of one written sentence, and what in it cannot be said.

    `home` is the language of the text around it; what is not `whole` gets no mark at its end.
    """
    unsaid: list[str] = [c for c in written if 0xE000 <= ord(c) <= 0xF8FF]
    text = re.sub(f"[{HELD}]", "", written)
    text = re.sub(known.empty, "", text)
    paired = {m.start() for pair in _pair_up(text, known) for m in pair}
    held: list[str] = []

    def hold(m: re.Match[str]) -> str:
        if m[0][0] == "<" and m.start() not in paired:
            unsaid.append(m[0])  # half of a pair
            return ""
        held.append(m[0])
        return chr(_FIRST_HELD + len(held) - 1)

    def drop(m: re.Match[str]) -> str:
        unsaid.append(m[0])
        return " "

    text = _TAG.sub(drop, re.sub(known.single, hold, text))
    text = without_layout(plain_signs(text.strip()))
    read = ""
    for part in stretches(text, home):
        words = _COMBINING.sub("", read_signs(part.text, part.language)).replace("_", " ")
        left_over = _UNSAYABLE_OTHER if part.language == "other" else _UNSAYABLE
        read += left_over.sub(drop, words)
    comma = {"zh": "，", "ja": "、"}.get(writing(text, home) or "")
    said = set_marks(read, comma, ended=whole)
    sounds = any(mark[0] != "<" for mark in held)
    if not sounds and not re.search(f"[{_LETTERS}0-9]", said):
        return "", tuple(unsaid)
    return re.sub(f"[{HELD}]", lambda m: held[ord(m[0]) - _FIRST_HELD], said), tuple(unsaid)


# What stays: letters that some model speaks, marks, and what set_marks still reads.
_LETTERS = f"{LATIN}{HAN}{KANA}{HANGUL}{CYRILLIC}"
_KEPT = re.escape(f"{MARKS}{OPENING}{CLOSING}\"'·・ -–—~()[]{{}}【】〔〕|")
_UNSAYABLE = re.compile(f"[^{_LETTERS}{_KEPT}{HELD}]+")
_UNSAYABLE_OTHER = re.compile(f"[^{_LETTERS}{_KEPT}{HELD}0-9%€$£&+=@#/°]+")
_COMBINING = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0]+")
