"""Speech under way: sound piece by piece, how much of the text it says, and a way to stop it."""

from __future__ import annotations

import bisect
import threading
from array import array
from collections.abc import Callable, Generator, Iterator

from voxkit.audio import Audio
from voxkit.errors import Interrupted

_TOKENS_PER_CHARACTER = 1.7  # 25 tokens and 15 characters a second, until the text has told better
_UNFINISHED = 0.95  # of a sentence at most, while nobody knows how long it will be


class Progress:
    """Where one request is.  The engine writes to it; `Speech` reads and stops it."""

    def __init__(self) -> None:
        self.unsaid: dict[str, None] = {}  # what cannot be spoken, each once, in order
        self.stopped = False  # or told to stop
        self._wakes: list[Callable[[], object]] = []  # end what the request may be waiting for
        self._texts: list[str] = []  # of the sentences begun so far
        # Small numbers only, since hours of speech have ten thousands of pieces.
        self._ends = array("d")  # s of sound handed out at the end of each piece
        self._places = array("l"), array("d")  # sentences there, and the share of the next
        self._finished = 0  # sentences
        self._share = 0.0  # of the one after them
        self._tokens, self._characters = 0, 0  # of finished sentences

    def check(self) -> None:
        """Raise `Interrupted` once the request has been stopped."""
        if self.stopped:
            raise Interrupted(self.spoken())

    def stop(self) -> None:
        """Let the next `check` raise, and wake who waits."""
        self.stopped = True
        for wake in self._wakes:
            wake()

    def when_stopped(self, wake: Callable[[], object]) -> None:
        """Call `wake` at every `stop`, and now if there was one."""
        self._wakes.append(wake)
        if self.stopped:
            wake()

    @property
    def begun(self) -> int:
        """How many sentences have been begun."""
        return len(self._texts)

    def begin(self, text: str) -> None:
        """Note what will be spoken next: a sentence, or more of the current one."""
        if len(self._texts) > self._finished:
            self._texts[-1] += f" {text}"
        else:
            self._texts.append(text)

    def reach(self, tokens: int) -> None:
        """Note how many tokens of the current sentence are sound by now."""
        pace = self._tokens / self._characters if self._characters else _TOKENS_PER_CHARACTER
        self._share = min(tokens / (1 + pace * len(self._texts[-1])), _UNFINISHED)

    def finish(self, tokens: int) -> None:
        """Note that all of the current sentence is sound, `tokens` in number."""
        self._tokens += tokens
        self._characters += len(self._texts[-1])
        self._share = 0.0  # first: another thread may ask now, and there is no next sentence
        self._finished += 1

    def heard(self, seconds: float) -> None:
        """Note that so much more sound is handed out, which speaks up to the current place."""
        self._places[0].append(self._finished)
        self._places[1].append(self._share)
        self._ends.append(seconds + (self._ends[-1] if self._ends else 0.0))

    def spoken(self, seconds: float | None = None) -> str:
        """Return the text said in the first `seconds` of the sound, in whole words."""
        finished, share = self._finished, self._share
        if seconds is not None:
            count = bisect.bisect_right(self._ends, seconds)
            sentences, shares = self._places
            finished, share = (sentences[count - 1], shares[count - 1]) if count else (0, 0.0)
        texts = self._texts[:finished]
        if share:
            begun = self._texts[finished]
            texts.append(begun[: round(share * len(begun))].rpartition(" ")[0])
        return " ".join(filter(None, texts))


class Speech(Iterator[Audio]):
    """The sound of one request.  Iterate to hear it, `close` it to stop, from any thread."""

    def __init__(self, speak: Callable[[Progress], Generator[Audio, None, None]]) -> None:
        self._progress = Progress()
        self._pieces = speak(self._progress)
        self._turn = threading.Lock()  # held by the thread that is making a piece

    def __next__(self) -> Audio:
        """Make the next piece.  Raises `Interrupted` if the speech is closed meanwhile."""
        try:
            with self._turn:
                piece = next(self._pieces)
                self._progress.check()
                self._progress.heard(piece.seconds)
                return piece
        finally:
            if self._progress.stopped:  # by a thread that could not end it while it was our turn
                self._end()

    def close(self) -> None:
        """Stop; a thread that is making a piece gives up within a hop, with `Interrupted`.

        So does one that waits for the writer of the text.
        """
        self._progress.stop()
        self._end()

    def _end(self) -> None:
        """End the work, unless it is some thread's turn: that one ends it then."""
        if self._turn.acquire(blocking=False):
            try:
                self._pieces.close()
            finally:
                self._turn.release()

    @property
    def sentences(self) -> int:
        """How many sentences have been begun."""
        return self._progress.begun

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What of the text so far cannot be spoken, each once, in order."""
        return tuple(self._progress.unsaid)

    def spoken_text(self, seconds: float | None = None) -> str:
        """Return what has been said, to the word, in all sound so far or its first `seconds`.

        Inside a sentence the place is estimated from its length.
        """
        return self._progress.spoken(seconds)

    def __enter__(self) -> Speech:
        """Leaving the block closes."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close."""
        self.close()
