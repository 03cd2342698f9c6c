"""Turns raw text into sentences ready to be spoken, whole or as it streams in.

`prepare` is `TextStream` fed in one piece: cleaned of what only the eye sees, cut into sentences,
read aloud by the rules of `voxkit.reading`, and cut again where a sentence is too long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from voxkit import notation
from voxkit.clause_ends import clause_end
from voxkit.errors import TextError
from voxkit.lookalikes import PlainSigns, visible
from voxkit.style import PLAIN, Manner

MAX_CHARACTERS = 200_000
_CHARACTERS_PER_HOUR = 54_000  # 15 characters a second, a calm reader
_LANGUAGES = ("en",)


@dataclass(frozen=True)
class Sentence:
    """What is spoken in one go."""

    text: str  # words only: Latin letters, apostrophes, hyphens and , . ? ! ; : and /phones/
    paragraph_end: bool
    source: str  # as it was written; the pieces of one long sentence share it
    cut: bool = False  # a long sentence was cut here and goes on in the next piece
    manner: Manner = PLAIN  # what markup asks for, beside the style of the whole request
    pause_ms: float | None = None  # silence after it to the sample; None: as the marks ask


@dataclass(frozen=True)
class Script:
    """A whole text, ready to be spoken."""

    sentences: tuple[Sentence, ...]
    unsaid: tuple[str, ...]  # what was written and cannot be spoken, each once
    lead_ms: float = 0.0  # silence before the first sentence
    notes: tuple[str, ...] = ()  # a sentence about each piece of markup that has no effect


def prepare(raw: str, *, language: str = "en", max_words: int) -> Script:
    """Return the sentences of `raw`, none above `max_words` words, and what cannot be said.

    Raises `TextError` for a text with nothing to say and for more than 200,000 characters.
    """
    if len(raw) > MAX_CHARACTERS:
        hours = len(raw) / _CHARACTERS_PER_HOUR
        raise TextError(
            f"This text has {len(raw):,} characters, about {hours:.0f} hours of speech; split it "
            f"into parts of at most {MAX_CHARACTERS:,} characters and speak them one by one."
        )
    stream = TextStream(language=language, max_words=max_words)
    sentences = (*stream.push(raw), *stream.finish())
    if not sentences:
        raise TextError(_nothing_to_say(raw, stream.unsaid))
    return Script(sentences, stream.unsaid)


def _nothing_to_say(raw: str, unsaid: tuple[str, ...]) -> str:
    if unsaid:
        few = " ".join(unsaid[:3]) + (" …" if len(unsaid) > 3 else "")
        return f"There is nothing to say in this text: {few[:60]} has no English words; add some."
    if raw.strip():
        return "There is nothing to say in this text: it holds only punctuation; add some words."
    return "There is nothing to say: the text is empty; give at least one word."


class TextStream:
    """Text that arrives in pieces, cut anywhere, and leaves as whole sentences.

    A sentence is released when nothing that may follow can change it, so any way of cutting the
    same text gives the same sentences.
    """

    def __init__(self, *, max_words: int, language: str = "en", clauses: bool = False) -> None:
        """With `clauses` the long clauses of a sentence leave one by one, the first ones early."""
        if language not in _LANGUAGES:
            raise TextError(f"Text in {language!r} cannot be read yet; use --language en.")
        self._max_words, self._clauses = max_words, clauses
        self._buffer = ""  # cleaned text whose sentences are not released yet
        self._scanned = 0  # no sentence ends before this place
        self._left = 0  # clauses up to this place have left
        self._unsaid: dict[str, None] = {}  # ordered and without repeats

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What has come in so far and cannot be spoken, each once, in order."""
        return tuple(self._unsaid)

    def push(self, piece: str) -> list[Sentence]:
        """Take in more text and return the sentences that are now certain."""
        self._buffer += piece.translate(_CLEAN)
        return self._release(final=False)

    def finish(self) -> list[Sentence]:
        """Return what is left; the text is complete."""
        return self._release(final=True)

    def _release(self, final: bool) -> list[Sentence]:
        out: list[Sentence] = []
        text = self._buffer
        known = len(text) if final else _known(text)
        start, scanned = _skip_space(text, 0), self._scanned
        while start < len(text):
            end, scanned = _find_end(text, start, max(start, scanned), known, final)
            if self._clauses:
                left = max(start, self._left)
                while (after := clause_end(text, left, known if end is None else end)) is not None:
                    out += self._speak(text[left:after].strip(), False, cut=True)
                    left = self._left = after
            if end is None:
                break
            following = _skip_space(text, end)
            blank_line = text.count("\n", end, following) > 1
            last = final and following == len(text)
            out += self._speak(text[max(start, self._left) : end].strip(), blank_line or last)
            start = scanned = following
        self._buffer, self._scanned = text[start:], max(0, scanned - start)
        self._left = max(0, self._left - start)
        return out

    def _speak(self, source: str, paragraph_end: bool, *, cut: bool = False) -> list[Sentence]:
        """Read a sentence, or a clause that was `cut` from one, in pieces that are short enough."""
        from voxkit.clauses import split_clauses
        from voxkit.reading import read_aloud

        text, unsaid = read_aloud(source)
        self._unsaid |= dict.fromkeys(visible(item) for item in unsaid)
        if cut and text:
            text = re.sub(r"[.,]*$", "", text)
            text += "" if text[-1] in ",;:" else ","
        pieces = split_clauses(text, self._max_words)
        last = len(pieces) - 1
        return [
            Sentence(p, paragraph_end and i == last, source, cut=cut or i < last)
            for i, p in enumerate(pieces)
        ]


# --- clean-up -------------------------------------------------------------------------------------

_CLEAN = PlainSigns(
    {
        **dict.fromkeys("‘’‚`", "'"),
        **dict.fromkeys("“”„‟«»", '"'),
        "‒": "–",
        "―": "—",
        **dict.fromkeys("\r\t\x1c\x1d\x1e\x1f", " "),
        "\v": "\n",
        "\f": "\n\n",
        "\x85": "\n",
        "\u2028": "\n",
        "\u2029": "\n\n",
        "…": "...",
        "。": ". ",
        "！": "! ",
        "？": "? ",
        "、": ", ",
        "⁻": "−",
    }
)

# --- where sentences end --------------------------------------------------------------------------

# After the clean-up white space is only " " and "\n".
_SPACE = re.compile(r"[ \n]*")
_NEXT = re.compile(r"[ \n]+([^ \n]{1,64})")
# Marks with what closes after them, and line breaks; each run is met once, which keeps it linear.
_CANDIDATE = re.compile(r"(?P<mark>[.!?]+)(?P<close>[\"')\]]*)|\n(?P<blank> *\n)?")
_SEEN = 64  # characters of the next word that are looked at
_LONGEST = 4000  # characters; a sentence without end is cut here
_TAIL = 200  # characters that must follow such a cut
_SHORT_LINE = 45  # characters; a shorter line was not wrapped but ended
_GLUED = re.compile("[A-Z][a-z]")  # behind a mark: a space was forgotten
_SOFT_CUT = re.compile(r"[,;:)—–][ \n]")
_LIST_ITEM = re.compile(r"[ \n]*(?:[-*•‣+]|[0-9]{1,3}[.)]|#{1,6}) ")
_PLACE = re.compile(r"(?:[A-Z]\w*|[0-9]+(?:st|nd|rd|th)) [DSMF]\w$")  # Elm St, 5th St
_DOTTED = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]|Ph\.D")
_CLOCK_SEQUELS = frozenset([*notation.MONTHS, *"Monday Tuesday Wednesday Thursday Friday".split()])


def _skip_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _known(text: str) -> int:
    """Return the place up to which the next word of every place is complete, or long enough."""
    last = max(text.rfind(" "), text.rfind("\n")) + 1
    if len(text) - last >= _SEEN:
        return last
    end = last
    while end and text[end - 1] in " \n":
        end -= 1
    return max(text.rfind(" ", 0, end), text.rfind("\n", 0, end)) + 1


def _find_end(
    text: str, start: int, scanned: int, known: int, final: bool
) -> tuple[int | None, int]:
    """Find the end of the sentence that begins at `start`; it does not end before `scanned`.

    Returns the place behind its last character, or None where that needs more text than `known`,
    and how far the search came.
    """
    limit = start + _LONGEST
    endless = len(text) > limit + _TAIL
    for m in _CANDIDATE.finditer(text, scanned):
        if m.end() > limit and endless:
            break
        glued = bool(m["mark"]) and bool(_GLUED.match(text, m.end()))
        behind = text[m.end() : m.end() + 2]
        if m["mark"] and not glued and len(behind) == 2 and behind[0] not in " \n":
            continue  # a mark inside a word
        if not glued and m.end() > known or (m.end() > limit and not final):
            return None, m.start()
        if _is_end(text, start, m, glued):
            return (m.end() if m["mark"] else m.start()), m.end()
    if endless:
        cut = _forced_cut(text, start, limit)
        return cut, cut
    return (len(text) if final else None), max(scanned, known)


def _forced_cut(text: str, start: int, limit: int) -> int:
    """Cut endless text at a clause, else a space, else anywhere."""
    soft = [m.end() for m in _SOFT_CUT.finditer(text, (start + limit) // 2, limit)]
    space = max(text.rfind(" ", start, limit), text.rfind("\n", start, limit))
    return soft[-1] if soft else space if space > start else limit


def _is_end(text: str, start: int, m: re.Match[str], glued: bool) -> bool:
    """Tell whether a sentence ends at a candidate."""
    if not m["mark"]:
        return bool(m["blank"]) or _line_ends(text, start, m.start())
    before = text[max(start, m.start() - _SEEN) : m.start()]
    word = re.split(r"[ \n(\[\"]", before)[-1].lstrip("'*_")
    if glued:
        return bool(re.search("[a-z]{2}$", word)) and not re.search(r"[/@:]|^www$", word)
    found = _NEXT.match(text, m.end())
    if not found:
        return _skip_space(text, m.end()) == len(text)
    if text.count("\n", m.end(), found.end()) > 1:
        return True
    following = found[1].lstrip("\"'([{*_")
    lower = following[:1].islower()
    if m["close"] and lower:
        return False
    if m["mark"] != ".":
        return "!" in m["mark"] or "?" in m["mark"] or not lower
    if not word:
        return False  # . . .
    if text[start : m.start()].strip().isdigit() and m.start() - start <= 3:
        return False  # the number of a list item
    if word in ("Dr", "St", "Mt", "Ft") and not _PLACE.search(before):
        return False
    return stop_ends(word, following)


def _line_ends(text: str, start: int, place: int) -> bool:
    """Tell a line break that ends something from one that only wraps a long line."""
    if _LIST_ITEM.match(text, place) or text.startswith("#", start):
        return True
    if (first := _skip_space(text, place)) == len(text):
        return False
    line = text[max(start, text.rfind("\n", start, place) + 1) : place].strip()
    return len(line) < _SHORT_LINE and not text[first].islower() and line[-1:] not in (",", "-", "")


def stop_ends(word: str, following: str) -> bool:
    """Tell the full stop of a sentence from the one of an abbreviation."""
    starter = following.rstrip(",;:!?\"')") in notation.STARTERS
    if word in ("Dr", "St", "Mt", "Ft"):
        return starter and following != "No"
    if word in notation.TITLES or word.lower() in notation.LATIN:
        return False
    if word in ("No", "no") or word in notation.BEFORE_NUMBERS:
        return not re.match("[0-9]|[IVX]+(?![a-z])", following)
    if word.lower() in ("a.m", "p.m"):
        return following[:1].isupper() and following.rstrip(".,;:!?") not in _CLOCK_SEQUELS
    if word == "etc" or word in notation.PLAIN_WORDS or word in notation.DOTTED_UNITS:
        return not (following[:1].islower() or following[:1].isdigit())
    if word in notation.ABBREVIATIONS or _DOTTED.fullmatch(word):
        return starter
    if len(word) == 1 and word.isupper():
        return starter
    return True
