"""Joins sentences, and cuts those that are too long, into passages of the length a model likes."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from voxkit.breaks import CLAUSE, PARAGRAPH, PHRASE, SENTENCE, WORD
from voxkit.languages import HAN, HANGUL, KANA

Length = Callable[[str], int]


@dataclass(frozen=True)
class Piece:
    """Some text to be spoken and where it stands in what was written."""

    said: str
    start: int
    end: int
    bond: int  # how tightly it holds to the next: PARAGRAPH, SENTENCE, CLAUSE … INSIDE
    glue: str = ""  # between it and the next, when they are said in one go
    size: float = 0.0  # share in the length of its sentence; 0 where that is not known


@dataclass(frozen=True)
class Marks:
    """Patterns of what a model knows beside words: sounds, and pairs around what they colour."""

    single: str
    pairs: str  # with what is between them
    empty: str  # with nothing between them


TIGHT, INSIDE = WORD + 1, WORD + 2  # behind "the", and within a word
# What a cut costs, by bond; a piece of no length at all costs _SHORT more than one of `least`.
_CUT_COST = {PARAGRAPH: 0.0, SENTENCE: 0.5, CLAUSE: 3.0, PHRASE: 8.0, WORD: 12.0, TIGHT: 18.0} | {
    INSIDE: 40.0
}
_JOIN_COST = 2.5  # for going on over the end of a paragraph
_SHORT = 8.0
_PIECE_COST = 1.0
_LONG = 1000.0
_MARGIN = 1.04  # of the sizes of words, which are shares of their clause

_EASTERN = f"{HAN}{KANA}"
_WIDE = re.compile(f"[{_EASTERN}，。！？；：、…「」『』《》〈〉]")
_KANA = re.compile(f"[{KANA}]")
_CLAUSE_END = re.compile(r"(?:[，、；：…。！？]|[,;:.!?](?= ))[”’」』》〉\"']* *")
_MARKED = re.compile(r"[，、；：…。！？,;:.!?](?:[”’」』》〉\"']|</\w+>|\[[\w-]+\])*$")


def join_glue(left: str, right: str) -> str:
    """Return what goes between two sentences that are said in one go."""
    return "" if _WIDE.match(left[-1:]) or _WIDE.match(right[:1]) else " "


def arrange(pieces: Sequence[Piece], length: Length, most: int, least: int) -> list[Piece]:
    """Return pieces of at most `most`, and at least `least` where that can be.

    The cheapest set of cuts wins: ends of paragraphs and sentences first, then clause marks, then
    the best place.  A piece that cannot be divided may stay longer.
    """
    measured = [p if p.size else replace(p, size=float(length(p.said))) for p in pieces]
    return _arrange(measured, length, most, float(most), least)


def _arrange(
    pieces: list[Piece], length: Length, most: int, limit: float, least: int
) -> list[Piece]:
    out: list[Piece] = []
    for a, b in _best_cuts(pieces, limit, least):
        joined = _held_open(join(pieces[a:b]))
        size = length(joined.said)
        if size > most and b - a > 1:  # the parts say less than the whole
            tighter = min(limit, sum(piece.size for piece in pieces[a:b])) * most / size * 0.97
            out += _arrange(pieces[a:b], length, most, tighter, min(least, most // 3))
        else:
            out.append(joined)
    return out


def join(pieces: Sequence[Piece]) -> Piece:
    """Make one piece of several that follow each other."""
    last = pieces[-1]
    said = "".join(piece.said + piece.glue for piece in pieces[:-1]) + last.said
    return replace(last, said=said, start=pieces[0].start, size=0.0)


def _needs_comma(piece: Piece) -> bool:
    """Tell whether a passage would stop here within a sentence and without a mark."""
    return piece.bond >= CLAUSE and _MARKED.search(piece.said) is None


def _held_open(piece: Piece) -> Piece:
    """End a passage that stops within a sentence with a mark, so that it is heard to go on."""
    if not _needs_comma(piece):
        return piece
    comma = "," if not _WIDE.match(piece.said[-1:]) else "、" if _KANA.search(piece.said) else "，"
    return replace(piece, said=piece.said + comma)


def _best_cuts(pieces: list[Piece], limit: float, least: int) -> list[tuple[int, int]]:
    """Dynamic programming over the ends of pieces; each looks back as far as `limit` reaches."""
    sizes = [piece.size for piece in pieces]
    paragraphs = [_JOIN_COST * (piece.bond == PARAGRAPH) for piece in pieces]
    count = len(pieces)
    best = [0.0] + [float("inf")] * count
    origin = [0] * (count + 1)
    for end in range(1, count + 1):
        last = pieces[end - 1]
        cut = _CUT_COST[last.bond] + _PIECE_COST
        size, start = sizes[end - 1] + _needs_comma(last), end - 1
        over = _LONG if size > limit else 0.0
        while True:
            cost = best[start] + cut + over
            if size < least:
                cost += _SHORT * (1 - size / least)
            if cost < best[end]:
                best[end], origin[end] = cost, start
            start -= 1
            if start < 0:
                break
            size += sizes[start]
            cut += paragraphs[start]
            if size > limit:
                break
    spans: list[tuple[int, int]] = []
    end = count
    while end:
        spans.append((origin[end], end))
        end = origin[end]
    return spans[::-1]


# --- a sentence that is too long ------------------------------------------------------------------


def divide(sentence: Piece, source: str, length: Length, most: int, marks: Marks) -> list[Piece]:
    """Cut a sentence above `most` at its clause marks, and clauses above it where they come apart.

    `source` is what was written between its `start` and `end`.  Nothing is cut within a mark, and
    a pair of marks goes around every part of what it is around.
    """
    said = re.sub(marks.pairs, lambda m: _reopened(m, length, most, marks), sentence.said)
    held = f"(?:{marks.pairs}|{marks.single})"
    cuts: dict[int, tuple[int, float]] = {}  # place: its bond and the size of what ends there
    start = 0
    for end in _clause_ends(said, held, marks.single):
        size = float(length(said[start:end]))
        if size > most:
            places = [*_word_places(said[start:end], held), (end - start, CLAUSE)]
            begins = [0, *(place for place, _ in places)]
            sizes = [length(said[start + a : start + b]) for a, b in pairwise(begins)]
            scale = size / max(1, sum(sizes)) * _MARGIN
            for (place, bond), part in zip(places, sizes, strict=True):
                cuts[start + place] = bond, part * scale
        else:
            cuts[end] = CLAUSE, size
        start = end
    written = _align(said, source, sorted(cuts))
    pieces: list[Piece] = []
    start = begin = 0
    for place, (bond, size) in sorted(cuts.items()):
        text = said[start:place]
        if text.strip():
            glue, end = text[len(text.rstrip()) :], written[place]
            pieces.append(
                Piece(text.strip(), sentence.start + begin, sentence.start + end, bond, glue, size)
            )
            begin = end
        start = place
    pieces[-1] = replace(pieces[-1], end=sentence.end, bond=sentence.bond, glue=sentence.glue)
    return pieces


def _clause_ends(said: str, held: str, single: str) -> list[int]:
    """List the places behind clauses, the end of the text included; none is within a mark."""
    shut = [m.span() for m in re.finditer(held, said)]
    ends: list[int] = []
    for m in _CLAUSE_END.finditer(said):
        around = [b for a, b in shut if a < m.end() < b]
        if not around:
            ends.append(m.end())
        elif re.fullmatch(single, said[m.end() : around[0]]):
            ends.append(around[0])  # the clause ends where the pair around it closes
    return ends if ends[-1:] == [len(said)] else [*ends, len(said)]


def _reopened(m: re.Match[str], length: Length, most: int, marks: Marks) -> str:
    """Close and open a pair of marks again wherever what it is around must be cut."""
    found = re.fullmatch(f"({marks.single})(.*)({marks.single})", m[0], re.DOTALL)
    if length(m[0]) <= most or found is None:
        return m[0]
    opening, inner, closing = found.groups()
    room = max(1, most - length(opening + closing) - 1)
    parts = divide(Piece(inner, 0, 0, CLAUSE), inner, length, room, marks)
    pieces = arrange(parts, length, room, room // 2)
    return "".join(opening + piece.said + closing + piece.glue for piece in pieces)


# --- places between words -------------------------------------------------------------------------

_LEADING = tuple(
    "但是 但 因为 所以 如果 而且 并且 或者 以及 然后 不过 虽然 只要 只有 我们 他们 她们 你们 "
    "因為 而且 並且 然後 不過 雖然 我們 他們 そして しかし だから でも".split()
)
_CONJUNCTIONS = frozenset(
    "and but or because which that while when if so then where who although until before after "
    "그리고 하지만 그래서 그러나 또는 및".split()
)
_LEANING = frozenset(
    "a an the this these those my your his her its our their of to in on at by for from with and "
    "or but not no very more most is are was were be been has have had do does did will would can "
    "could should may might must who which that 이 그 저 한 두 세 네 안 못 더".split()
)
_GOES_ON = re.compile("[가-힣](?:고|서|며|지만|는데|니까|면)$")  # a Korean verb that goes on
_NUMERALS = "零一二三四五六七八九十百千万亿億点两幺〇영일이삼사오육칠팔구십백천만억점"
_PARTICLES = "はがをにでとものへ"
_LONGEST_WORD = 9  # letters; a longer one may be cut where nothing else helps


def _word_places(clause: str, held: str) -> list[tuple[int, int]]:
    """List the places between the words of a clause, and how tightly each holds."""
    tokens = list(
        re.finditer(rf"{held}|[^\W{_EASTERN}]+(?:['-][^\W{_EASTERN}]+)*|\s+|.", clause, re.DOTALL)
    )
    places: list[tuple[int, int]] = []
    for index, token in enumerate(tokens):
        if index and not re.match(r"[\s”’」』》〉，。、；：！？,.;:!?\"'…]", token[0]):
            words = [t[0] for t in tokens[max(0, index - 3) : index]]
            places.append((token.start(), _tightness(words, token[0], clause, token.start())))
        if len(token[0]) > _LONGEST_WORD and not re.match(held, token[0]):
            places += [(p, INSIDE) for p in range(token.start() + 6, token.end() - 3, 6)]
    return places


def _tightness(before: list[str], word: str, clause: str, place: int) -> int:
    """Tell how tightly a word holds to those before it."""
    left = before[-1]
    if left.isspace():
        if len(before) > 1 and before[-2].lower() in _LEANING:
            return TIGHT
        goes_on = len(before) > 1 and _GOES_ON.search(before[-2])
        return PHRASE if goes_on or word.lower() in _CONJUNCTIONS else WORD
    if left in _NUMERALS and word[0] in _NUMERALS:
        return INSIDE
    if clause.startswith(_LEADING, place):
        return PHRASE
    stem = len(before) > 1 and not re.match(r"[ぁ-ゖ]", before[-2])
    if (left in _PARTICLES and stem) or (left in "てた" and not re.match("[ぁ-ゖ]", word)):
        return WORD
    return WORD if left in "了”」》" else INSIDE


# --- where it was written -------------------------------------------------------------------------


def _align(said: str, written: str, places: list[int]) -> dict[int, int]:
    """Map places of spoken text to places of the written text; order and both ends are kept."""
    token = re.compile(rf"[^\W{_EASTERN}{HANGUL}]+|\S", re.DOTALL)
    a, b = list(token.finditer(said)), list(token.finditer(written))
    alike = _alike([m[0].translate(_NARROW) for m in a], [m[0].translate(_NARROW) for m in b])
    starts, known = [m.start() for m in a], [x for x, _ in alike]
    found: dict[int, int] = {}
    for place in places:
        index = bisect_left(starts, place)  # tokens of `said` before the place
        right = min(bisect_left(known, index), len(alike) - 1)
        (x0, y0), (x1, y1) = alike[max(0, right - 1)], alike[right]
        share = (index - x0) / (x1 - x0) if x1 > x0 else 1.0
        count = round(y0 + share * (y1 - y0))
        found[place] = b[count].start() if count < len(b) else len(written)
    found[places[-1]] = len(written)
    return found


_NARROW = str.maketrans("，。！？；：", ",.!?;:")
_REACH = 40  # tokens that are looked ahead for where two texts come together again


def _alike(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """List pairs of counts of tokens after which two texts are level, from (0, 0) to their ends."""
    level = [(0, 0)]
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] != b[j]:
            steps = ((x, d - x) for d in range(1, _REACH) for x in range(d + 1))
            step = next((s for s in steps if _meet(a, b, i + s[0], j + s[1])), None)
            if step is None:
                break
            i, j = i + step[0], j + step[1]
            level.append((i, j))
        i, j = i + 1, j + 1
        level.append((i, j))
    return [*level, (len(a), len(b))]


def _meet(a: list[str], b: list[str], i: int, j: int) -> bool:
    """Tell whether two texts go on alike: with a long word, or with two tokens."""
    return a[i : i + 1] == b[j : j + 1] != [] and (len(a[i]) > 3 or a[i : i + 2] == b[j : j + 2])
