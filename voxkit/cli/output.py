"""The one printer of the command line: data goes to stdout, talk to stderr."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


@dataclass(frozen=True)
class Bar:
    """A progress bar that may be invisible; callers never ask which."""

    progress: Progress | None = None
    task: TaskID | None = None

    def at(self, done: float, words: str | None = None) -> None:
        """Move the bar to `done` and say `words` beside it."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=done, description=words)


@dataclass(frozen=True)
class Output:
    """Where a command talks.  `quiet` silences notes and bars, `as_json` asks for one object."""

    quiet: bool = False
    as_json: bool = False

    def line(self, text: str) -> None:
        """Print one line of data on stdout."""
        print(_printable(text), flush=True)

    def json(self, data: Any) -> None:
        """Print one JSON value on stdout, ASCII only so that no locale can break it."""
        print(json.dumps(data, indent=2 if sys.stdout.isatty() else None), flush=True)

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows on stdout: a table on a terminal, tab-separated values in a pipe."""
        if not sys.stdout.isatty():
            for row in rows:
                print(_printable("\t".join(" ".join(cell.split()) for cell in row)))
            sys.stdout.flush()
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*titles, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for row in rows:
            table.add_row(*(Text(_printable(cell)) for cell in row))
        Console(markup=False, highlight=False).print(table)

    def note(self, text: str) -> None:
        """Say something on stderr unless `-q` was given."""
        if not self.quiet:
            self._say(text)

    def warn(self, text: str) -> None:
        """Say on stderr what the user should look at, `-q` or not."""
        self._say(text, "Warning: ", "yellow")

    def error(self, text: str) -> None:
        """Say on stderr why the command could not do its work."""
        self._say(text, "Error: ", "bold red")

    def usage(self, text: str) -> None:
        """Say on stderr how a command is used."""
        self._say(text)

    def agreed(self, question: str) -> bool:
        """Ask on the terminal and return whether the answer was yes."""
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextlib.contextmanager
    def bar(self, words: str, total: float | None, *, in_bytes: bool = False) -> Iterator[Bar]:
        """Show a progress bar with the remaining time, if stderr is a terminal that wants one.

        `in_bytes` adds how many of the bytes are done, and how many a second.
        """
        if self.quiet or not sys.stderr.isatty():
            yield Bar()
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
        columns += [BarColumn(), TimeRemainingColumn()]
        if in_bytes:
            columns[2:2] = [DownloadColumn(), TransferSpeedColumn()]
        with Progress(*columns, console=_talk(), transient=True) as progress:
            yield Bar(progress, progress.add_task(words, total=total))

    def _say(self, text: str, title: str = "", style: str = "") -> None:
        if sys.stderr.isatty():
            from rich.text import Text

            _talk().print(Text.assemble((title, style), text), soft_wrap=True)
        else:
            print(f"{title}{text}", file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    """Return a text with a mark in place of what stdout cannot show, as in a file's odd name."""
    encoding, errors = sys.stdout.encoding or "utf-8", sys.stdout.errors or "strict"
    try:
        text.encode(encoding, errors)
    except UnicodeEncodeError:
        return text.encode(encoding, "replace").decode(encoding)
    return text


@functools.cache
def _talk() -> Console:
    """Return the console on stderr, one for all, so that notes and bars do not tear each other."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False)


def binary_stdout() -> IO[bytes]:
    """Return stdout for bytes."""
    return sys.stdout.buffer


def flush() -> None:
    """Let all that was printed go out.  Raises `OSError`, once: after it stdout is given up."""
    try:
        sys.stdout.flush()
    except OSError:
        close_quietly()
        raise


def close_quietly() -> None:
    """Give up a stdout whose reader has gone, so that nothing more can fail on it."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
