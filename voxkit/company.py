"""Lets tasks that are written one by one have their heavy work done for several at once.

Tasks run in threads that take turns: one runs until it asks for something, or ends.  When all ask,
the first stage at which anybody waits is served for all who wait there, in the thread that runs
them: who was quick waits for the others, and all come to the later stages together.  Every thread
that asks torch to work has helpers of its own, and as soon as these are more than the processor's
cores all of them are slow; threads that do not take turns fight for Python's lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from voxkit.errors import Interrupted
from voxkit.interrupts import CriticalSection

Wish = TypeVar("Wish")
Made = TypeVar("Made")
Serve = Callable[[Sequence[Wish]], Sequence[Made]]
Task = tuple[int, Callable[[], Any]]  # with its index
Ended = Callable[[int, "Future[Any]"], None]


@dataclass(eq=False)
class Seat:
    """One thread's place: what it waits for, and what came of it."""

    number: int  # from 0 on, below the company's size
    turn: SimpleQueue[None] = field(default_factory=SimpleQueue)  # unlike a lock, safe from Ctrl-C
    stage: Stage[Any, Any] | None = None  # while it waits
    wish: Any = None
    made: Any = None
    error: Exception | None = None
    task: Task = -1, lambda: None
    ended: tuple[int, Future[Any]] | None = None  # how its task has ended, until that is told


@dataclass
class _Here(threading.local):
    """The seat of the running thread."""

    seat: Seat | None = field(default=None)


class Company:
    """So many seats, and the stages that the tasks in them come to."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._stages: list[Stage[Any, Any]] = []
        self._here = _Here()
        self._running = threading.Lock()
        self._back = SimpleQueue[None]()  # the turn of the thread that runs the tasks
        self._dismissed = False

    @property
    def here(self) -> Seat | None:
        """The seat of the running thread, if it has one."""
        return self._here.seat

    def stage(
        self, serve: Serve[Wish, Made], *, most: int | None = None, first: bool = False
    ) -> Stage[Wish, Made]:
        """Add a stage that follows all others, or is `first`; `most` are served at a time."""
        made = Stage(self, serve, most)
        self._stages.insert(0 if first else len(self._stages), made)
        return made

    def run(self, tasks: Sequence[Callable[[], Any]], ended: Ended) -> None:
        """Do tasks, as many at a time as there are seats, and here what they ask for.

        `ended` is told the index of each when it has ended, here too, and Ctrl-C waits meanwhile.
        If anything is raised here, as by Ctrl-C, tasks that ask give up with `Interrupted`, and
        others do not begin.
        """
        todo = deque(enumerate(tasks))
        seats = [Seat(number) for number in range(min(self.size, len(tasks)))]
        with self._running, CriticalSection() as section, _one_core_each():
            threads = [
                threading.Thread(target=self._work, args=(seat,), daemon=True) for seat in seats
            ]
            self._back, self._dismissed = SimpleQueue[None](), False
            try:
                for thread in threads:
                    thread.start()
                self._take_turns(seats, todo, ended, section)
            finally:
                self._dismissed = True
                for seat in seats:
                    seat.turn.put(None)
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
                with ExitStack() as untold:  # all of it, even if one cannot be told
                    for seat in seats[::-1]:
                        if seat.ended is not None:
                            untold.callback(ended, *seat.ended)

    def ask(self, stage: Stage[Any, Any], wish: Any) -> Any:
        """Wait until a stage has served the running thread's seat."""
        seat = self._here.seat
        if seat is None:
            raise ValueError("only a task of the company can ask")
        seat.stage, seat.wish, seat.made, seat.error = stage, wish, None, None
        self._rest(seat)
        if seat.error is not None:
            raise seat.error
        return seat.made

    def _rest(self, seat: Seat) -> None:
        """Give the turn back until it comes again.  Raises `Interrupted` if it never will."""
        if not self._dismissed:
            self._back.put(None)
            seat.turn.get()
        if self._dismissed:
            raise Interrupted("")

    def _work(self, seat: Seat) -> None:
        """Do the tasks that a seat is given, in a thread of its own."""
        _one_core()
        self._here.seat = seat
        seat.turn.get()
        while not self._dismissed:
            index, task = seat.task
            future = Future[Any]()
            try:
                future.set_result(task())
            except BaseException as error:  # noqa: BLE001 (whoever asks the future gets it)
                future.set_exception(error)
            seat.ended = index, future
            with suppress(Interrupted):
                self._rest(seat)

    def _take_turns(
        self,
        seats: Sequence[Seat],
        todo: deque[Task],
        ended: Ended,
        section: CriticalSection,
    ) -> None:
        """Give every seat a task, and then turns until all tasks have ended."""
        ready, waiting = deque[Seat](), list[Seat]()

        def begin(seat: Seat) -> None:
            if todo:
                seat.task = todo.popleft()
                ready.append(seat)

        for seat in seats:
            begin(seat)
        while ready or waiting:
            if not ready:
                with section.interruptible():
                    ready.extend(self._serve(waiting))
                continue
            seat = ready.popleft()
            seat.turn.put(None)
            with section.interruptible():
                self._back.get()
            if seat.ended is None:
                waiting.append(seat)
            else:
                how, seat.ended = seat.ended, None
                ended(*how)
                begin(seat)

    def _serve(self, waiting: list[Seat]) -> list[Seat]:
        """Serve the first stage at which anybody waits → those whose turn it is then."""
        asked = {seat.stage for seat in waiting}
        stage = next(stage for stage in self._stages if stage in asked)
        asking = [seat for seat in waiting if seat.stage is stage][: stage.most]
        made = _served(stage.serve, [seat.wish for seat in asking])
        for seat, (one, error) in zip(asking, made, strict=True):
            waiting.remove(seat)
            seat.stage, seat.wish, seat.made, seat.error = None, None, one, error
        return asking


def _served(serve: Serve[Wish, Made], wishes: Sequence[Wish]) -> list[tuple[Any, Exception | None]]:
    """Serve wishes → what is made of each, or why nothing is.

    If several cannot be served at once, as when memory runs out or one of them is broken, each half
    of them is tried: at last a wish fails alone.
    """
    try:
        return [(one, None) for one in serve(wishes)]
    except Exception as error:  # noqa: BLE001 (raised where the wish was made)
        if len(wishes) == 1:
            return [(None, error)]
    half = len(wishes) // 2
    return _served(serve, wishes[:half]) + _served(serve, wishes[half:])


@contextmanager
def _one_core_each() -> Iterator[None]:
    """Let torch work on one core in threads that are started meanwhile, as it does in no other."""
    import torch

    cores = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(cores)  # which `_one_core` has changed for threads to come


def _one_core() -> None:
    import torch

    torch.set_num_threads(1)


@dataclass(eq=False)
class Stage(Generic[Wish, Made]):
    """Something that is done for several tasks at once."""

    company: Company
    serve: Serve[Wish, Made]  # in the thread that runs the company
    most: int | None  # at a time; None is everybody who waits

    def ask(self, wish: Wish) -> Made:
        """Wait until it is done for the task of the running thread.

        Raises what serving it alone raised, and `Interrupted` if the company ends before.
        """
        return cast(Made, self.company.ask(self, wish))


def by_kind(
    wishes: Sequence[Wish],
    kinds: Sequence[Hashable],
    one: Callable[[Wish], Made],
    several: Callable[[Sequence[Wish]], Sequence[Made]],
) -> list[Made]:
    """Do what is wished for, together where several are of one kind → what is made of each."""
    made: dict[int, Made] = {}
    for kind in dict.fromkeys(kinds):
        indices = [i for i, other in enumerate(kinds) if other == kind]
        same = [wishes[i] for i in indices]
        made |= zip(indices, several(same) if len(same) > 1 else [one(same[0])], strict=True)
    return [made[i] for i in range(len(wishes))]
