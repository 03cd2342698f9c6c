"""Splits a sentence that is too long for a model at its best clause boundaries."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FEWEST = 4  # words in a piece
_LONGEST_WORD = 30  # letters; a longer "word" is cut
_WORD_CUT = 10  # letters of each part of one that was cut
_PIECE_COST = 4.0  # of every cut, so that there are no more pieces than needed
_SHORT_COST = 100.0  # of every word that a piece has too few
_LONG_COST = 10_000.0  # of every word that a piece has too many

# What a cut after a word with this mark costs; without a mark it depends on the words beside it.
_MARK_COST = {".": 0.0, "!": 0.0, "?": 0.0, ";": 0.0, ":": 0.5, ",": 1.0}
_CONJUNCTIONS = frozenset(
    "and but or nor so yet because although though while whereas since unless until when whenever "
    "where wherever if that which who whom whose after before as than whether then".split()
)
_PREPOSITIONS = frozenset(
    "about above across against along among around at behind below beneath beside between beyond "
    "by down during except for from in inside into like near of off on onto out outside over past "
    "through throughout to toward towards under up upon via with within without".split()
)
_LEADING = frozenset(
    "a an the this these those my your his her its our their no every each some any very too more "
    "most is are was were be been am has have had do does did will would can could shall should "
    "may might must not".split()
)
_NUMBER_WORDS = frozenset(
    "zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty "
    "ninety hundred thousand million billion trillion quadrillion point minus dot".split()
)


@dataclass(frozen=True)
class _Word:
    text: str
    weight: int  # words that are heard: "well-known" is two


def split_clauses(text: str, max_words: int) -> list[str]:
    """Return `text` in pieces of at most `max_words` words, four or more each where that can be.

    The cheapest set of cuts wins: at a semicolon, colon or comma, before a conjunction or a
    preposition, else where the pieces come out even.  Linear in the length of the text.
    """
    tokens = text.split()
    if (
        len(tokens) + text.count("-") <= max_words
        and max(map(len, tokens), default=0) <= _LONGEST_WORD
    ):
        return [text] if text else []
    words = [_Word(part, _weight(part)) for token in tokens for part in _cut(token)]
    if sum(word.weight for word in words) <= max_words:
        return [" ".join(word.text for word in words)] if words else []
    pieces = [" ".join(w.text for w in words[a:b]) for a, b in _best_cuts(words, max_words)]
    return [*(_open(piece) for piece in pieces[:-1]), pieces[-1]]


def count_words(text: str) -> int:
    """Count the words that are heard; the parts of a hyphenated word count one by one."""
    return sum(_weight(token) for token in text.split())


def _weight(token: str) -> int:
    return max(1, len(re.findall(r"[^\W_]+(?:'[^\W_]+)*", token)))


def _cut(token: str) -> list[str]:
    """Cut a token that is no real word: many hyphens, or dozens of letters in a row."""
    parts = token.split("-") if _weight(token) > _FEWEST else [token]
    out: list[str] = []
    for part in parts:
        if len(part) <= _LONGEST_WORD:
            out += [part] if part else []
        else:
            out += [part[i : i + _WORD_CUT] for i in range(0, len(part), _WORD_CUT)]
    return out


def _best_cuts(words: list[_Word], max_words: int) -> list[tuple[int, int]]:
    """Dynamic programming over the ends of pieces; each looks back at most `max_words` words."""
    count = len(words)
    fewest = min(_FEWEST, max_words)
    best = [0.0] + [float("inf")] * count
    origin = [0] * (count + 1)
    for end in range(1, count + 1):
        cut = _PIECE_COST + _cut_cost(words, end) if end < count else 0.0
        weight = 0
        for start in range(end - 1, -1, -1):
            weight += words[start].weight
            cost = cut + (max_words - weight) ** 2 * 0.02
            cost += _SHORT_COST * max(0, fewest - weight) + _LONG_COST * max(0, weight - max_words)
            if best[start] + cost < best[end]:
                best[end], origin[end] = best[start] + cost, start
            if weight >= max_words:
                break
    spans: list[tuple[int, int]] = []
    end = count
    while end:
        spans.append((origin[end], end))
        end = origin[end]
    return spans[::-1]


def _cut_cost(words: list[_Word], place: int) -> float:
    """Cost of a cut between words[place - 1] and words[place]."""
    last, following = words[place - 1].text, words[place].text.lower().strip(",.?!;:'")
    if last[-1] in _MARK_COST:
        return _MARK_COST[last[-1]]
    before = last.lower()
    if _is_number(before) and _is_number(following):
        return 14.0
    if len(last) == 1 and last.isupper() and len(following) == 1:
        return 14.0
    if before in _LEADING or before in _PREPOSITIONS or before in _CONJUNCTIONS:
        return 12.0
    if following in _CONJUNCTIONS:
        return 3.0
    return 5.0 if following in _PREPOSITIONS else 8.0


def _is_number(word: str) -> bool:
    return word in _NUMBER_WORDS or word.partition("-")[0] in _NUMBER_WORDS


def _open(piece: str) -> str:
    """End a piece that is not the last with a mark, so that it is heard to go on."""
    return piece if piece[-1] in _MARK_COST else piece + ","
