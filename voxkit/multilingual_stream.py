"""Text in several languages that is still being written → sentences and clauses, once certain."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from voxkit.breaks import PARAGRAPH, find_sentences
from voxkit.clause_ends import clause_end
from voxkit.errors import TextError
from voxkit.languages import HAN, HANGUL, KANA
from voxkit.passages import join_glue
from voxkit.text import Script, Sentence

_SEEN = 64  # characters of the next word that may matter
_EASTERN = f"{HAN}{KANA}{HANGUL}"
_NEXT_WORD = re.compile(rf"\s*(?:[{_EASTERN}]{{2}}|\S{{{_SEEN}}}|\S+\s)")
_FULL_STOP = re.compile(r"[.。]$")
_MARKS = ",，;；:：、!?！？…"  # that do not end in silence


class MultilingualStream:
    """Text that arrives in pieces, cut anywhere; the same text gives the same sentences.

    Each sentence is read by itself, in the language of its own letters.
    """

    def __init__(self, prepare: Callable[[str], Script]) -> None:
        """Read sentences with `prepare`, which raises `TextError` where nothing can be said."""
        self._prepare = prepare
        self._buffer = ""  # text from the last sentence that is not complete
        self._left = 0  # clauses of it up to this place have left
        self._goes_on = ""  # what was said before, if it ended inside a sentence
        self._unsaid: dict[str, None] = {}

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What has come in so far and cannot be spoken, each once, in order."""
        return tuple(self._unsaid)

    def push(self, piece: str) -> list[Sentence]:
        """Take in more text and return what is now certain."""
        self._buffer += piece
        return self._release(final=False)

    def finish(self) -> list[Sentence]:
        """Return what is left; the text is complete."""
        return self._release(final=True)

    def _release(self, final: bool) -> list[Sentence]:
        text, out, done = self._buffer, list[Sentence](), 0
        known = len(text) if final else _known(text)
        for span in find_sentences(text, ()):
            certain = final or (span.end < len(text) and _NEXT_WORD.match(text, span.end))
            left = max(span.start, self._left)
            limit = span.end if certain else min(known, span.end)
            while (after := clause_end(text, left, limit)) is not None and after < span.end:
                out += self._read(text[left:after], cut=True, paragraph_end=False)
                left = self._left = after
            if not certain:
                break
            out += self._read(
                text[left : span.end], cut=False, paragraph_end=span.bond == PARAGRAPH
            )
            done = span.end
        rest = text[done:]
        self._buffer, self._left = rest if rest.strip() else "", max(0, self._left - done)
        return out

    def _read(self, written: str, *, cut: bool, paragraph_end: bool) -> list[Sentence]:
        try:
            script = self._prepare(written)
        except TextError:
            self._unsaid |= dict.fromkeys(re.findall(r"[^\s\w]*[^\W_][^\s]*", written))
            return []
        self._unsaid |= dict.fromkeys(script.unsaid)
        out = []
        last = len(script.sentences) - 1
        for i, sentence in enumerate(script.sentences):
            goes_on = sentence.cut or (cut and i == last)
            said = _open(sentence.text) if goes_on else sentence.text
            glue = join_glue(self._goes_on, said) if self._goes_on else ""
            self._goes_on = said if goes_on else ""
            ends = paragraph_end and i == last
            out.append(
                dataclasses.replace(sentence, text=glue + said, cut=goes_on, paragraph_end=ends)
            )
        return out


def _known(text: str) -> int:
    """Return the place up to which the next word of every place is complete."""
    last = max(text.rfind(" "), text.rfind("\n"), 0)
    wide = [m.end() for m in re.finditer(f"[{_EASTERN}]{{2}}", text[last:])]
    return max(last, last + wide[-1] - 1) if wide else last


def _open(said: str) -> str:
    """End what goes on with a mark that says so."""
    end = said[-3:]
    comma = "、" if re.search(f"[{KANA}]", end) else "，" if re.search(f"[{HAN}]", end) else ","
    said = _FULL_STOP.sub("", said)
    return said if said[-1:] in _MARKS else said + comma
