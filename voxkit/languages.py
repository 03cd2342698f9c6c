"""Tells which language each stretch of a mixed text is in: Chinese, Japanese, Korean, English."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import Literal

Language = Literal["zh", "ja", "ko", "en", "other"]

HAN = "\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
HANGUL = "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"
LATIN = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff"
CYRILLIC = "\u0400-\u052f"

_HAN, _KANA, _HANGUL = re.compile(f"[{HAN}]"), re.compile(f"[{KANA}]"), re.compile(f"[{HANGUL}]")
_WORD = re.compile(f"[{LATIN}](?:[{LATIN}'\u0300-\u036f-]*[{LATIN}])?")
_CYRILLIC = re.compile(f"[{CYRILLIC}]")
_QUOTED = re.compile('「[^「」]*」|『[^『』]*』|“[^“”]*”|"[^"]*"|《[^《》]*》')
# Written all the time in Chinese, with traditional characters too, and never or hardly in Japanese.
_CHINESE_WORDS = frozenset("你她它们這們嗎呢吧啊啦喔哪很沒麼說誰給吗么没说谁给这")
# A clause ends at these; a comma, a colon or a full stop inside a figure ends nothing.
_CLAUSE = re.compile(
    r"(?:[,:](?![0-9/])|(?<![0-9])[,:](?!//)|[;!?](?![A-Za-z0-9=])"
    r"|[。、…()\[\]{}“”\"「」『』《》〈〉【】—\n])+ *"
)
# English inside a clause of another language: at least three words, two of them in small letters.
_ISLAND = re.compile(rf"[{LATIN}0-9$£€][^{HAN}{KANA}{HANGUL}]*")
_ISLAND_WORDS, _ISLAND_SMALL = 3, 2
_SMALL_WORD = re.compile(r"(?<![\w/.@-])[a-z]{2,}(?![\w/@-]|\.\w)")  # no unit and no address

_ENGLISH = frozenset(
    "the a an and of to in is are was were be i you he she it we they my your his her that this "
    "with for on at by from have has had not do does did will would can what who how".split()
)
# Small words of the other Latin languages that models are trained on, and not of English.
_FOREIGN = frozenset(
    "der die das und ist ich nicht ein eine einen mit für auf von zu haben habe sind wir sie es "
    "im den dem des auch wie bei nach über le la les un une et est je il elle nous vous j'ai "
    "c'est que qui dans pour avec sur pas ce cette sont du au el los las una en por para con su "
    "se del como más pero muy yo lo gli di che non per sono della più anche os um uma não dos "
    "mais het een van niet ik zijn och att det som är på".split()
)


@dataclass(frozen=True)
class Stretch:
    """Part of a text in one language."""

    text: str
    language: Language


@dataclass(frozen=True)
class _Tally:
    han: int
    kana: int
    hangul: int
    words: int
    chinese: int  # of `han`, those that only Chinese has
    japanese: int  # of `han`, those that only Japanese has

    @property
    def eastern(self) -> int:
        return self.han + self.kana + self.hangul


def _tally(text: str) -> _Tally:
    han = [_han_of(c) for c in _HAN.findall(text)]
    return _Tally(
        han=len(han),
        kana=len(_KANA.findall(text)),
        hangul=len(_HANGUL.findall(text)),
        words=len(_WORD.findall(text)),
        chinese=han.count("zh"),
        japanese=han.count("ja"),
    )


@functools.cache
def _han_of(c: str) -> str | None:
    """Tell whose character it is from the national character sets; None for a shared one."""
    if c in _CHINESE_WORDS:
        return "zh"
    if not _in_set(c, "shift_jis"):
        return "zh"
    return None if _in_set(c, "gb2312") or _in_set(c, "big5") else "ja"


def _in_set(c: str, encoding: str) -> bool:
    try:
        c.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def main_language(text: str, home: Language | None = None) -> Language | None:
    """Return the language that most of a text is in, or `home` where the text cannot tell.

    Characters that Chinese and Japanese share are of the language `home` if it writes them.
    """
    tally = _tally(text)
    if tally.eastern == 0:
        return _latin_language(text) or home
    if tally.words > tally.eastern:
        return _latin_language(text)
    unquoted = _tally(_QUOTED.sub("", text))
    return _eastern_language(unquoted if unquoted.eastern else tally, home)


def writing(sentence: str, home: Language | None) -> Language | None:
    """Return the language whose marks a sentence is written with; Latin words weigh half."""
    tally = _tally(sentence)
    if tally.eastern == 0 and tally.words == 0:
        return home
    if tally.eastern * 2 < tally.words:
        return _latin_language(sentence)
    return _eastern_language(tally, home)


def _eastern_language(tally: _Tally, home: Language | None) -> Language:
    if tally.hangul >= tally.han + tally.kana:
        return "ko"
    if tally.kana and tally.chinese * 3 < tally.kana:
        return "ja"
    if tally.chinese != tally.japanese:
        return "zh" if tally.chinese > tally.japanese else "ja"
    return home if home in ("ja", "ko") else "zh"


def stretches(sentence: str, home: Language | None) -> list[Stretch]:
    """Cut a sentence where its language changes; figures are of the language around them."""
    main = main_language(sentence, home) or "en"
    found: list[Stretch] = []
    for clause in _clauses(sentence):
        language = _clause_language(clause, main, found[-1].language if found else main)
        for piece in _islands(clause, language):
            if found and found[-1].language == piece.language:
                piece = Stretch(found.pop().text + piece.text, piece.language)
            found.append(piece)
    return found


def _clauses(sentence: str) -> list[str]:
    ends = [0, *(m.end() for m in _CLAUSE.finditer(sentence)), len(sentence)]
    return [sentence[a:b] for a, b in itertools.pairwise(ends) if a < b]


def _clause_language(clause: str, main: Language, before: Language) -> Language:
    tally = _tally(clause)
    if tally.eastern:
        return _eastern_language(tally, main)
    if tally.words == 0:
        return main if _CYRILLIC.search(clause) is None else "other"
    if main in ("en", "other"):
        return _latin_language(clause) or main
    return (_latin_language(clause) or "en") if _is_sentence_like(clause) else before


def _islands(clause: str, language: Language) -> list[Stretch]:
    """Cut Latin phrases out of a clause in another script."""
    if language in ("en", "other"):
        return [Stretch(clause, language)]
    pieces: list[Stretch] = []
    start = 0
    for m in _ISLAND.finditer(clause):
        if _is_sentence_like(m[0]) and re.search("[0-9]", m[0]):
            if start < m.start():
                pieces.append(Stretch(clause[start : m.start()], language))
            pieces.append(Stretch(m[0], _latin_language(m[0]) or "en"))
            start = m.end()
    if start < len(clause):
        pieces.append(Stretch(clause[start:], language))
    return pieces


def _is_sentence_like(text: str) -> bool:
    words = _WORD.findall(text)
    small = _SMALL_WORD.findall(text)
    return len(words) >= _ISLAND_WORDS and len(small) >= _ISLAND_SMALL


def _latin_language(text: str) -> Language | None:
    """English or another language in Latin or Cyrillic letters; None without any."""
    words = [word.lower() for word in _WORD.findall(text)]
    if _CYRILLIC.search(text) and len(_CYRILLIC.findall(text)) > sum(map(len, words)):
        return "other"
    if not words:
        return None
    english = sum(word in _ENGLISH for word in words)
    foreign = sum(word in _FOREIGN for word in words)
    sure = foreign > 1 or (foreign and not "".join(words).isascii())
    return "other" if sure and foreign > english else "en"
