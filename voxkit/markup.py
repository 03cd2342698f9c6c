"""Markup inside a text: pauses, sounds, emphasis, rate, pitch, loudness, voices, pronunciations.

    [pause:500ms]                  silence
    [breath] [laughter] [sigh] ... a sound, where the model can (EVENTS)
    <strong>word</strong>          emphasis; <laughter>words</laughter> is said while laughing
    [rate:1.2] [pitch:+2] [volume:-3]   up to [/rate] [/pitch] [/volume], or to the end
    [voice:NAME]                   another voice, up to [/voice], the next [voice:...] or the end
    [word](say-it-so)              a respelling, or /ARPAbet/ as in [read](/R EH1 D/)
    \\[ \\] \\< \\> \\\\                 the character itself

A tag is a name in brackets; "[1]" and "[see below]" are text.  Tags that mean nothing are reported
and never spoken, and so is what is nearly a tag: [rate=1.2], [pause 500ms], [sigh deeply], <break
time=500ms>, and [rate:1.2 that nobody closed.  `HONOURED` says what each family of models does with
what.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from voxkit.errors import TextError
from voxkit.pronunciation import Pronunciation, read_pronunciation, word_pattern
from voxkit.style import LIMITS, PLAIN, Manner

# The sounds that CosyVoice 2 and 3 have tokens for; native models are silent there.
EVENTS = (
    "accent",
    "breath",
    "clucking",
    "cough",
    "hissing",
    "laughter",
    "lipsmack",
    "mn",
    "noise",
    "quick_breath",
    "sigh",
    "vocalized-noise",
)
_ALIASES = {"laugh": "laughter", "breathe": "breath", "inhale": "breath"}
MAX_PAUSE_MS = 60_000.0


@dataclass(frozen=True)
class Spoken:
    """Words to say.  `start` and `end` are characters of the source, as in every piece."""

    text: str
    manner: Manner
    said: Pronunciation | None  # what is said in place of the text
    start: int
    end: int


@dataclass(frozen=True)
class Pause:
    """Silence of exactly this length."""

    ms: float
    start: int
    end: int


@dataclass(frozen=True)
class Event:
    """A sound that is no word: one of `EVENTS`."""

    name: str
    manner: Manner
    start: int
    end: int


@dataclass(frozen=True)
class Boundary:
    """An end of a sentence or paragraph, whatever the punctuation (SSML `<s>` and `<p>`)."""

    kind: Literal["sentence", "paragraph"]
    start: int
    end: int


@dataclass(frozen=True)
class Unknown:
    """Markup that has no effect, to be reported."""

    tag: str
    reason: str
    start: int
    end: int


Piece = Spoken | Pause | Event | Boundary | Unknown


@dataclass(frozen=True)
class Honoured:
    """What the families do with one kind of markup: `yes`, `no`, or how it is brought near."""

    markup: str
    native: str
    cosyvoice2: str
    cosyvoice3: str


HONOURED: tuple[Honoured, ...] = (
    Honoured("[pause:500ms] <break>", "yes", "yes", "yes"),
    Honoured("[rate:1.2] <prosody rate>", "yes", "yes", "yes"),
    Honoured("[pitch:+2] <prosody pitch>", "yes", "no", "no"),
    Honoured("[volume:-3] <prosody volume>", "yes", "yes", "yes"),
    Honoured("[voice:NAME] <voice>", "yes", "yes", "yes"),
    Honoured("[word](respelling) <sub>", "yes", "yes", "yes"),
    Honoured("[word](/phones/) <phoneme>", "yes", "said as written", "yes"),
    Honoured("--lexicon FILE", "yes", "respellings only", "yes"),
    Honoured("<say-as>", "yes", "yes", "yes"),
    Honoured("<p> <s>", "yes", "yes", "yes"),
    Honoured("<strong>", "slower and louder", "yes", "yes"),
    Honoured('<emphasis level="moderate">', *["slower and louder"] * 3),
    Honoured("<laughter>", "no", "yes", "yes"),
    Honoured("[breath] [laughter] [sigh] [cough] ...", "no", "yes", "yes"),
)

_SCOPED = {"rate": "rate", "pitch": "pitch_st", "volume": "energy_db", "voice": "voice"}
_EXAMPLES = {"pause": "500ms", "break": "500ms"}
_EXAMPLES |= {"rate": "1.2", "pitch": "+2", "volume": "-3", "voice": "ann"}
# Longest first, so that no name hides another that goes on.
_NAMES = "|".join(sorted((*EVENTS, *_ALIASES, *_EXAMPLES), key=len, reverse=True))
_ELEMENTS = "break|prosody|emphasis|say-as|sub|phoneme|voice|speak|strong|laughter"
_SSML = frozenset("speak p s break prosody emphasis say-as sub phoneme voice".split())
# What ordinary text does not hold: a known name and what belongs to a tag.  The ends of the last
# two are such that a text which arrives in pieces is read alike wherever it is cut.
_NEARLY = rf"""\[(?i:
      (?:{_NAMES})\s*[:=][^\[\]\n]*\]
    | (?:{_NAMES})[+-]?\.?\d[^\[\]\n]*\]
    | /(?:{_NAMES})(?![\w-])[^\[\]\n]*\]
    | (?:pause|break)\s+\+?[\d.]*\d\s*(?:m?s|m?secs?|(?:milli)?seconds?|min|minutes?)?\s*\]
    | (?:rate|pitch)\s+[+-]?[\d.]*\d\s*(?:%|x|st)?\s*\]
    | volume\s+[+-][\d.]*\d\s*(?:db|%)?\s*\]
    | (?:{"|".join((*EVENTS, *_ALIASES))})\s+[a-z]+ly\s*\]
    | /?(?:{_NAMES})[:=][^\s\[\]]*+(?![^\[\]\n]*\])
    | /?(?:{_NAMES})(?=[ \t]*(?:\[|\Z)))"""
_MARK = re.compile(
    rf"""(?P<escape>\\[\[\]<>\\])
    | \[(?P<close>/?)(?P<name>[^\W\d_][\w-]*)(?::(?P<value>[^\[\]\n]*))?\]
    | \[(?P<words>[^\[\]\\\n]+)\](?=\()
    | (?P<nearly>{_NEARLY})
    | <(?P<end>/?)(?P<element>[A-Za-z][\w-]*)(?:\s+[\w:-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'))*\s*/?>
    | (?P<loose></?(?i:(?:{_ELEMENTS})\s+[\w:-]+\s*=|break\s*[\d.])[^<>\n]*>)
    | (?P<control><\|[^<>|\n]*\|>)""",
    re.VERBOSE,
)
_SAID = re.compile(r"\(([^()\n]*)\)")
_LINK = re.compile(r"(?i)(?:[a-z][a-z\d+.-]*://|www\.|mailto:|#|\.{0,2}/)")
_SPANS = {"strong": ("emphasis", "strong"), "laughter": ("laughing", True)}


Scopes = dict[str, list[Any]]  # field of Manner → values, the innermost last


def parse(text: str, scopes: Scopes | None = None) -> tuple[Piece, ...]:
    """Split a text at its markup.  Never fails: what cannot be read becomes an `Unknown` piece.

    Tags that are left open are kept in `scopes`, from where the next part of a text goes on.
    """
    return _Inline(text, {} if scopes is None else scopes).read()


def spoken_text(pieces: Iterable[Piece]) -> str:
    """Join the words of all pieces: the text without its markup."""
    return "".join(piece.text for piece in pieces if isinstance(piece, Spoken))


def problems(pieces: Iterable[Piece]) -> tuple[str, ...]:
    """Return one sentence for each piece of markup that has no effect."""
    found = [piece for piece in pieces if isinstance(piece, Unknown)]
    return tuple(f"{p.tag[:60]} is not spoken and has no effect: {p.reason}." for p in found)


def pronounce(pieces: Iterable[Piece], lexicon: Mapping[str, Pronunciation]) -> tuple[Piece, ...]:
    """Give the words of a lexicon their pronunciation, where the text does not say otherwise."""
    pattern, result = word_pattern(lexicon), list[Piece]()
    folded = {word.casefold(): said for word, said in lexicon.items()} | dict(lexicon)
    for piece in pieces:
        if not isinstance(piece, Spoken) or piece.said is not None:
            result.append(piece)
            continue
        exact = piece.end - piece.start == len(piece.text)  # no escapes: offsets can be told apart
        at = 0
        for match in pattern.finditer(piece.text):
            result += _slice(piece, at, match.start(), None, exact)
            said = folded.get(match.group()) or folded.get(match.group().casefold())
            result += _slice(piece, match.start(), match.end(), said, exact)
            at = match.end()
        result += _slice(piece, at, len(piece.text), None, exact) if at else [piece]
    return tuple(result)


def _slice(
    piece: Spoken, start: int, end: int, said: Pronunciation | None, exact: bool
) -> list[Piece]:
    if start == end:
        return []
    first, last = (piece.start + start, piece.start + end) if exact else (piece.start, piece.end)
    return [
        dataclasses.replace(piece, text=piece.text[start:end], said=said, start=first, end=last)
    ]


class _Inline:
    """One pass over a text with inline markup."""

    def __init__(self, text: str, scopes: Scopes) -> None:
        self.text, self.scopes = text, scopes
        self.pieces: list[Piece] = []
        self.buffer: list[str] = []
        self.begin = 0  # where the buffered words start

    def read(self) -> tuple[Piece, ...]:
        at = 0
        while match := _MARK.search(self.text, at):
            self._words(at, match.start())
            at = match.end()
            if match["escape"]:
                self._begin(match.start())
                self.buffer.append(match["escape"][1])
            elif match["words"] is not None or self._is_plain_name(match):
                at = self._said(match)
            elif match["nearly"]:
                self._unknown(match, f"write it as in {_example(match['nearly'])}")
            elif match["loose"]:
                self._unknown(match, _no_tag(match.group()))
            elif match["control"]:
                self._unknown(match, "such marks are for models, not for texts")
            elif match["element"]:
                self._element(match)
            else:
                self._tag(match)
        self._words(at, len(self.text))
        self._flush(len(self.text))
        return tuple(self.pieces)

    def _is_plain_name(self, match: re.Match[str]) -> bool:
        """Tell `[word](so)` from `[breath](text)`: only names that are no tags are pronounced."""
        return bool(
            match["name"]
            and not match["close"]
            and self.text.startswith("(", match.end())
            and match["name"].lower() not in (*EVENTS, *_ALIASES, "pause", *_SCOPED)
        )

    def _manner(self) -> Manner:
        return Manner(**{field: values[-1] for field, values in self.scopes.items() if values})

    def _begin(self, at: int) -> None:
        if not self.buffer:
            self.begin = at

    def _words(self, start: int, end: int) -> None:
        if start < end:
            self._begin(start)
            self.buffer.append(self.text[start:end])

    def _flush(self, end: int) -> None:
        if self.buffer:
            words = "".join(self.buffer)
            self.pieces.append(Spoken(words, self._manner(), None, self.begin, end))
            self.buffer = []

    def _unknown(self, match: re.Match[str], reason: str) -> None:
        self._flush(match.start())
        self.pieces.append(Unknown(match.group(), reason, match.start(), match.end()))

    def _said(self, match: re.Match[str]) -> int:
        """Read `[word](say-it-so)` and return where the text goes on."""
        so = _SAID.match(self.text, match.end())
        words = match.group()[1:-1]
        if so is None or not any(c.isalnum() for c in words):  # no pronunciation of anything
            if match["words"] is None:
                self._tag(match)
            else:
                self._words(match.start(), match.end())
            return match.end()
        self._flush(match.start())
        said, reason = None, ""
        if _LINK.match(so[1]) and not (so[1].startswith("/") and so[1].rstrip().endswith("/")):
            reason = "it is a link, so only its text is spoken"
        else:
            try:
                said = read_pronunciation(so[1])
            except TextError as error:
                reason = str(error).rstrip(".")
        end = so.end() if said else match.end()
        self.pieces.append(Spoken(words, self._manner(), said, match.start(), end))
        if said is None:
            self.pieces.append(Unknown(so.group(), reason, so.start(), so.end()))
        return so.end()

    def _tag(self, match: re.Match[str]) -> None:
        name, value = match["name"].lower(), match["value"]
        name = _ALIASES.get(name, name)
        if name in _SCOPED:
            self._scope(match, name, value)
        elif match["close"]:
            self._unknown(match, "it closes nothing")
        elif name == "pause":
            ms = duration_ms(value or "")
            if ms is None:
                self._unknown(match, "write a length up to 60 s, as in [pause:500ms]")
            else:
                self._flush(match.start())
                self.pieces.append(Pause(ms, match.start(), match.end()))
        elif name in EVENTS and value is None:
            self._flush(match.start())
            self.pieces.append(Event(name, self._manner(), match.start(), match.end()))
        else:
            self._unknown(match, "voxkit knows no such tag; write \\[ for a bracket that is text")

    def _scope(self, match: re.Match[str], name: str, value: str | None) -> None:
        values = self.scopes.setdefault(_SCOPED[name], [])
        if match["close"]:
            if not values or value is not None:
                self._unknown(match, "it closes nothing")
                return
            self._flush(match.start())
            values.pop()
            return
        read = {"rate": rate, "pitch": pitch_st, "volume": energy_db, "voice": _voice}[name]
        number = read(value or "")
        if number is None:
            low_high = LIMITS.get(_SCOPED[name])
            within = f", between {low_high[0]:g} and {low_high[1]:g}" if low_high else ""
            self._unknown(match, f"write it as in [{name}:{_EXAMPLES[name]}]{within}")
            if name != "voice":  # what closes it is no second mistake
                values.append(values[-1] if values else getattr(PLAIN, _SCOPED[name]))
            return
        self._flush(match.start())
        if name == "voice":  # a new speaker takes over from the last, as in a dialogue
            values.clear()
        values.append(number)

    def _element(self, match: re.Match[str]) -> None:
        name = match["element"].lower()
        if name not in _SPANS or match.group() not in (
            f"<{match['element']}>",
            f"</{match['element']}>",
        ):
            self._unknown(match, _no_tag(match.group()))
            return
        field, value = _SPANS[name]
        values = self.scopes.setdefault(field, [])
        if match["end"] and not values:
            self._unknown(match, "it closes nothing")
            return
        self._flush(match.start())
        if match["end"]:
            values.pop()
        else:
            values.append(value)


def _example(near: str) -> str:
    """Return how a tag is written that was nearly one."""
    name = re.match(_NAMES, near.lstrip("[/").lower())
    assert name is not None  # by the pattern that found it
    known = "pause" if name[0] == "break" else _ALIASES.get(name[0], name[0])
    if near.startswith("[/"):
        return f"[/{known}]"
    return f"[{known}:{_EXAMPLES[known]}]" if known in _EXAMPLES else f"[{known}]"


def _no_tag(element: str) -> str:
    """Say why something in pointed brackets has no effect."""
    name = re.match(r"</?([\w-]+)", element)
    if name and name[1].lower() in _SSML:
        return "it is SSML, which --ssml reads; write \\< for a sign that is text"
    return "voxkit knows no such tag; write \\< for a sign that is text"


def duration_ms(text: str) -> float | None:
    """Read `500ms` or `1.5s`, up to a minute."""
    match = re.fullmatch(
        r"\s*\+?(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})\s*(ms|s)\s*", text, re.ASCII | re.I
    )
    if match is None:
        return None
    ms = float(match[1]) * (1000.0 if match[2].lower() == "s" else 1.0)
    return ms if ms <= MAX_PAUSE_MS else None


def rate(text: str) -> float | None:
    """Read a factor: `1.2`, `120%`, or `+20%` of the usual rate."""
    return _within("rate", _ratio(text))


def pitch_st(text: str) -> float | None:
    """Read a change of pitch: `+2`, `-1.5st` or `+10%`, in semitones."""
    number, unit = _number(text)
    if unit == "%":
        ratio = _ratio(text) if text.strip()[0] in "+-" else None
        number = 12 * math.log2(ratio) if ratio is not None and ratio > 0 else None
    return _within("pitch_st", number) if unit in ("", "st", "%") else None


def energy_db(text: str) -> float | None:
    """Read a change of loudness in decibels: `-3` or `+6dB`."""
    number, unit = _number(text)
    return _within("energy_db", number) if unit in ("", "db") else None


def _voice(text: str) -> str | None:
    """Read the name of a voice in the library; a text opens no files."""
    name = text.strip()
    return name if name and is_library_name(name) else None


def is_library_name(name: str) -> bool:
    """Tell a name from the path of a file."""
    return not re.search(r"[/\\]|\.safetensors$", name)


def _number(text: str) -> tuple[float | None, str]:
    """Read a number and the unit behind it: (None, "?") if there is none."""
    match = re.fullmatch(
        r"\s*([+-]?(?:\d{1,6}(?:\.\d{1,6})?|\.\d{1,6}))\s*([a-z%]*)\s*", text, re.ASCII | re.I
    )
    return (float(match[1]), match[2].lower()) if match else (None, "?")


def _ratio(text: str) -> float | None:
    number, unit = _number(text)
    if number is None or unit not in ("", "x", "%"):
        return None
    signed = text.strip()[0] in "+-"
    if unit == "%":
        return 1 + number / 100 if signed else number / 100
    return None if signed else number


def _within(name: str, value: float | None) -> float | None:
    low, high = LIMITS[name]
    return value if value is not None and low <= value <= high else None
