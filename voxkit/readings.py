"""The decoder's states after the references that were used last, so that a voice is read once."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from voxkit.options import Options
from voxkit.voice import Voice

_MOST = 2  # states kept; one of a large model takes a gigabyte


class Readings:
    """Makes the state that a request starts from, or finds the one made for an earlier request.

    Reading a reference takes longer than a first word.  The result depends on nothing but the
    voice, the steps and the guidance, so whether it is found or made changes no sample.  It is
    forgotten with its voice.
    """

    def __init__(self, read: Callable[[Voice, Options], Any]) -> None:
        self._read = read
        self._kept: list[tuple[weakref.ref[Voice], tuple[int | None, float | None], Any]] = []
        self._lock = threading.Lock()

    def after(self, voice: Voice, options: Options) -> Any:
        """Return the decoder's state after a voice's reference."""
        wishes = options.steps, options.guidance
        with self._lock:
            for place, entry in enumerate(self._kept):
                if entry[1] == wishes and _alike(entry[0](), voice):
                    self._kept.append(self._kept.pop(place))
                    return entry[2]
        state = self._read(voice, options)
        with self._lock:
            self._kept = [entry for entry in self._kept if entry[0]() is not None]
            self._kept = [*self._kept, (weakref.ref(voice, self._forget), wishes, state)][-_MOST:]
        return state

    def _forget(self, gone: weakref.ref[Voice]) -> None:
        """Drop the states of a voice that is no more."""
        self._kept = [entry for entry in self._kept if entry[0] is not gone]


def _alike(kept: Voice | None, voice: Voice) -> bool:
    """Tell whether a decoder reads the same from two voices, as from two copies of one file."""
    if kept is None or kept is voice:
        return kept is voice
    pairs = ((kept.tokens, voice.tokens), (kept.mel, voice.mel), (kept.speaker, voice.speaker))
    same = all(np.array_equal(a, b) for a, b in pairs)
    return same and dict(kept.attributes) == dict(voice.attributes)
