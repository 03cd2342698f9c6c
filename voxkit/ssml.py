"""Reads a subset of SSML 1.1 into the same pieces as inline markup; mistakes name line and column.

Honoured: speak, p, s, break, prosody (rate, pitch, volume), emphasis, say-as, sub, phoneme
(ARPAbet), voice (name).  Anything else is an error, document types and own entities included.
"""

from __future__ import annotations

import dataclasses
import re
import xml.parsers.expat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from voxkit.errors import TextError
from voxkit.markup import (
    Boundary,
    Pause,
    Piece,
    Spoken,
    duration_ms,
    energy_db,
    is_library_name,
    pitch_st,
    rate,
)
from voxkit.pronunciation import Pronunciation, read_pronunciation
from voxkit.style import PLAIN, Emphasis, Manner, clip

# What the labels of SSML mean, on the scale of the instruction layer (slow is rate 0.80).
RATES = {"x-slow": 0.64, "slow": 0.8, "medium": 1.0, "fast": 1.25, "x-fast": 1.56, "default": 1.0}
PITCHES = {"x-low": -4.0, "low": -2.0, "medium": 0.0, "high": 2.0, "x-high": 4.0, "default": 0.0}
VOLUMES = {
    "x-soft": -12.0,
    "soft": -6.0,
    "medium": 0.0,
    "loud": 6.0,
    "x-loud": 12.0,
    "default": 0.0,
}
BREAKS_MS = {
    "none": 0.0,
    "x-weak": 100.0,
    "weak": 200.0,
    "medium": 400.0,
    "strong": 700.0,
    "x-strong": 1200.0,
}
_LEVELS: Mapping[str, Emphasis] = {
    "strong": "strong",
    "moderate": "moderate",
    "reduced": "reduced",
    "none": "none",
}
_ALPHABETS = ("arpabet", "x-arpabet", "cmu-arpabet")

# Elements: the attributes they must have, and those they may have.
_ELEMENTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "speak": (
        (),
        ("version", "xmlns", "xml:lang", "xml:base", "xmlns:xsi", "xsi:schemaLocation"),
    ),
    "p": ((), ("xml:id",)),
    "s": ((), ("xml:id",)),
    "break": ((), ("time", "strength")),
    "prosody": ((), ("rate", "pitch", "volume")),
    "emphasis": ((), ("level",)),
    "say-as": (("interpret-as",), ("format",)),
    "sub": (("alias",), ()),
    "phoneme": (("ph",), ("alphabet",)),
    "voice": (("name",), ()),
}
_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_WORDS_ONLY = ("say-as", "sub", "phoneme")  # no element may stand inside these


@dataclass
class _Open:
    """An element that has not ended yet."""

    name: str
    before: Manner
    attributes: Mapping[str, str]
    line: int
    column: int
    words: list[str]  # of an element that holds words only
    start: int


def parse_ssml(text: str) -> tuple[Piece, ...]:
    """Split an SSML document into pieces.  Raises `TextError` with the line and column."""
    return _Ssml(text).read()


class _Ssml:
    """One pass of the XML parser over a document."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pieces: list[Piece] = []
        self.manner = PLAIN
        self.open: list[_Open] = []
        self.words: list[str] = []
        self.words_at = 0
        self.bytes_seen = self.chars_seen = 0
        self.parser = xml.parsers.expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def read(self) -> tuple[Piece, ...]:
        try:
            self.data = self.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TextError(f"The text holds half a character (position {error.start}).") from None
        try:
            self.parser.Parse(self.text, True)
        except xml.parsers.expat.ExpatError as error:
            what = xml.parsers.expat.ErrorString(error.code)
            self._fail(f"this is not well-formed XML ({what})", error.lineno, error.offset)
        return tuple(self.pieces)

    def _fail(self, why: str, line: int | None = None, column: int | None = None) -> NoReturn:
        line = self.parser.CurrentLineNumber if line is None else line
        column = self.parser.CurrentColumnNumber if column is None else column
        raise TextError(f"SSML, line {line}, column {column + 1}: {why}.")

    def _doctype(self, *_: object) -> None:
        self._fail("a document type is not allowed: remove <!DOCTYPE ...>")

    def _here(self) -> int:
        """The character of the source that the parser has reached."""
        at = max(self.parser.CurrentByteIndex, self.bytes_seen)
        self.chars_seen += len(self.data[self.bytes_seen : at].decode("utf-8"))
        self.bytes_seen = at
        return self.chars_seen

    def _flush(self, end: int) -> None:
        if self.words:
            words = "".join(self.words)
            self.pieces.append(Spoken(words, self.manner, None, self.words_at, end))
            self.words = []

    def _text(self, words: str) -> None:
        if self.open and self.open[-1].name in _WORDS_ONLY:
            self.open[-1].words.append(words)
        elif self.open and self.open[-1].name == "break" and words.strip():
            self._fail("<break> must be empty")
        elif words:
            if not self.words:
                self.words_at = self._here()
            self.words.append(words)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        here = self._here()
        self._check(name, attributes)
        self._flush(here)
        line, column = self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber
        self.open.append(_Open(name, self.manner, attributes, line, column, [], here))
        change: Callable[[Mapping[str, str]], Manner] | None = {
            "prosody": self._prosody,
            "emphasis": self._emphasis,
            "voice": self._voice,
        }.get(name)
        if change is not None:
            self.manner = change(attributes)
        elif name == "phoneme" and attributes.get("alphabet", "arpabet") not in _ALPHABETS:
            self._fail(f"phoneme alphabet must be one of {', '.join(_ALPHABETS)}")
        elif name in ("p", "s"):
            self._boundary(name, here)

    def _end(self, name: str) -> None:
        element, here = self.open.pop(), self._here()
        self._flush(here)
        if name == "break":
            ms = self._break_ms(element)
            if ms > 0:
                self.pieces.append(Pause(ms, element.start, here))
        elif name in _WORDS_ONLY:
            words = "".join(element.words)
            said = self._said(element, words)
            self.pieces.append(Spoken(words, element.before, said, element.start, here))
        elif name in ("p", "s"):
            self._boundary(name, here)
        self.manner = element.before

    def _check(self, name: str, attributes: Mapping[str, str]) -> None:
        """Refuse elements and attributes outside the subset, and elements in wrong places."""
        if name not in _ELEMENTS:
            self._fail(f"<{name}> is not supported: use {', '.join(_ELEMENTS)}")
        if (name == "speak") != (not self.open):
            self._fail("<speak> must hold everything else" if self.open else "begin with <speak>")
        if self.open and self.open[-1].name in (*_WORDS_ONLY, "break"):
            self._fail(f"<{name}> may not stand inside <{self.open[-1].name}>")
        if self.open and (name, self.open[-1].name) in (("p", "s"), ("p", "p"), ("s", "s")):
            self._fail(f"<{name}> may not stand inside <{self.open[-1].name}>")
        needed, welcome = _ELEMENTS[name]
        for attribute in needed:
            if not attributes.get(attribute, "").strip():
                self._fail(f"<{name}> needs {attribute}=...")
        for attribute in attributes:
            if attribute not in (*needed, *welcome):
                self._fail(f"<{name}> has no attribute {attribute} that voxkit supports")

    def _boundary(self, name: str, here: int) -> None:
        kind: Literal["sentence", "paragraph"] = "paragraph" if name == "p" else "sentence"
        spaces = 0  # trailing pieces of mere spacing
        while spaces < len(self.pieces) and _blank(self.pieces[-1 - spaces]):
            spaces += 1
        last = self.pieces[-1 - spaces] if spaces < len(self.pieces) else None
        if isinstance(last, Boundary):
            if kind == "paragraph":
                self.pieces[-1 - spaces] = dataclasses.replace(last, kind=kind)
        elif last is not None:
            self.pieces.append(Boundary(kind, here, here))

    def _prosody(self, attributes: Mapping[str, str]) -> Manner:
        """Rate counts from the default, pitch and volume from what surrounds them (SSML 3.2.4)."""
        if not attributes:
            self._fail("<prosody> needs rate, pitch or volume")
        manner = self.manner
        if "rate" in attributes:
            value = attributes["rate"].strip().lower()
            factor = RATES.get(value) or rate(value)
            if factor is None:
                self._fail("rate must be a label such as slow, or a share such as 120%")
            manner = dataclasses.replace(manner, rate=factor)
        if "pitch" in attributes:
            value = attributes["pitch"].strip().lower()
            change = PITCHES[value] if value in PITCHES else pitch_st(value)
            if change is None:
                self._fail("pitch must be a label such as high, or a change such as +2st or -10%")
            manner = dataclasses.replace(
                manner, pitch_st=clip("pitch_st", manner.pitch_st + change)
            )
        if "volume" in attributes:
            value = attributes["volume"].strip().lower()
            change = VOLUMES[value] if value in VOLUMES else energy_db(value)
            if change is None or value.replace(".", "").isdigit():
                self._fail("volume must be a label such as loud, or a change such as +6dB")
            louder = clip("energy_db", manner.energy_db + change)
            manner = dataclasses.replace(manner, energy_db=louder)
        return manner

    def _emphasis(self, attributes: Mapping[str, str]) -> Manner:
        level = _LEVELS.get(attributes.get("level", "moderate"))
        if level is None:
            self._fail(f"emphasis level must be one of {', '.join(_LEVELS)}")
        return dataclasses.replace(self.manner, emphasis=level)

    def _voice(self, attributes: Mapping[str, str]) -> Manner:
        name = attributes["name"].strip()
        if not is_library_name(name):
            self._fail("voice name must be that of a voice in the library")
        return dataclasses.replace(self.manner, voice=name)

    def _break_ms(self, element: _Open) -> float:
        strength = element.attributes.get("strength", "medium")
        if strength not in BREAKS_MS:
            labels = ", ".join(BREAKS_MS)
            self._fail(f"break strength must be one of {labels}", element.line, element.column)
        if "time" not in element.attributes:
            return BREAKS_MS[strength]
        ms = duration_ms(element.attributes["time"])
        if ms is None:
            why = "break time must be a length up to 60s, such as 500ms or 1.5s"
            self._fail(why, element.line, element.column)
        return ms

    def _said(self, element: _Open, words: str) -> Pronunciation | None:
        """What is spoken in place of the words of a say-as, sub or phoneme element."""
        try:
            if element.name == "sub":
                return Pronunciation("respelling", element.attributes["alias"].strip())
            if element.name == "phoneme":
                return read_pronunciation(f"/{element.attributes['ph'].strip().strip('/')}/")
            kind = element.attributes["interpret-as"].strip().lower()
            spelling = say_as(words, kind, element.attributes.get("format", "").strip().lower())
        except TextError as error:
            self._fail(str(error).rstrip("."), element.line, element.column)
        return None if spelling == words else Pronunciation("respelling", spelling)


def _blank(piece: Piece) -> bool:
    return isinstance(piece, Spoken) and piece.said is None and not piece.text.strip()


def say_as(words: str, kind: str, layout: str = "") -> str:
    """Spell out `words` so that the usual reading is the one meant.  Raises `TextError`.

    Numbers, times and amounts are read well as they stand and stay; the rest becomes plain text.
    """
    text = " ".join(words.split())
    match kind:
        case "characters" | "spell-out" | "verbatim":
            return " ".join(c.upper() for c in text if not c.isspace())
        case "digits":
            return " ".join(re.sub(r"\D", "", text)) or _refuse(text, "digits")
        case "telephone":
            groups = re.findall(r"\d+", text)
            plus = "plus " if text.startswith("+") else ""
            return (
                (plus + ", ".join(" ".join(g) for g in groups)) if groups else _refuse(text, kind)
            )
        case "cardinal" | "number":
            plain = text.replace(",", "")
            if not re.fullmatch(r"[+-]?\d{1,30}(\.\d+)?", plain, re.ASCII):
                return _refuse(text, "a number")
            whole, dot, rest = plain.lstrip("+-").partition(".")
            grouped = f"{int(whole):,}"  # so that 1999 is not read as a year
            return f"{'-' * plain.startswith('-')}{grouped}{dot}{rest}"
        case "ordinal":
            if not re.fullmatch(r"\d{1,30}(?:st|nd|rd|th)?", text, re.ASCII):
                return _refuse(text, "a whole number")
            number = int(text.rstrip("stndrh"))
            teen = 10 <= number % 100 <= 20
            return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
        case "date":
            return _date(text, layout or "mdy")
        case "time" | "currency" | "unit" | "fraction" | "address" | "name":
            return words
        case _:
            raise TextError(
                "say-as interpret-as must be characters, digits, telephone, cardinal, ordinal, "
                "date, time, currency, unit or fraction."
            )


def _refuse(text: str, wanted: str) -> NoReturn:
    raise TextError(f"{text[:40]!r} cannot be read as {wanted}.")


def _date(text: str, layout: str) -> str:
    """Read a date of numbers in the order of `layout`, a choice of y, m and d."""
    numbers = re.split(r"[/.\- ]", text)
    if not re.fullmatch(r"[ymd]{1,3}", layout) or len(set(layout)) != len(layout):
        raise TextError(f"date format must be made of d, m and y, not {layout!r}.")
    if len(numbers) != len(layout) or not all(re.fullmatch(r"\d{1,4}", n) for n in numbers):
        raise TextError(f"{text[:40]!r} is not a date of the form {'/'.join(layout)}.")
    found = {part: int(number) for part, number in zip(layout, numbers, strict=True)}
    month, day, year = found.get("m"), found.get("d"), found.get("y")
    if month is not None and not 1 <= month <= 12:
        raise TextError(f"{text[:40]!r} has no month {month}: is the format not {layout}?")
    if day is not None and not 1 <= day <= 31:
        raise TextError(f"{text[:40]!r} has no day {day}: is the format not {layout}?")
    parts = [_MONTHS[month - 1] if month else "", str(day) if day else ""]
    front = " ".join(part for part in parts if part)
    if year is None:
        return front
    return f"{front}, {year}" if front else str(year)
