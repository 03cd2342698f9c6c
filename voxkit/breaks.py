"""Finds where sentences end in written text of several languages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from voxkit.languages import HAN, HANGUL, KANA
from voxkit.text import stop_ends

# How tightly a place holds together.
PARAGRAPH, SENTENCE, CLAUSE, PHRASE, WORD = range(5)


@dataclass(frozen=True)
class Span:
    """One sentence of a text, with the white space behind it."""

    start: int
    end: int
    bond: int  # PARAGRAPH, SENTENCE, or what a sentence without end was cut at


_CLOSE = "”’」』》〉)）】]"
_CANDIDATE = re.compile(
    rf"(?P<mark>[.!?。！？｡．…]+)(?P<close>[{re.escape(_CLOSE)}\"']*)|(?P<line>\n\s*)"
)
_WIDE_MARK = re.compile("[。！？｡]")
_EASTERN = re.compile(f"[{HAN}{KANA}]")
_EASTERN_END = re.compile(f"[{HAN}{KANA}{HANGUL}]$")
_OPENING = re.compile(f'[\\s(\\["“‘「]|(?<=[{HAN}{KANA}])(?=[A-Za-z])')
_GLUE = re.compile(
    r"(?i)(?:https?|ftp)://[^\s<>\"]+|www\.[^\s<>\"]+"
    r"|[12][0-9]{3}\. ?[0-9]{1,2}\. ?[0-9]{1,2}\.(?:\s|$)"  # 2024. 3. 15., as Korean writes it
)
_NEXT = re.compile(r"\s*(\S{1,64})")
_LIST_ITEM = re.compile(r"\s*(?:[-*•‣+●■◆○□]|[0-9]{1,3}[.)、]|[①-⑳]|#{1,6})[ \S]")
_SOFT = re.compile(r"[，、；：,;:)）」』”—–\s]+")
_LONGEST = 800  # characters; a sentence without end is cut here
_SHORT_LINE = 60  # columns; a shorter line was not wrapped but ended


def find_sentences(text: str, held: Iterable[tuple[int, int]]) -> list[Span]:
    """Cut a text into sentences that lie end to end; none ends inside the spans `held`.

    White space belongs to the sentence before it, at the very start to the first.
    """
    spans: list[Span] = []
    shut = sorted([*held, *(m.span() for m in _GLUE.finditer(text))])
    start = at = 0
    for m in _CANDIDATE.finditer(text):
        while at < len(shut) and shut[at][1] <= m.start():
            at += 1
        if at < len(shut) and shut[at][0] < m.end() and m.end() < shut[at][1]:
            continue
        if m.start() < start or (m["line"] and not text[start : m.start()].strip()):
            continue
        start = _cut_endless(text, start, m.start(), shut, spans)
        end = _end(text, start, m)
        if end is None:
            continue
        behind = _skip_space(text, end)
        blank = text.count("\n", m.start(), behind) > 1
        spans.append(Span(start, behind, PARAGRAPH if blank or behind == len(text) else SENTENCE))
        start = behind
    start = _cut_endless(text, start, len(text), shut, spans)
    if start < len(text):
        spans.append(Span(start, len(text), PARAGRAPH))
    return spans


def _skip_space(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _cut_endless(
    text: str, start: int, end: int, shut: list[tuple[int, int]], spans: list[Span]
) -> int:
    """Cut what is too long to be read as one sentence; return where the rest begins."""
    while end - start > _LONGEST:
        limit = start + _LONGEST
        soft = [m.end() for m in _SOFT.finditer(text, start + _LONGEST // 2, limit)]
        cut = soft[-1] if soft else limit
        inside = [a for a, b in shut if a < cut < b and a > start]
        cut = inside[0] if inside else cut
        spans.append(Span(start, cut, CLAUSE if soft else WORD))
        start = cut
    return start


def _end(text: str, start: int, m: re.Match[str]) -> int | None:
    """Return the place behind a sentence that ends at a candidate, or None where none does."""
    if m["line"]:
        return m.end() if _line_ends(text, start, m) else None
    close = len(m["mark"]) + m.start() + _closing(text[start : m.end()], m["close"])
    following = text[close : close + 1]
    if set(m["mark"]) <= {"…"}:
        return None
    if _WIDE_MARK.search(m["mark"]):
        return close
    spaced = not following or following.isspace()
    if not spaced and not _EASTERN.match(following) and following not in "“‘「『《\"'":
        return None  # a mark inside a word or a figure
    found = _NEXT.match(text, close)
    word = found[1].lstrip("\"'“‘「『([{*_") if found else ""
    if set(m["mark"]) & {"!", "?"}:
        return None if spaced and word[:1].islower() and word[:1].isascii() else close
    before = _OPENING.split(text[max(start, m.start() - 64) : m.start()])[-1]
    if text[start : m.start()].strip().isdigit() and m.start() - start <= 4:
        return None  # the number of a list item
    if not before or len(m["mark"]) > 1:
        return close if not word[:1].islower() else None
    if not word or _EASTERN_END.search(before):
        return close
    return close if stop_ends(before.lstrip("'*_"), word) else None


def _closing(sentence: str, close: str) -> int:
    """Count what closes in `close`; a straight quotation mark may open what follows."""
    quotes = sentence[: len(sentence) - len(close)].count('"')
    for place, c in enumerate(close):
        if c == '"':
            if quotes % 2 == 0:
                return place
            quotes += 1
    return len(close)


def _line_ends(text: str, start: int, m: re.Match[str]) -> bool:
    """Tell a line break that ends something from one that only wraps a long line."""
    if m["line"].count("\n") > 1 or m.end() == len(text):
        return True
    line = text[max(start, text.rfind("\n", start, m.start()) + 1) : m.start()].strip()
    if not line:
        return False
    if _LIST_ITEM.match(text, m.end()) or line.startswith("#"):
        return True
    if line[-1] in ",，、-":
        return False
    columns = sum(2 if re.match(f"[{HAN}{KANA}{HANGUL}]", c) else 1 for c in line)
    return columns < _SHORT_LINE and not text[m.end()].islower()
