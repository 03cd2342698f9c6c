"""How a word is to be said: as phones or as another spelling, from markup or a `--lexicon` file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from voxkit.errors import TextError
from voxkit.phonemes import CONSONANTS, VOWELS
from voxkit.typography import is_control

_STRESSED = re.compile(rf"(?:{'|'.join(VOWELS)})[012]")
_PLAIN = frozenset((*CONSONANTS, *VOWELS))


@dataclass(frozen=True)
class Pronunciation:
    """What is said in place of what is written."""

    kind: Literal["phones", "respelling"]
    value: str  # phones: ARPAbet separated by spaces, every vowel with its stress

    @property
    def phones(self) -> tuple[str, ...]:
        """The phones, or nothing for a respelling."""
        return tuple(self.value.split()) if self.kind == "phones" else ()


def read_pronunciation(text: str) -> Pronunciation:
    """Read `/HH AH0 L OW1/` as phones and anything else as a respelling.  Raises `TextError`."""
    text = text.strip()
    if not text.strip("/ "):
        raise TextError("A pronunciation must not be empty: write a respelling or /phones/.")
    if len(text) > 1 and text[0] == text[-1] == "/":
        return Pronunciation("phones", _phones(text[1:-1]))
    return Pronunciation("respelling", text)


def read_lexicon(path: Path) -> dict[str, Pronunciation]:
    """Read a file of `word TAB pronunciation` lines; empty lines and lines with # are comments.

    A pronunciation is a respelling, `/phones/`, or bare ARPAbet with a stress, as in CMUdict.
    Raises `TextError` with the line number of what cannot be read, a word given twice included.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"The lexicon {path} is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise TextError(f"The lexicon {path} cannot be read: {error.strerror or error}.") from None
    found: dict[str, Pronunciation] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{path}, line {number}:"
        word, tab, said = line.partition("\t")
        word = unicodedata.normalize("NFC", word.strip())
        if any(map(is_control, line)):
            raise TextError(f"{where} it holds control characters.")
        if not tab or not word or "\t" in said.strip():
            raise TextError(f"{where} write a word, one tab and its pronunciation.")
        if not any(c.isalnum() for c in word):
            raise TextError(f"{where} {word!r} is not a word: it has no letter or digit.")
        if word in found:
            raise TextError(f"{where} {word!r} was already given in line {lines[word]}.")
        try:
            if _bare_phones(said):
                said = f"/{said.strip()}/"
            found[word], lines[word] = read_pronunciation(said), number
        except TextError as error:
            raise TextError(f"{where} {error}") from None
    return found


def word_pattern(lexicon: Mapping[str, Pronunciation]) -> re.Pattern[str]:
    """Compile a pattern that finds the words of a lexicon, longest first, whole words only."""
    parts = []
    for word in sorted(lexicon, key=lambda w: (-len(w), w)):
        left = r"(?<!\w)" if _joins(word[0]) else ""
        right = r"(?!\w)" if _joins(word[-1]) else ""
        parts.append(left + re.escape(word) + right)
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)


def _joins(character: str) -> bool:
    """Say whether letters beside this one belong to its word; Chinese and kana have no spaces."""
    return bool(re.match(r"\w", character)) and not "\u3040" <= character <= "\u9fff"


def _bare_phones(text: str) -> bool:
    """Recognise ARPAbet without slashes: only phones, and a stress among them."""
    symbols = text.split()
    return any(_STRESSED.fullmatch(s) for s in symbols) and all(
        s in _PLAIN or _STRESSED.fullmatch(s) for s in symbols
    )


def _phones(text: str) -> str:
    """Check ARPAbet and give every vowel a stress: the first vowel, where none is marked."""
    symbols = text.upper().split()
    marked = any(_STRESSED.fullmatch(symbol) for symbol in symbols)
    result: list[str] = []
    for symbol in symbols:
        if symbol in VOWELS:
            result.append(symbol + ("0" if marked else "1"))
            marked = True
        elif symbol in CONSONANTS or _STRESSED.fullmatch(symbol):
            result.append(symbol)
        else:
            raise TextError(f"{symbol!r} is not an ARPAbet phone: write as in /HH AH0 L OW1/.")
    return " ".join(result)
