"""Speech under way tells how much of the text it has said, and stops from any thread."""

from __future__ import annotations

import threading
from collections.abc import Generator

import numpy as np
import pytest

from voxkit.audio import Audio
from voxkit.errors import Interrupted
from voxkit.speech import Progress, Speech

RATE = 1000
WAIT_S = 10.0  # never reached unless something hangs


def sound(seconds: float) -> Audio:
    return Audio(np.zeros(round(seconds * RATE), np.float32), RATE)


def two_sentences(progress: Progress) -> Generator[Audio, None, None]:
    progress.begin("One two three four five.")
    progress.reach(20)
    yield sound(1)
    progress.finish(40)
    yield sound(1)
    progress.begin("Six seven eight nine ten.")
    progress.reach(20)
    yield sound(1)
    progress.finish(40)
    yield sound(1)


def test_nothing_is_said_before_the_first_piece() -> None:
    speech = Speech(two_sentences)
    assert speech.spoken_text() == ""
    assert speech.spoken_text(9.0) == ""


def test_the_text_said_grows_with_the_sound() -> None:
    speech, said = Speech(two_sentences), []
    for _ in speech:
        said.append(speech.spoken_text())
    assert said[0] in ("One two", "One two three")
    assert said[1] == "One two three four five."
    assert said[2] == "One two three four five. Six seven"  # the first told how many tokens a word
    assert said[3] == "One two three four five. Six seven eight nine ten."


def test_what_a_listener_has_heard_is_told_by_the_seconds() -> None:
    speech = Speech(two_sentences)
    list(speech)
    assert speech.spoken_text(0.5) == ""
    assert speech.spoken_text(2.5) == "One two three four five."
    assert speech.spoken_text(3.0).endswith("Six seven")
    assert speech.spoken_text(99.0) == speech.spoken_text()


def test_a_sentence_of_unknown_length_is_never_said_to_its_end() -> None:
    def endless(progress: Progress) -> Generator[Audio, None, None]:
        progress.begin("One two three.")
        progress.reach(10_000)
        yield sound(1)

    speech = Speech(endless)
    list(speech)
    assert speech.spoken_text() == "One two"


def test_a_sentence_may_grow_while_it_is_spoken() -> None:
    def growing(progress: Progress) -> Generator[Audio, None, None]:
        progress.begin("One two,")
        progress.reach(10)
        progress.begin("three four.")
        progress.finish(40)
        yield sound(1)

    speech = Speech(growing)
    list(speech)
    assert speech.spoken_text() == "One two, three four."


def test_closing_ends_the_work_and_frees_what_it_held() -> None:
    closed: list[bool] = []

    def work(progress: Progress) -> Generator[Audio, None, None]:
        try:
            yield from two_sentences(progress)
        finally:
            closed.append(True)

    speech = Speech(work)
    next(speech)
    speech.close()
    assert closed == [True]
    assert list(speech) == []
    assert speech.spoken_text().startswith("One two")


def test_closing_from_another_thread_interrupts_within_a_token() -> None:
    working, closed = threading.Event(), threading.Event()
    steps: list[int] = []

    def work(progress: Progress) -> Generator[Audio, None, None]:
        yield from two_sentences(progress)
        for step in range(1000):
            progress.check()
            steps.append(step)
            working.set()
            closed.wait(WAIT_S)

    speech = Speech(work)
    caught: list[Interrupted] = []

    def listen() -> None:
        try:
            list(speech)
        except Interrupted as error:
            caught.append(error)

    listener = threading.Thread(target=listen)
    listener.start()
    assert working.wait(WAIT_S)
    speech.close()
    closed.set()
    listener.join(WAIT_S)
    assert steps == [0]
    assert caught[0].spoken_text == "One two three four five. Six seven eight nine ten."
    assert list(speech) == []


def test_a_piece_made_while_it_was_closed_is_not_handed_out() -> None:
    def work(progress: Progress) -> Generator[Audio, None, None]:
        progress.begin("One.")
        progress.stop()
        yield sound(1)

    with pytest.raises(Interrupted):
        next(Speech(work))


def test_a_close_just_before_a_piece_is_handed_out_frees_what_the_work_held() -> None:
    closed: list[bool] = []

    def work(progress: Progress) -> Generator[Audio, None, None]:
        heard = progress.heard

        def close_then(seconds: float) -> None:
            speech.close()  # as another thread would: it is this one's turn
            heard(seconds)

        progress.heard = close_then  # type: ignore[method-assign]
        try:
            yield sound(1)
        finally:
            closed.append(True)

    speech = Speech(work)
    next(speech)
    assert closed == [True]
    assert list(speech) == []


def test_leaving_the_block_closes() -> None:
    with Speech(two_sentences) as speech:
        next(speech)
    assert list(speech) == []


def test_an_error_reaches_the_listener() -> None:
    def work(progress: Progress) -> Generator[Audio, None, None]:
        yield sound(1)
        raise RuntimeError("tensor sizes do not match")

    speech = Speech(work)
    next(speech)
    with pytest.raises(RuntimeError, match="tensor sizes"):
        next(speech)
