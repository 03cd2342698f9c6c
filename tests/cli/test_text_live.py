"""Text is read from a pipe as it comes, whatever its bytes are cut in."""

from __future__ import annotations

import io
import os
import threading

import numpy as np
import pytest
from tiny import cuts

from voxkit.cli.text_live import arriving_text
from voxkit.errors import TextError

TEXT = "Ein Müller – 磨坊主 – went 🙂 home."


class Cut(io.BytesIO):
    """Gives its bytes in pieces of given sizes."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self.sizes = sizes

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(self.sizes.pop(0) if self.sizes else size)


@pytest.mark.parametrize("seed", range(5))
def test_bytes_may_be_cut_anywhere(seed: int) -> None:
    data = b"\xef\xbb\xbf" + TEXT.encode()
    pieces = cuts(len(data), np.random.default_rng(seed), 1 + seed)
    sizes = [end - start for start, end in pieces if end > start]
    assert "".join(arriving_text(Cut(data, sizes))) == TEXT


def test_text_is_there_before_the_writer_has_finished() -> None:
    read, write = os.pipe()
    with open(read, "rb") as stream:
        text = arriving_text(stream)
        os.write(write, "Hello, Mü".encode()[:-1])
        assert next(text) == "Hello, M"
        os.write(write, "ü".encode()[1:])
        assert next(text) == "ü"
        os.close(write)
        assert list(text) == []


def test_a_stalled_writer_costs_no_work() -> None:
    read, write = os.pipe()
    used: list[float] = []
    waiting = threading.Event()

    def wait(stream: io.BufferedReader) -> None:
        import time

        text, before = arriving_text(stream), time.thread_time()
        waiting.set()
        next(text)
        used.append(time.thread_time() - before)

    with open(read, "rb") as stream:
        reader = threading.Thread(target=wait, args=(stream,))
        reader.start()
        waiting.wait()
        reader.join(0.3)  # the writer says nothing for a while
        assert reader.is_alive()
        os.write(write, b"a")
        reader.join()
        os.close(write)
    assert used[0] < 0.05


@pytest.mark.parametrize(("data", "place"), [(b"caf\xe9 is", 3), (b"ok \xe4\xbd", 3)])
def test_what_is_not_utf_8_is_one_sentence(data: bytes, place: int) -> None:
    with pytest.raises(TextError, match=rf"not UTF-8 text \(byte {place}\)"):
        list(arriving_text(io.BytesIO(data)))
