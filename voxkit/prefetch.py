"""Takes from an iterator ahead of time, in a thread, so that two things can go on at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


def prefetch(source: Iterator[Item], size: int) -> Prefetched[Item]:
    """Yield what `source` yields, up to `size` items of it made before they are asked for."""
    return Prefetched(source, size)


class Prefetched(Iterator[Item], Generic[Item]):
    """What `prefetch` returns; leaving its `with` block stops the worker.

    What the worker raises is raised by the next call here, before items that still wait.  Nobody
    polls: whoever waits is woken.
    """

    def __init__(self, source: Iterator[Item], size: int) -> None:
        self._source, self._size = source, size
        self._ready: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._worker = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._worker.start()

    def __next__(self) -> Item:
        """Return the next item as soon as it is there."""
        with self._changed:
            while not (self._ready or self._ended or self._closed):
                self._changed.wait()
            if self._error is not None:
                error, self._error = self._error, None
                self._ready.clear()
                raise error
            if not self._ready:
                raise StopIteration
            item = self._ready.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Drop what waits, and wait until the worker, stopped at its next item, is done."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._worker.join()

    def __enter__(self) -> Prefetched[Item]:
        """Leaving the block closes."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close."""
        self.close()

    def _work(self) -> None:
        """Fill the queue until the source ends, fails or is no longer wanted."""
        try:
            try:
                while self._wanted():
                    self._put(next(self._source))
            except StopIteration:
                pass
            finally:
                if (close := getattr(self._source, "close", None)) is not None:
                    close()
        except BaseException as error:  # noqa: BLE001  the consumer raises it
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _wanted(self) -> bool:
        """Wait for room; False once nobody wants more."""
        with self._changed:
            while len(self._ready) >= self._size and not self._closed:
                self._changed.wait()
            return not self._closed

    def _put(self, item: Item) -> None:
        with self._changed:
            if not self._closed:
                self._ready.append(item)
                self._changed.notify_all()
