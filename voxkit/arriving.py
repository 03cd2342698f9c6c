"""Text that is still being written: what can be spoken of it, as soon as that is certain."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Protocol

from voxkit.errors import TextError
from voxkit.speech import Progress
from voxkit.text import Script, Sentence

LONGEST = 300  # characters spoken in one go; a longer sentence starts anew, as after a breath


class TextSource(Protocol):
    """Takes text in pieces that are cut anywhere and gives it back fit to be spoken.

    A sentence that others follow is `cut`: its next part goes on where it ends.
    """

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What has come in so far and cannot be spoken, each once, in order."""

    def push(self, piece: str) -> list[Sentence]:
        """Take in more text and return what is now certain."""

    def finish(self) -> list[Sentence]:
        """Return what is left; the text is complete."""


class Utterance(Iterator[Sentence]):
    """What is spoken in one go: a sentence, or the parts of one while they arrive."""

    def __init__(
        self, first: Sentence, rest: Iterator[Sentence] | None, progress: Progress, after: bool
    ) -> None:
        """Begin with `first`, which goes on `after` one that was cut or not, and with the `rest`.

        Without a `rest` it is spoken by itself, cut or not.
        """
        self.first = self.last = first
        self.grows = rest is not None and first.cut
        self._rest, self._progress = rest, progress
        self._begun, self._continues, self._length = False, after, 0

    def __next__(self) -> Sentence:
        """Return the next part, waiting for it."""
        if self._begun:
            if self._rest is None or not self.last.cut or self._length > LONGEST:
                raise StopIteration
            self._continues = True
            self.last = next(self._rest)
        self._begun = True
        self._length += len(self.last.text)
        # The parts of one sentence may share its source.
        shared = self.last.cut or self._continues
        self._progress.begin(self.last.text if shared else self.last.source)
        return self.last


def known(script: Script, progress: Progress) -> Iterator[Utterance]:
    """Yield the sentences of a whole text, each to be spoken by itself."""
    progress.unsaid |= dict.fromkeys(script.unsaid)
    after = False
    for sentence in script.sentences:
        yield Utterance(sentence, None, progress, after)
        after = sentence.cut


def arriving(text: Iterable[str], source: TextSource, progress: Progress) -> Iterator[Utterance]:
    """Yield what is to be spoken while the text comes in.

    Raises `TextError` at its end if there was nothing to say.
    """
    sentences = _sentences(text, source, progress)
    utterance: Utterance | None = None
    for first in sentences:
        after = utterance is not None and utterance.last.cut
        utterance = Utterance(first, sentences, progress, after)
        yield utterance
    if utterance is None:
        few = " ".join(list(progress.unsaid)[:3])
        because = f"{few[:60]} cannot be spoken" if few else "it holds no word"
        raise TextError(f"There is nothing to say in this text: {because}; add some words.")


def _sentences(text: Iterable[str], source: TextSource, progress: Progress) -> Iterator[Sentence]:
    pieces = text if isinstance(text, Sequence) else _awaited(text, progress)
    for piece in pieces:
        sentences = source.push(piece)
        progress.unsaid |= dict.fromkeys(source.unsaid)
        yield from sentences
        progress.check()
    sentences = source.finish()
    progress.unsaid |= dict.fromkeys(source.unsaid)
    yield from sentences


def _awaited(text: Iterable[str], progress: Progress) -> Iterator[str]:
    """Yield the pieces of a text; the wait for its writer ends when the request is stopped.

    The writer is asked in a thread of its own, for one piece whenever one is wanted.  A thread
    whose writer never answers is left behind and keeps no process alive.
    """
    asked = SimpleQueue[bool]()  # whether another piece is wanted
    answers = SimpleQueue[str | BaseException | None]()  # None at the end, or when stopped

    def end() -> None:
        asked.put(False)
        answers.put(None)

    progress.when_stopped(end)
    threading.Thread(target=_ask, args=(text, asked, answers), daemon=True).start()
    try:
        while True:
            asked.put(True)
            answer = answers.get()
            progress.check()
            if answer is None:
                return
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        asked.put(False)


def _ask(
    text: Iterable[str],
    asked: SimpleQueue[bool],
    answers: SimpleQueue[str | BaseException | None],
) -> None:
    """Answer with the next piece of a text whenever asked, or with what its writer raises."""
    try:
        pieces = iter(text)
        while asked.get():
            answers.put(next(pieces, None))
    except BaseException as error:  # noqa: BLE001 (raised again where the text is spoken)
        answers.put(error)
