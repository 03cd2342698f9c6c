"""`prefetch` runs ahead by a set number of items, tells errors at once, and ends when told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from voxkit.prefetch import prefetch

WAIT_S = 10.0  # never reached unless something hangs


def test_items_come_in_order_and_end() -> None:
    with prefetch(iter(range(50)), 3) as ahead:
        assert list(ahead) == list(range(50))
        assert list(ahead) == []


def test_it_runs_ahead_by_its_size_and_no_further() -> None:
    made: list[int] = []
    full = threading.Event()

    def source() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            if len(made) == 4:
                full.set()
            yield n

    with prefetch(source(), 4) as ahead:
        assert full.wait(WAIT_S)
        assert made == [0, 1, 2, 3]
        assert next(ahead) == 0


def test_an_error_is_raised_at_once_before_what_still_waits() -> None:
    failed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from (1, 2, 3)
            raise ValueError("broken")
        finally:
            failed.set()

    with prefetch(source(), 10) as ahead:
        assert failed.wait(WAIT_S)
        ahead._worker.join(WAIT_S)
        with pytest.raises(ValueError, match="broken"):
            next(ahead)
        assert list(ahead) == []


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_ends_the_worker_and_closes_the_source(taken: int) -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        n = 0
        try:
            while True:
                yield n
                n += 1
        finally:
            closed.set()

    ahead = prefetch(source(), 2)
    assert [next(ahead) for _ in range(taken)] == list(range(taken))
    ahead.close()
    assert closed.is_set()
    assert not ahead._worker.is_alive()
    assert list(ahead) == []


def test_closing_wakes_whoever_waits() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        asked.set()
        go_on.wait(WAIT_S)
        yield 1

    ahead = prefetch(source(), 1)
    got: list[list[int]] = []
    consumer = threading.Thread(target=lambda: got.append(list(ahead)))
    consumer.start()
    assert asked.wait(WAIT_S)
    closer = threading.Thread(target=ahead.close)
    closer.start()
    consumer.join(WAIT_S)
    assert got == [[]]
    go_on.set()
    closer.join(WAIT_S)
    assert not ahead._worker.is_alive()
