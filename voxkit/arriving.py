"""Text that is still being written: what can be spoken of it, as soon as that is certain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    for piece in text:
        sentences = source.push(piece)
        progress.unsaid |= dict.fromkeys(source.unsaid)
        yield from sentences
        progress.check()
    sentences = source.finish()
    progress.unsaid |= dict.fromkeys(source.unsaid)
    yield from sentences
