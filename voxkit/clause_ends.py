"""Finds where a clause ends in a sentence that may still be being written."""

from __future__ import annotations

import re

from voxkit.languages import HAN, HANGUL, KANA

_FEWEST = 4  # words in a clause; what is shorter waits for more
_EASTERN = f"{HAN}{KANA}{HANGUL}"
# No figure stands beside a mark that ends a clause: "1, 2", "May 5, 1998", "10:30" stay whole.
_END = re.compile(
    r"(?<![0-9])(?:[,;:]+[\"'’”)\]]*|(?<=[ \n])[—–])[ \n]+(?=[\"'‘“(\[]*[^\W\d_])"
    rf"|(?<=[{_EASTERN}])[，、；：][”’」』）]*(?=[{_EASTERN}])"
)
_WORD = re.compile(rf"[{_EASTERN}]{{2}}|[^\W_]+(?:['’-][^\W_]+)*")
_PAIRS = (("(", ")"), ("[", "]"), ("“", "”"), ("「", "」"), ("『", "』"), ("（", "）"))


def clause_end(text: str, start: int, known: int) -> int | None:
    """Return the place behind the first clause from `start` on, with the space after it.

    Only what is before `known` counts, so that more text changes no answer.  None if no clause of
    four words or more ends there.
    """
    for m in _END.finditer(text, start, known):
        clause = text[start : m.end()]
        if _is_closed(clause) and len(_WORD.findall(clause)) >= _FEWEST:
            return m.end()
    return None


def _is_closed(clause: str) -> bool:
    """Tell whether every bracket and quotation mark in a clause has its partner."""
    return clause.count('"') % 2 == 0 and all(clause.count(a) == clause.count(b) for a, b in _PAIRS)
