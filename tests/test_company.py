"""Tasks that take turns, and have what they ask for done for several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
import torch

from voxkit.company import Company, Stage, by_kind
from voxkit.errors import Interrupted


def results(company: Company, tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """What tasks return or raise, in their order."""
    found: dict[int, Any] = {}

    def ended(index: int, future: Future[Any]) -> None:
        assert threading.current_thread() is here
        found[index] = future.exception() or future.result()

    here = threading.current_thread()
    company.run(tasks, ended)
    return [found[index] for index in range(len(tasks))]


class Log:
    """Serves by adding ten to every wish, and remembers who came at once."""

    def __init__(self) -> None:
        self.served: list[list[int]] = []

    def __call__(self, wishes: Sequence[int]) -> list[int]:
        self.served.append(list(wishes))
        return [wish + 10 for wish in wishes]


def asking(stage: Stage[int, int], *wishes: int) -> Callable[[], list[int]]:
    return lambda: [stage.ask(wish) for wish in wishes]


def test_what_several_ask_for_is_done_at_once() -> None:
    company, log = Company(3), Log()
    stage = company.stage(log)
    made = results(company, [asking(stage, 1, 2), asking(stage, 3), asking(stage, 4, 5, 6)])
    assert made == [[11, 12], [13], [14, 15, 16]]
    assert log.served == [[1, 3, 4], [2, 5], [6]]


def test_who_waits_at_a_later_stage_waits_for_all() -> None:
    company, early, late = Company(2), Log(), Log()
    first, second = company.stage(early), company.stage(late)

    def quick() -> int:
        return second.ask(1)

    def slow() -> int:
        return second.ask(first.ask(first.ask(2)))

    assert results(company, [quick, slow]) == [11, 32]
    assert early.served == [[2], [12]]
    assert late.served == [[1, 22]]


def test_a_stage_may_serve_one_after_the_other() -> None:
    company, log = Company(3), Log()
    stage = company.stage(log, most=1)
    results(company, [asking(stage, 1), asking(stage, 2), asking(stage, 3)])
    assert log.served == [[1], [2], [3]]


def test_there_may_be_more_tasks_than_seats_and_fewer() -> None:
    for count in (0, 1, 2, 7):
        company, log = Company(2), Log()
        stage = company.stage(log)
        assert results(company, [asking(stage, n) for n in range(count)]) == [
            [n + 10] for n in range(count)
        ]
        assert max(map(len, log.served), default=0) <= 2


def test_a_task_that_never_asks_is_done_too() -> None:
    company = Company(2)
    stage = company.stage(Log())
    assert results(company, [lambda: "nothing", asking(stage, 1)]) == ["nothing", [11]]


def test_tasks_take_turns() -> None:
    """Whatever a task does between two wishes, no other runs meanwhile: the order is fixed."""
    company, log, order = Company(3), Log(), list[str]()
    stage = company.stage(log)

    def task(name: str) -> Callable[[], None]:
        def work() -> None:
            for wish in range(3):
                order.append(f"{name} {wish}")
                stage.ask(wish)
                order.append(f"{name} has {wish}")

        return work

    results(company, [task(name) for name in "abc"])
    assert order[:3] == ["a 0", "b 0", "c 0"]
    assert order[3:9] == ["a has 0", "a 1", "b has 0", "b 1", "c has 0", "c 1"]


def test_what_cannot_be_served_at_once_is_served_in_halves() -> None:
    company, served = Company(7), list[list[int]]()

    def little(wishes: Sequence[int]) -> list[int]:
        served.append(list(wishes))
        if len(wishes) > 2:
            raise MemoryError("no room")
        return [-wish for wish in wishes]

    stage = company.stage(little)
    assert results(company, [asking(stage, n) for n in range(7)]) == [[-n] for n in range(7)]
    assert served == [[*range(7)], [0, 1, 2], [0], [1, 2], [3, 4, 5, 6], [3, 4], [5, 6]]


def test_a_wish_that_cannot_be_served_fails_for_no_other() -> None:
    company = Company(4)

    def careful(wishes: Sequence[int]) -> list[int]:
        if bad := [wish for wish in wishes if wish > 90]:
            raise RuntimeError(f"{bad[0]} is broken")
        return list(wishes)

    stage, late = company.stage(careful), company.stage(Log())
    tasks = [asking(stage, n) for n in (1, 98, 99)]
    made = results(company, [*tasks, asking(late, 2)])
    assert [str(one) for one in made] == ["[1]", "98 is broken", "99 is broken", "[12]"]


def test_the_first_stage_is_served_before_all_others() -> None:
    company, late, early = Company(2), Log(), Log()
    second = company.stage(late)
    first = company.stage(early, first=True)
    made = results(company, [asking(second, 1), lambda: second.ask(first.ask(2))])
    assert made == [[11], 22]
    assert (early.served, late.served) == ([[2]], [[1, 12]])


def test_a_task_that_fails_lets_the_others_go_on() -> None:
    company = Company(2)
    stage = company.stage(Log())

    def fails() -> None:
        stage.ask(1)
        raise KeyError("lost")

    made = results(company, [fails, asking(stage, 2, 3)])
    assert isinstance(made[0], KeyError)
    assert made[1] == [12, 13]


def test_an_interruption_ends_all_tasks_and_tells_of_those_that_had_ended() -> None:
    company, told, begun = Company(2), dict[int, Any](), list[int]()
    count = threading.active_count()

    def interrupted(wishes: Sequence[int]) -> list[int]:
        if 3 in wishes:
            raise KeyboardInterrupt
        return list(wishes)

    stage = company.stage(interrupted)

    def task(number: int) -> Callable[[], int]:
        def work() -> int:
            begun.append(number)
            return stage.ask(number)

        return work

    def ended(index: int, future: Future[Any]) -> None:
        told[index] = future.exception() or future.result()

    with pytest.raises(KeyboardInterrupt):
        company.run([task(number) for number in range(9)], ended)
    assert told.pop(0) == 0 and told.pop(1) == 1
    assert told and all(isinstance(error, Interrupted) for error in told.values())
    assert begun == [0, 1, 2, 3]
    assert threading.active_count() == count
    assert results(company, [task(8)]) == [8]  # it can be used again


def test_what_is_raised_for_an_end_ends_all() -> None:
    company = Company(2)
    stage = company.stage(Log())

    def ended(index: int, future: Future[Any]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        company.run([asking(stage, 1), asking(stage, 1, 2, 3)], ended)


def test_who_is_no_task_cannot_ask() -> None:
    company = Company(1)
    with pytest.raises(ValueError, match="only a task"):
        company.stage(Log()).ask(1)
    assert company.here is None


def test_only_the_thread_that_runs_the_tasks_has_several_cores() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        company = Company(1)
        stage = company.stage(lambda wishes: [torch.get_num_threads() for _ in wishes])
        made = results(company, [lambda: (torch.get_num_threads(), stage.ask(None))])
        assert made == [(1, 2)]
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [2]
    finally:
        torch.set_num_threads(before)


def test_wishes_of_one_kind_are_done_together() -> None:
    calls: list[list[int]] = []

    def several(wishes: Sequence[int]) -> list[int]:
        calls.append(list(wishes))
        return [-wish for wish in wishes]

    kinds = ["a", "b", "a", "c", "a"]
    assert by_kind([1, 2, 3, 4, 5], kinds, lambda one: 100 * one, several) == [-1, 200, -3, 400, -5]
    assert calls == [[1, 3, 5]]
    assert by_kind([], [], lambda one: one, several) == []
