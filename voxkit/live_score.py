"""Marked-up text while it is being written: what is said of it and how, once that is certain."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from voxkit.arriving import TextSource
from voxkit.markup import Scopes, parse, problems, pronounce
from voxkit.pronunciation import Pronunciation
from voxkit.score import CLOSING, CLOSING_MARKS, Parts, Stretch, dressed, finished
from voxkit.text import Sentence

_TAIL = 64  # characters before the end of a stretch that tell how it ends
_MOST_HELD = 300  # characters of what may be a tag; more is no tag
_OPEN = re.compile(
    r"""\\$
    | (?<!\\)\[[^\[\]\n]*(?:\](?:\([^()\n]*)?)?$
    | (?<!\\)<(?:[A-Za-z/|][^<>\n]*)?$""",
    re.VERBOSE,
)
_MARKS = re.compile(rf"{CLOSING_MARKS}+$")
_TAG = re.compile(r"\[[^\[\]\n]*\](?:\([^()\n]*\))?|<[^<>\n]*>")
_WORD_END = re.compile(r".*[\s\u3000-\u9fff\uff00-\uffef]", re.DOTALL)


@dataclass(frozen=True)
class Marked:
    """Text with markup, in pieces that are cut anywhere, and words that are said in a way."""

    text: Iterable[str]
    lexicon: Mapping[str, Pronunciation] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        """Yield the text as it comes, markup and all."""
        return iter(self.text)


class MarkedText:
    """Takes marked-up text in pieces and gives sentences with their manner and pauses.

    Every stretch of one manner goes through a text source of its own.  Its end is certain when the
    next stretch begins, so that a pause or a comma can still be put there.
    """

    def __init__(
        self,
        begin: Callable[[], TextSource],
        marks: frozenset[str],
        lexicon: Mapping[str, Pronunciation],
    ) -> None:
        self._begin, self._lexicon = begin, lexicon
        self._scopes: Scopes = {}
        self._parts = Parts(marks, "")
        self._buffer = ""  # what may be the beginning of a tag, of a closing mark or of a word
        self._fed = 0  # characters of the current stretch that its source has
        self._source = begin()
        self._unsaid: dict[str, None] = {}

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What has come in so far and cannot be spoken or has no effect, each once, in order."""
        return tuple(self._unsaid | dict.fromkeys((*self._source.unsaid, *self._parts.notes)))

    def push(self, piece: str) -> list[Sentence]:
        """Take in more text and return what is now certain."""
        self._buffer += piece
        end = self._certain()
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        return self._take(text)

    def finish(self) -> list[Sentence]:
        """Return what is left; the text is complete."""
        text, self._buffer = self._buffer, ""
        return [*self._take(text), *self._end(last=True)]

    def _certain(self) -> int:
        """Return the place up to which nothing that follows changes what the text is."""
        end, before = len(self._buffer), -1
        while end != before:
            before = end
            # What follows tells whether marks behind a tag close what is before it.
            if marks := _MARKS.search(self._buffer, max(0, end - _MOST_HELD), end):
                end = marks.start()
            tag = _OPEN.search(self._buffer, 0, end)
            if tag and len(self._buffer) - tag.start() <= _MOST_HELD:
                end = tag.start()
        if self._lexicon:
            whole_tags = _TAG.sub(lambda tag: "x" * len(tag[0]), self._buffer[:end])
            word = _WORD_END.match(whole_tags)
            end = word.end() if word else 0
        return end

    def _take(self, text: str) -> list[Sentence]:
        pieces = parse(text, self._scopes)
        self._unsaid |= dict.fromkeys(problems(pieces))
        out: list[Sentence] = []
        for piece in pronounce(pieces, self._lexicon) if self._lexicon else pieces:
            before = self._parts.stretches[-1]
            self._parts.add(piece)
            if (current := self._parts.stretches[-1]) is not before:
                out += self._turn(before, current)
            out += self._feed(current.text[self._fed :], current)
        return out

    def _feed(self, text: str, stretch: Stretch) -> list[Sentence]:
        """Give the source more of a stretch, of which only the end is kept then."""
        stretch.text = stretch.text[max(0, len(stretch.text.rstrip()) - _TAIL) :]
        self._fed = len(stretch.text)
        return [dressed(s, stretch) for s in self._source.push(text)] if text else []

    def _turn(self, before: Stretch, after: Stretch) -> list[Sentence]:
        """End a stretch where another begins; what closes it, spacing too, still belongs to it."""
        closing = CLOSING.match(after.text) if before.text[-1:].strip() else None
        rest = after.text[closing.end() if closing else 0 :].lstrip()
        close = after.text[: len(after.text) - len(rest)]
        before.text, after.text = before.text + close, rest
        self._parts.stretches = [before]
        out = [*self._feed(close, before), *self._end(last=False)]
        self._parts.stretches = [after]
        self._fed, self._source = 0, self._begin()
        return out

    def _end(self, *, last: bool) -> list[Sentence]:
        """Return what is left of the current stretch, with the pause that follows it."""
        stretch = self._parts.stretches[-1]
        made = [dressed(sentence, stretch) for sentence in self._source.finish()]
        self._unsaid |= dict.fromkeys(self._source.unsaid)
        if made:
            made = finished(made, stretch, last=last)
            made[-1] = dataclasses.replace(made[-1], cut=False)  # the next part begins anew
        elif stretch.pause_ms is not None:
            made = [Sentence("", False, "", pause_ms=stretch.pause_ms)]  # silence alone
        return made
