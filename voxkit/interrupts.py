"""Ctrl-C and SIGTERM: what they end, and what they must not tear up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Self

ENDING = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], Any]


# ---- the process of a command -----------------------------------------------------------------


def heed() -> None:
    """Let Ctrl-C and SIGTERM end the command of this process, once: its cleaning is left alone.

    What is to be ignored, as Ctrl-C is in a shell's background, stays so.
    """
    for number in ENDING:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _end)


def status() -> int | None:
    """Return what the process is to exit with if it was told to end, and else None.

    What fails after that may just have been torn up.
    """
    told = [number for number in ENDING if signal.getsignal(number) is _still_ending]
    return 128 + max(told) if told else None


def finish() -> None:
    """Leave nothing for a signal to tear up in Python's own end: it is ignored, or ends that."""
    rest = signal.SIG_DFL if status() is None else signal.SIG_IGN
    for number in ENDING:
        if callable(signal.getsignal(number)):
            signal.signal(number, rest)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    for other in ENDING if number == signal.SIGTERM else (number,):
        if callable(signal.getsignal(other)):
            signal.signal(other, _still_ending)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _still_ending(number: int, frame: FrameType | None) -> None:
    """Hear it again while the first is being followed."""


# ---- any stretch of work ----------------------------------------------------------------------


@contextmanager
def collected() -> Iterator[list[int]]:
    """Collect the signals that ask to end, in a list, instead of ending.

    What is to be ignored stays so.
    """
    seen: list[int] = []
    heeded = [n for n in ENDING if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    former = [signal.signal(number, lambda n, frame: seen.append(n)) for number in heeded]
    try:
        yield seen
    finally:
        for number, handler in zip(heeded, former, strict=True):
            signal.signal(number, handler)


class CriticalSection:
    """A stretch in which Ctrl-C and SIGTERM wait, but for the parts that are `interruptible`.

    What they raise comes anywhere in Python's main thread, also between a deed and the note that it
    is done.  In other threads, where it never comes, this does nothing.
    """

    def __init__(self) -> None:
        self._former: dict[int, Handler] = {}
        self._waiting: list[int] = []
        self._open = True  # whether signals come through, as they do before it begins
        self._over = False
        self._raised: BaseException | None = None

    def __enter__(self) -> Self:
        """Begin."""
        try:
            if threading.current_thread() is threading.main_thread():
                for number in ENDING:
                    former = signal.getsignal(number)
                    if callable(former):
                        self._former[number] = former
                        signal.signal(number, self._hear)
            self._open = False
        except BaseException:
            self._over = True
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        """End, and let those come that have waited."""
        self._over = True
        self._leave()
        self._deliver()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let signals come through, and at once those that have waited.

        What one has raised is raised in the end even if it was swallowed, or made another error of,
        on its way.
        """
        self._open = True
        try:
            self._deliver()
            yield
        except Exception:
            if self._raised is None:
                raise
        finally:
            self._open = False
        if self._raised is not None:
            raise self._raised

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._over:  # one before this was heard while it began or ended
            self._leave()
        elif not self._open:
            self._waiting += [] if number in self._waiting else [number]
            return
        self._open = False  # one that follows waits until what this one raises has arrived
        try:
            self._former[number](number, frame)
        except BaseException as error:
            self._raised = error
            raise
        self._open = True

    def _leave(self) -> None:
        for number, former in self._former.items():
            if signal.getsignal(number) == self._hear:
                signal.signal(number, former)

    def _deliver(self) -> None:
        while self._waiting:
            number = max(self._waiting)  # SIGTERM ends more than Ctrl-C does
            self._waiting.remove(number)
            self._hear(number, None)
