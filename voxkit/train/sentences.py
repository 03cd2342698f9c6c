"""Sentences for synthetic training speech: spans of transcripts, prose, templates, word salad."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_FUNCTION_WORDS = (
    "the a of to and in is it for on with as was that this are be by at from he she you we they "
    "his her not but have had will would can what who when where how there here their our my your"
).split()
_NAMES = (
    "Anna Peter Maria John Sarah David Emma Michael Laura James Olivia Robert Helen Thomas Alice "
    "Henry Julia George Martin Sophie Paul Clara Victor Nora Simon Grace Oscar Ruth Felix Irene "
    "London Paris Boston Chicago Berlin Madrid Dublin Texas Canada India Japan Africa Norway"
).split()
_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred thousand million first second third fourth fifth tenth half zero"
).split()
_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_TEMPLATES = (
    "{name} asked {name} for {num} {w}s.",
    "Do you know {name}?",
    "Where is the {w}?",
    "What did {name} say about the {w}?",
    "Yes, {name}.",
    "No, not {day}.",
    "Hello, {name}!",
    "Good morning, {name}, how are you?",
    "Thank you very much.",
    "Yes.",
    "No.",
    "Hello.",
    "Why?",
    "Of course.",
    "Please wait.",
    "{w}.",
    "{name}.",
    "It costs {num} dollars and {num} cents.",
    "On {day}, {month} {num}, {name} arrived in {name}.",
    "The train leaves at {num} {num}.",
    "Call {num} {num} {num}, {num} {num} {num} {num}.",
    "In nineteen {num} {num}, {num} percent of the {w}s were lost.",
    "Chapter {num}: the {w} and the {w}.",
    "She said: {num} {w}s, {num} {w}s, and one {w}.",
    "The temperature was {num} point {num} degrees.",
    "Doctor {name} and Mister {name} live at {num} {name} Street.",
    "Is it {w} or {w}?",
    "If {name} comes on {day}, we will {w}; otherwise, we {w}.",
    "Hello from {name}.",
    "How many {w}s are there in {name}?",
    "Can you {w} the {w}, please?",
)


def read_prose(folders: Iterable[Path], known: Sequence[str] | set[str]) -> list[str]:
    """Collect clean sentences of 4 to 22 words, all of them in `known`, from plain-text files."""
    found: set[str] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix not in {".txt", ".md", ".rst", ".py", ""} or not path.is_file():
                continue
            if path.stat().st_size > 3_000_000:
                continue
            found.update(_clean_sentences(path.read_text(encoding="utf-8", errors="ignore"), known))
    return sorted(found)


def _clean_sentences(text: str, known: Sequence[str] | set[str]) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=[.?!])\s+", " ".join(paragraph.split())):
            if not re.fullmatch(r"[A-Z][A-Za-z',;:?! -]+[.?!]", sentence) or len(sentence) > 160:
                continue
            words = re.findall(r"[a-z']+", sentence.lower())
            if 4 <= len(words) <= 22 and all(w in known for w in words):
                yield sentence


class SentenceSource:
    """Draws sentences: spans of transcripts, prose, templates and random words, in a fixed mix."""

    def __init__(
        self, transcripts: Sequence[str], prose: Sequence[str], words: Sequence[str], seed: int
    ) -> None:
        self._random = random.Random(seed)
        self._transcripts = [t.split() for t in transcripts]
        self._prose = list(prose)
        self._words = list(words)
        common = {w for t in self._transcripts for w in t if w.isalpha()}
        self._common = sorted(common) or self._words

    def draw(self) -> str:
        """Return one sentence of 1 to about 25 words that ends in a mark."""
        kind = self._random.random()
        if kind < 0.40:
            return self._span()
        if kind < 0.60 and self._prose:
            return self._random.choice(self._prose)
        if kind < 0.75:
            return self._template()
        return self._salad()

    def _span(self) -> str:
        if not self._transcripts:
            return self._salad()
        words = self._random.choice(self._transcripts)
        length = min(len(words), 1 + int(self._random.betavariate(1.6, 2.2) * 24))
        start = self._random.randrange(len(words) - length + 1)
        span = list(words[start : start + length])
        if not any(w.endswith((",", ";")) for w in span):
            for i in range(3, len(span) - 2):
                if self._random.random() < 0.10:
                    span[i] += ","
        return self._finish(span)

    def _template(self) -> str:
        text = self._random.choice(_TEMPLATES)
        while match := re.search(r"\{(\w+)\}", text):
            text = text[: match.start()] + self._fill(match[1]) + text[match.end() :]
        return text[0].upper() + text[1:]

    def _fill(self, slot: str) -> str:
        match slot:
            case "name":
                return self._random.choice(_NAMES)
            case "num":
                return " ".join(self._random.choices(_NUMBERS, k=self._random.choice((1, 1, 2))))
            case "day":
                return self._random.choice(_DAYS)
            case "month":
                return self._random.choice(_MONTHS)
            case _:
                return self._random.choice(self._common)

    def _salad(self) -> str:
        span = []
        for _ in range(self._random.randint(2, 14)):
            kind = self._random.random()
            pool = _FUNCTION_WORDS if kind < 0.3 else self._common if kind < 0.6 else self._words
            span.append(self._random.choice(pool) + ("," if self._random.random() < 0.06 else ""))
        return self._finish(span)

    def _finish(self, words: list[str]) -> str:
        text = re.sub(r"[^A-Za-z',;:?! -]", "", " ".join(words)).strip(" ,;:'-.?!")
        mark = self._random.choices(".?!,", weights=(80, 10, 6, 4))[0]
        return (text[:1].upper() + text[1:] or "Yes") + mark
