"""Matches a description with the words of `instruct_lexicon.toml`, clause by clause."""

from __future__ import annotations

import functools
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxkit.style import LIMITS

_CJK = "\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(
    r"(?P<code>(?<![\w.])\d[\d.]*[A-Za-z]+[+\-−]?\d[\d.]*)"  # 1e9, which is no number here
    rf"|(?P<number>(?<![\w.])[+\-−]?\d+(?:\.\d+)?)|(?P<han>[{_CJK}])"
    rf"|(?P<word>[^\W\d_{_CJK}]+(?:['’][^\W\d_{_CJK}]+)*)|(?P<late>\d+(?:\.\d+)?)|(?P<mark>\S)"
)
_BREAKS = frozenset(",;.!?，。；！？…")
_MARKS = frozenset("%&、")  # punctuation with a meaning; the rest is skipped
_HAN_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"两": 2, "半": 0.5}


@dataclass(frozen=True)
class Effect:
    """What one word of the lexicon promises."""

    name: str
    sets: Mapping[str, Any]
    colours: Mapping[str, Any]
    opposite: str | None

    @property
    def quantity(self) -> str | None:
        """The field a number would set: "20% faster" is about `rate`."""
        first = next(iter(self.sets), None)
        return first if first in LIMITS and first != "emotion_strength" else None


@dataclass(frozen=True)
class Entry:
    """One phrase of the lexicon: its part in the grammar, and what it stands for."""

    kind: str  # a table of the lexicon file (effect, intensity, direction, ...) or "unknown"
    name: str = ""
    value: float = 0.0


@dataclass(frozen=True)
class Lexicon:
    """The lexicon file, ready for longest-first matching."""

    effects: Mapping[str, Effect]
    phrases: Mapping[
        str, tuple[tuple[tuple[str, ...], Entry], ...]
    ]  # by first token, longest first
    effect_of: Mapping[str, tuple[str, str]]  # field → names of the effects of "up" and "down"


@dataclass(frozen=True)
class Item:
    """A matched piece of a clause: tokens `start` to `end` (characters of the description)."""

    entry: Entry
    start: int
    end: int


@functools.cache
def lexicon() -> Lexicon:
    """Read the packaged lexicon once."""
    path = Path(__file__).with_name("instruct_lexicon.toml")
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    effects = {
        name: Effect(name, _fields(e["sets"]), _fields(e.get("colours", {})), e.get("opposite"))
        for name, e in data["effects"].items()
    }
    found: dict[str, list[tuple[tuple[str, ...], Entry]]] = {}
    for phrase, entry in _entries(data):
        tokens = tuple(text for text, _, _ in _tokens(phrase))
        found.setdefault(tokens[0], []).append((tokens, entry))
    phrases = {
        first: tuple(sorted(items, key=lambda item: -len(item[0])))
        for first, items in found.items()
    }
    pairs = {name: (pair[0], pair[1]) for name, pair in data["effect_of"].items()}
    return Lexicon(effects, phrases, pairs)


def is_about_speaker(phrase: str) -> bool:
    """Say whether an ignored phrase tells who speaks ("an old man"): a matter of the voice."""
    return any(item.entry.kind == "speaker" for items in clauses(phrase) for item in items)


def _fields(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if value == "none" else value for name, value in table.items()}


def _entries(data: Mapping[str, Any]) -> Iterator[tuple[str, Entry]]:
    """Yield every phrase of the lexicon file with its entry."""
    for name, effect in data["effects"].items():
        yield from ((w, Entry("effect", name)) for w in effect["words"])
    for level in data["intensity"]:
        yield from (
            (w, Entry("intensity", level["place"], level["factor"])) for w in level["words"]
        )
    for way, sign in (("up", 1.0), ("down", -1.0)):
        for name, words in data["directions"][way].items():
            yield from ((w, Entry("direction", name, sign)) for w in words)
    for way, sign in (("more", 1.0), ("less", -1.0)):
        yield from ((w, Entry("compare", "", sign)) for w in data["compare"][way])
    for kind, table in (("noun", data["nouns"]), ("unit", data["units"])):
        for name, words in table.items():
            yield from ((w, Entry(kind, name)) for w in words)
    for value, words in data["numbers"].items():
        yield from ((w, Entry("number", w, float(value))) for w in words)
    for kind, words in data["grammar"].items():
        yield from ((w, Entry(kind)) for w in words)


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Split into words, single Han characters, numbers and marks: (folded text, start, end)."""
    for match in _TOKEN.finditer(text):
        token = unicodedata.normalize("NFKC", match.group()).casefold().replace("’", "'")
        if token in _BREAKS or token in _MARKS or unicodedata.category(token[-1])[0] != "P":
            yield token.replace("−", "-").replace("×", "x"), match.start(), match.end()


def clauses(text: str) -> Iterator[list[Item]]:
    """Match tokens against the lexicon and cut at punctuation."""
    tokens, table = list(_tokens(text)), lexicon().phrases
    items: list[Item] = []
    at = 0
    while at < len(tokens):
        token, start, end = tokens[at]
        length, entry = 1, Entry("unknown")
        for words, candidate in table.get(token, ()):
            if tuple(t for t, _, _ in tokens[at : at + len(words)]) == words:
                length, entry = len(words), candidate
                break
        if token in _BREAKS:
            yield _fold_numbers(_demote_lone_han(items, text))
            items = []
            at += 1
            continue
        if entry.kind in ("unknown", "number"):
            number, used = _number([t for t, _, _ in tokens[at : at + 10]])
            if number is not None and used >= length:
                length, entry = used, number
        items.append(Item(entry, start, tokens[at + length - 1][2]))
        at += length
    yield _fold_numbers(_demote_lone_han(items, text))


def _number(tokens: list[str]) -> tuple[Entry | None, int]:
    """Read digits or a Chinese numeral below 1000 at the head of `tokens`: (entry, tokens used)."""
    if re.fullmatch(r"[+-]?\d{1,9}(\.\d{1,9})?", tokens[0], re.ASCII):
        sign = tokens[0][0] if tokens[0][0] in "+-" else ""
        return Entry("number", sign, float(tokens[0])), 1
    if tokens[:3] == ["百", "分", "之"] and len(tokens) > 3:
        entry, used = _number(tokens[3:])
        return (entry and Entry("quantity", "percent", entry.value)), used + 3 if entry else 0
    total, digit, used = 0.0, None, 0
    for token in tokens:
        if token in _HAN_DIGITS and (digit is None or token == "半"):
            digit = (digit or 0) + _HAN_DIGITS[token]
        elif token == "十" or (token == "百" and used):
            total += (1 if digit is None else digit) * (10 if token == "十" else 100)
            digit = None
        else:
            break
        used += 1
    return (Entry("number", "", total + (digit or 0)), used) if used else (None, 0)


def _demote_lone_han(items: list[Item], text: str) -> list[Item]:
    """Give up one-character Chinese words that touch an unknown character: 大海 is not 大."""
    result: list[Item] = []
    run: list[Item] = []  # neighbours without a gap: unknown characters and one-character words
    for item in [*items, None]:
        if item is not None and _is_lone_han(item, text) and (not run or run[-1].end == item.start):
            run.append(item)
            continue
        if any(i.entry.kind == "unknown" for i in run):
            run = [Item(Entry("unknown"), i.start, i.end) for i in run]
        result += run
        run = []
        if item is not None:
            (run if _is_lone_han(item, text) else result).append(item)
    return result


def _is_lone_han(item: Item, text: str) -> bool:
    return (
        item.end - item.start == 1
        and item.entry.kind not in ("filler", "or", "and")
        and re.match(f"[{_CJK}]", text[item.start]) is not None
    )


def _fold_numbers(items: list[Item]) -> list[Item]:
    """Join a number and its unit into a `quantity`, named by its unit, `+unit` when signed."""
    result: list[Item] = []
    at = 0
    while at < len(items):
        item = items[at]
        after = items[at + 1 : at + 3]
        if item.entry.kind == "number":
            sign = "+" if item.entry.name in ("+", "-") else ""
            words = ("half", "double", "twice", "triple")
            unit, end = ("times" if item.entry.name in words else "plain"), item.end
            step = 1
            if after and after[0].entry.kind == "unit":
                unit, end, step = after[0].entry.name, after[0].end, 2
            elif (
                len(after) == 2
                and after[0].entry.kind == "filler"
                and after[1].entry.kind == "unit"
            ):
                unit, end, step = after[1].entry.name, after[1].end, 3  # "half a semitone"
            entry = Entry("quantity", sign + unit, item.entry.value)
            result.append(Item(entry, item.start, end))
            at += step
        elif item.entry.kind == "unit" and item.entry.name in ("semitones", "octaves"):
            result.append(Item(Entry("quantity", item.entry.name, 1.0), item.start, item.end))
            at += 1  # "an octave higher"
        else:
            result.append(item)
            at += 1
    return result
