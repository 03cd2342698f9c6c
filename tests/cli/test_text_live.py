"""Text is read from a pipe as it comes, whatever its bytes are cut in."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from tiny import cuts

from voxkit.cli import text_live
from voxkit.cli.text_live import ArrivingText, from_pipe
from voxkit.errors import TextError
from voxkit.text import MAX_CHARACTERS

TEXT = "Ein Müller – 磨坊主 – went 🙂 home."

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes cannot be waited for there")


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The reading and the writing end of a pipe."""
    read, write = os.pipe()
    with open(read, "rb") as source, open(write, "wb", buffering=0) as sink:
        yield source, sink


@pytest.mark.parametrize("seed", range(5))
def test_bytes_may_be_cut_anywhere(
    pipe: tuple[BinaryIO, BinaryIO], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    data = b"\xef\xbb\xbf" + TEXT.encode()
    text, heard = ArrivingText(pipe[0]), ""
    monkeypatch.setattr(text_live, "PATIENCE_S", 0.0)  # so that it is quick
    for start, end in cuts(len(data), np.random.default_rng(seed), 1 + seed):
        pipe[1].write(data[start:end])
        assert not text.is_complete()
    pipe[1].close()
    assert text.is_complete()
    heard = "".join(text)
    assert heard == TEXT


def test_text_is_there_before_the_writer_has_finished(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    text = ArrivingText(pipe[0])
    pipe[1].write("Hello, Mü".encode()[:-1])
    assert next(text) == "Hello, M"
    pipe[1].write("ü".encode()[1:])
    assert next(text) == "ü"
    pipe[1].close()
    assert list(text) == []


def written_by_a_thread(sink: BinaryIO, data: bytes) -> threading.Thread:
    """Write more than a pipe holds, and close it, as `cat` does."""

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):  # the reader has had enough
            sink.write(data)
        sink.close()

    writer = threading.Thread(target=write)
    writer.start()
    return writer


def test_a_text_that_a_fast_writer_is_still_delivering_is_complete(
    pipe: tuple[BinaryIO, BinaryIO],
) -> None:
    text = ArrivingText(pipe[0])
    writer = written_by_a_thread(pipe[1], b"a" * MAX_CHARACTERS)
    assert text.is_complete()
    assert len("".join(text)) == MAX_CHARACTERS
    writer.join()


@pytest.mark.parametrize("letter", ["a", "磨"])
def test_a_text_too_long_to_be_read_whole_is_never_complete(
    pipe: tuple[BinaryIO, BinaryIO], letter: str
) -> None:
    text = ArrivingText(pipe[0])
    writer = written_by_a_thread(pipe[1], letter.encode() * (MAX_CHARACTERS + 1))
    assert not text.is_complete()
    assert len("".join(text)) == MAX_CHARACTERS + 1
    writer.join()


def test_no_more_of_an_endless_text_is_taken_than_tells_that_it_is_too_long(
    pipe: tuple[BinaryIO, BinaryIO],
) -> None:
    text = ArrivingText(pipe[0])
    writer = written_by_a_thread(pipe[1], b"a" * 2**22)
    assert not text.is_complete()
    assert len(next(text)) < MAX_CHARACTERS + 2**16 + 1
    pipe[0].close()
    writer.join()


def test_a_writer_who_goes_on_is_given_a_quarter_of_a_second_in_all(
    pipe: tuple[BinaryIO, BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, waits = [0.0], list[float]()

    def select(*told: Any) -> tuple[list[int], list[int], list[int]]:
        waits.append(told[3])
        now[0] += 0.1  # s until the next word
        os.write(pipe[1].fileno(), b"word ")
        return ([0] if told[3] else [], [], [])

    monkeypatch.setattr(text_live.select, "select", select)
    monkeypatch.setattr(text_live.time, "monotonic", lambda: now[0])
    assert not ArrivingText(pipe[0]).is_complete()
    assert waits == pytest.approx([0.25, 0.15, 0.05, 0.0])


def test_a_stalled_writer_is_waited_for_without_work(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    used: list[float] = []

    def wait() -> None:
        before = time.thread_time()
        next(ArrivingText(pipe[0]))
        used.append(time.thread_time() - before)

    reader = threading.Thread(target=wait)
    reader.start()
    reader.join(0.3)  # the writer says nothing for a while
    assert reader.is_alive()
    pipe[1].write(b"a")
    reader.join()
    assert used[0] < 0.1


@pytest.mark.parametrize(("data", "place"), [(b"caf\xe9 is", 3), (b"ok \xe4\xbd", 3)])
def test_what_is_not_utf_8_is_one_sentence(
    pipe: tuple[BinaryIO, BinaryIO], data: bytes, place: int
) -> None:
    pipe[1].write(data)
    pipe[1].close()
    with pytest.raises(TextError, match=rf"not UTF-8 text \(byte {place}\)"):
        list(ArrivingText(pipe[0]))


def test_only_a_pipe_is_still_being_written(
    pipe: tuple[BinaryIO, BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.TextIOWrapper(pipe[0])
    monkeypatch.setattr(sys, "stdin", stdin)
    for words, file in ((["-"], None), (None, Path("-")), (None, None)):
        assert from_pipe(words, file) is stdin.buffer
    assert from_pipe(["Hello."], None) is None
    assert from_pipe(None, Path("text.txt")) is None
    stdin.detach()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Hello.")))
    assert from_pipe(None, None) is None
