"""Text that is being written is asked for piece by piece, and nobody has to wait for its writer."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import tiny

from voxkit.arriving import arriving
from voxkit.errors import Interrupted
from voxkit.speech import Progress
from voxkit.text import TextStream

WAIT_S = 10.0  # never reached unless something hangs
TESTS = Path(__file__).parent


def said(text: Iterable[str], progress: Progress) -> Iterator[str]:
    """Yield the sentences of a text while it is written."""
    source = TextStream(language="en", max_words=20)
    for utterance in arriving(text, source, progress):
        yield from (part.source for part in utterance)


class Silent(Iterator[str]):
    """A writer who says something and then nothing until it is let go."""

    def __init__(self, *pieces: str) -> None:
        self._pieces = iter(pieces)
        self.asked, self.go = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def __next__(self) -> str:
        if (piece := next(self._pieces, None)) is not None:
            return piece
        self.thread = threading.current_thread()
        self.asked.set()
        self.go.wait(WAIT_S)
        return "More. "


def listening(hear: Callable[[], object]) -> tuple[threading.Thread, list[Interrupted]]:
    """Start a listener, and return it with what ends it."""
    ends: list[Interrupted] = []

    def listen() -> None:
        try:
            hear()
        except Interrupted as error:
            ends.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    return thread, ends


@pytest.mark.parametrize("pieces", [(), ("Hello world. Hel",)])
def test_closing_ends_the_wait_for_a_writer_who_is_silent(pieces: tuple[str, ...]) -> None:
    writer = Silent(*pieces)
    speech = tiny.engine().stream(writer, tiny.voice())
    listener, ends = listening(lambda: list(speech))
    assert writer.asked.wait(WAIT_S)
    speech.close()
    listener.join(WAIT_S)
    assert len(ends) == 1
    assert list(speech) == []
    assert writer.thread is not None
    assert writer.thread.is_alive()  # it alone is still there, until the writer goes on
    writer.go.set()
    writer.thread.join(WAIT_S)
    assert not writer.thread.is_alive()


def test_a_request_that_was_stopped_before_waits_for_nobody() -> None:
    progress = Progress()
    progress.stop()
    with pytest.raises(Interrupted):
        next(said(Silent(), progress))


def test_a_writer_is_asked_for_no_more_than_is_wanted() -> None:
    asked: list[str] = []

    def text() -> Iterator[str]:
        for piece in ("One. ", "Two. ", "Three. ", "Four. "):
            asked.append(piece)
            yield piece

    sentences = said(text(), Progress())
    assert next(sentences) == "One."
    assert len(asked) == 2  # the second piece tells that the first is a whole sentence
    assert list(sentences) == ["Two.", "Three.", "Four."]


def test_the_thread_that_asks_ends_with_the_text() -> None:
    threads: list[threading.Thread] = []

    def text() -> Iterator[str]:
        threads.append(threading.current_thread())
        yield "One. Two."

    assert list(said(text(), Progress())) == ["One.", "Two."]
    threads[0].join(WAIT_S)
    assert not threads[0].is_alive()


def test_the_thread_that_asks_ends_when_nobody_listens_on() -> None:
    threads: list[threading.Thread] = []

    def text() -> Iterator[str]:
        threads.append(threading.current_thread())
        yield from ("One. Two. ", "Three.")

    sentences = said(text(), Progress())
    next(sentences)
    del sentences
    threads[0].join(WAIT_S)
    assert not threads[0].is_alive()


def test_an_error_of_the_writer_is_raised_where_the_text_is_spoken() -> None:
    def text() -> Iterator[str]:
        yield "One. Two. "
        raise ConnectionResetError("the writer has gone")

    sentences = said(text(), Progress())
    with pytest.raises(ConnectionResetError, match="the writer has gone"):
        list(sentences)


def test_a_writer_who_never_answers_keeps_no_process_alive() -> None:
    code = """
import threading, tiny
class Mute:
    asked = threading.Event()
    def __iter__(self):
        return self
    def __next__(self):
        self.asked.set()
        threading.Event().wait()
speech = tiny.engine().stream(Mute(), tiny.voice())
listener = threading.Thread(target=lambda: next(speech, None))
threading.excepthook = lambda told: print(told.exc_type.__name__)
listener.start()
Mute.asked.wait()
speech.close()
listener.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=TESTS, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.decode()) == (0, "Interrupted\n"), done.stderr.decode()


def test_pieces_that_are_all_there_need_no_thread() -> None:
    before = threading.active_count()
    sentences = said(["One. Two. ", "Three."], Progress())
    assert next(sentences) == "One."
    assert threading.active_count() == before
