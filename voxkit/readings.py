"""The decoder's states after the references that were used last, so that a voice is read once."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from voxkit.company import Company
from voxkit.options import Options
from voxkit.voice import Voice

_MOST = 2  # states kept; one of a large model takes a gigabyte

_Wishes = tuple[int | None, float | None]  # steps and guidance


class _Reading:
    """The place of one state: empty until it is read, and again once its voice is no more."""

    def __init__(self, voice: Voice, wishes: _Wishes) -> None:
        state: list[Any] = []
        self.voice = weakref.ref(voice, lambda gone: state.clear())
        self.wishes, self.state = wishes, state
        self.turn = threading.Lock()  # held by the thread that reads


class Readings:
    """Makes the state that a request starts from, or finds the one made for an earlier request.

    Reading a reference takes longer than a first word.  The result depends on nothing but the
    voice, the steps and the guidance, so whether it is found or made changes no sample.  It is
    forgotten with its voice.

    For tasks of a company it is made before anything else, in the thread that runs them: a task
    that has the turn must not wait for another.
    """

    def __init__(
        self, read: Callable[[Voice, Options], Any], company: Company | None = None
    ) -> None:
        self._read, self._company = read, company
        if company is not None:
            self._stage = company.stage(self._all, first=True)
        self._kept: list[_Reading] = []
        self._lock = threading.Lock()

    def after(self, voice: Voice, options: Options) -> Any:
        """Return the decoder's state after a voice's reference.

        Threads that want the same one at once wait for the first of them to read it.
        """
        if self._company is not None and self._company.here is not None:
            return self._stage.ask((voice, options))
        reading, kept = self._place(voice, (options.steps, options.guidance))
        with reading.turn:
            if not reading.state:
                reading.state.append(self._read(kept, options))
            return reading.state[0]

    def _all(self, wishes: Sequence[tuple[Voice, Options]]) -> list[Any]:
        return [self.after(*wish) for wish in wishes]

    def _place(self, voice: Voice, wishes: _Wishes) -> tuple[_Reading, Voice]:
        """Return the reading of a voice and its owner, without whom it would be forgotten."""
        with self._lock:
            alive = [(r, kept) for r in self._kept if (kept := r.voice()) is not None]
            same = (pair for pair in alive if pair[0].wishes == wishes and _alike(pair[1], voice))
            reading, kept = next(same, None) or (_Reading(voice, wishes), voice)
            others = [r for r, _ in alive if r is not reading]
            self._kept = [*others, reading][-_MOST:]
        return reading, kept


def _alike(kept: Voice, voice: Voice) -> bool:
    """Tell whether a decoder reads the same from two voices, as from two copies of one file."""
    if kept is voice:
        return True
    pairs = ((kept.tokens, voice.tokens), (kept.mel, voice.mel), (kept.speaker, voice.speaker))
    same = all(np.array_equal(a, b) for a, b in pairs)
    return same and dict(kept.attributes) == dict(voice.attributes)
