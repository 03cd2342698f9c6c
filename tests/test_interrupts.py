"""Signals that end a process: where they come through, and that none is lost or comes too early."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest

from voxkit import interrupts
from voxkit.cli.batch import _run_apart
from voxkit.company import Company
from voxkit.interrupts import CriticalSection

BOTH = [signal.SIGINT, signal.SIGTERM]


class Ended(BaseException):
    """What the handler of these tests raises."""


@pytest.fixture(autouse=True)
def heard() -> Iterator[list[int]]:
    """Handlers that raise `Ended`, and the numbers that they have raised it for."""
    numbers: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        numbers.append(number)
        raise Ended

    former = {number: signal.signal(number, end) for number in BOTH}
    yield numbers
    for number in BOTH:
        signal.signal(number, former[number])


def send(number: int) -> None:
    os.kill(os.getpid(), number)


# ---- the section ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_waits_until_the_section_ends(number: int, heard: list[int]) -> None:
    done = []
    with pytest.raises(Ended), CriticalSection():
        send(number)
        send(number)
        done.append("all")
    assert (done, heard) == (["all"], [number])


def test_of_two_that_wait_sigterm_comes_first(heard: list[int]) -> None:
    with pytest.raises(Ended), CriticalSection():
        send(signal.SIGINT)
        send(signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_what_is_collected_ends_nothing_and_what_is_ignored_is_not_collected() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in BOTH]
    with interrupts.collected() as seen:
        send(signal.SIGINT)
        send(signal.SIGTERM)
    assert seen == [signal.SIGINT]
    assert [signal.getsignal(number) for number in BOTH] == before


def test_a_signal_that_waits_comes_through_where_it_may(heard: list[int]) -> None:
    done = []
    with pytest.raises(Ended), CriticalSection() as section:
        send(signal.SIGINT)
        done.append("before")
        with section.interruptible():
            done.append("within")
    assert (done, heard) == (["before"], [signal.SIGINT])


def test_one_that_comes_where_it_may_comes_at_once_and_the_next_waits(heard: list[int]) -> None:
    done = []
    with pytest.raises(Ended), CriticalSection() as section, section.interruptible():
        try:
            send(signal.SIGINT)
            done.append("within")
        finally:
            send(signal.SIGTERM)
            done.append("cleaned")
    assert (done, heard) == (["cleaned"], [signal.SIGINT, signal.SIGTERM])


@pytest.mark.parametrize("then", ["swallowed", "torn up"])
def test_what_a_signal_raised_arrives_whatever_became_of_it(then: str) -> None:
    with pytest.raises(Ended), CriticalSection() as section, section.interruptible():
        with suppress(Ended):
            send(signal.SIGINT)
        if then == "torn up":
            raise RuntimeError("half an import")


def test_an_error_without_a_signal_is_itself() -> None:
    with pytest.raises(RuntimeError), CriticalSection() as section, section.interruptible():
        raise RuntimeError("a bug")


def test_handlers_are_as_before_afterwards_and_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in BOTH]
    with CriticalSection() as section, section.interruptible():
        send(signal.SIGINT)
    assert [signal.getsignal(number) for number in BOTH] == before


def test_a_handler_that_only_takes_note_changes_nothing() -> None:
    noted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    with CriticalSection() as section:
        with section.interruptible():
            send(signal.SIGINT)
            send(signal.SIGINT)
        send(signal.SIGINT)
        assert len(noted) == 2
    assert len(noted) == 3


def test_another_thread_has_sections_too() -> None:
    done = []

    def work() -> None:
        with CriticalSection() as section, section.interruptible():
            done.append("all")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["all"]


def test_sections_lie_within_each_other(heard: list[int]) -> None:
    done = []
    with pytest.raises(Ended), CriticalSection():
        with CriticalSection() as inner, inner.interruptible():
            send(signal.SIGINT)
            done.append("inner")
        done.append("outer")
    assert (done, heard) == (["inner", "outer"], [signal.SIGINT])


# ---- at every moment --------------------------------------------------------------------------


@contextmanager
def signal_at(moment: int, number: int) -> Iterator[list[int]]:
    """Send a signal when the running thread has come to a line so many lines from here.

    The list holds that moment once it has come.
    """
    passed, sent = [0], list[int]()

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if "weakref" in frame.f_code.co_filename:
            return None  # callbacks, of which Python swallows what they raise
        if event == "line" and not sent:
            passed[0] += 1
            if passed[0] > moment:
                sent.append(moment)
                send(number)
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        yield sent
    finally:
        sys.settrace(former)


def at_every_moment(work: Callable[[], None], heard: list[int], step: int) -> None:
    """Have work interrupted at every line, one after the other, and check what it left behind."""
    moment, again = 0, True
    while again:
        number = BOTH[moment // step % 2]
        threads = threading.active_count()
        heard.clear()
        with suppress(Ended), signal_at(moment, number) as sent:
            work()
        again = bool(sent)
        assert heard == [number] * len(sent), f"lost at line {moment}"
        assert threading.active_count() == threads, f"a thread is left at line {moment}"
        moment += step
    assert moment > 100


def test_a_company_may_be_interrupted_at_any_line(heard: list[int]) -> None:
    company = Company(2)
    stage = company.stage(lambda wishes: [wish + 1 for wish in wishes])
    runs: list[tuple[list[int], list[int]]] = []

    def work() -> None:
        finished, told = list[int](), list[int]()
        runs.append((finished, told))

        def task(number: int) -> Callable[[], None]:
            def ask() -> None:
                stage.ask(number)
                finished.append(number)

            return ask

        def ended(index: int, future: Future[None]) -> None:
            if future.exception() is None:
                told.append(index)

        company.run([task(number) for number in range(3)], ended)

    at_every_moment(work, heard, 2)
    for finished, told in runs:
        assert sorted(told) == sorted(finished)
    assert len({len(finished) for finished, _ in runs}) > 1
    assert runs[-1][0] == [0, 1, 2]


def test_lines_apart_may_be_interrupted_at_any_line(heard: list[int]) -> None:
    runs: list[tuple[list[int], list[int]]] = []

    def work() -> None:
        finished, told = list[int](), list[int]()
        runs.append((finished, told))

        def ended(index: int, future: Future[None]) -> None:
            assert future.exception() is None
            told.append(index)

        tasks = [lambda number=number: finished.append(number) for number in range(3)]
        _run_apart(tasks, 2, ended, lambda: None)

    at_every_moment(work, heard, 3)
    for finished, told in runs:
        assert sorted(told) == sorted(finished)
    assert sorted(runs[-1][0]) == [0, 1, 2]


# ---- a command's process ----------------------------------------------------------------------


def test_a_command_is_ended_once_and_says_by_what() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupts.heed()
    assert interrupts.status() is None
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    send(signal.SIGINT)
    assert interrupts.status() == 130
    with pytest.raises(SystemExit) as end:
        send(signal.SIGTERM)
    assert end.value.code == interrupts.status() == 143
    for number in BOTH:
        send(number)
    interrupts.finish()
    assert [signal.getsignal(number) for number in BOTH] == [signal.SIG_IGN] * 2


def test_what_is_ignored_is_not_heeded() -> None:
    for number in BOTH:
        signal.signal(number, signal.SIG_IGN)
    interrupts.heed()
    interrupts.finish()
    assert [signal.getsignal(number) for number in BOTH] == [signal.SIG_IGN] * 2


def test_nothing_is_torn_up_once_all_is_done() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupts.heed()
    interrupts.finish()
    assert [signal.getsignal(number) for number in BOTH] == [signal.SIG_DFL] * 2
