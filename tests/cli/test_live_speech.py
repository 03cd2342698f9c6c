"""`voxkit speak -` speaks what is still being written, and says how far it came when stopped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import wave
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes")
CHUNK_BYTES = 2 * 2_400  # of the stand-in's chunks, a tenth of a second each

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def written(process: Start, tmp_path: Path) -> Callable[..., tuple[Any, BinaryIO]]:
    """Start a command that reads a named pipe, and return it with the pipe's writing end."""

    def start(words: str) -> tuple[Any, BinaryIO]:
        os.mkfifo(tmp_path / "fifo")
        running = process(f"{words} < fifo")
        return running, open(tmp_path / "fifo", "wb", buffering=0)

    return start


def test_sound_comes_while_the_text_is_being_written(written: Any) -> None:
    running, pipe = written("voxkit speak - -o - --raw --seed 1")
    pipe.write(b"Hello there.")
    assert len(running.stdout.read(6 * CHUNK_BYTES)) == 6 * CHUNK_BYTES
    pipe.write("Good 晚上 morning.".encode())
    pipe.close()
    assert len(running.stdout.read()) == 8 * CHUNK_BYTES
    _, err = running.communicate()
    assert running.returncode == 0
    assert "Not spoken, because voxkit-en cannot say it: '晚上'" in err.decode()
    assert "1.4 s" in err.decode()


def test_the_wav_of_text_that_is_being_written_has_a_streaming_header(written: Any) -> None:
    running, pipe = written("voxkit speak -o - -q")
    pipe.write(b"Hello there.")
    data = running.stdout.read(44)
    pipe.close()
    data += running.stdout.read()
    running.communicate()
    with wave.open(BytesIO(data)) as file:
        assert file.getframerate() == 24_000
    assert len(data) == 44 + 6 * CHUNK_BYTES


def test_text_that_was_complete_is_read_whole_with_its_markup(process: Start) -> None:
    plain = process("echo 'Hello there.' | voxkit speak - -o - --raw --seed 1 -q")
    slower = process("echo '[rate:50%]Hello there.' | voxkit speak - -o - --raw --seed 1 -q")
    one, two = plain.communicate()[0], slower.communicate()[0]
    assert len(one) == 6 * CHUNK_BYTES
    assert len(two) == 11 * CHUNK_BYTES


def test_text_that_is_not_utf_8_ends_what_was_begun_in_one_sentence(written: Any) -> None:
    running, pipe = written("voxkit speak - -o - --raw -q")
    pipe.write(b"Hello there.")
    running.stdout.read(CHUNK_BYTES)
    pipe.write(b"caf\xe9 noir")
    pipe.close()
    _, err = running.communicate()
    assert running.returncode == 1
    assert err.decode() == (
        "Error: Standard input is not UTF-8 text (byte 15): save it as UTF-8.\n"
    )


def test_ctrl_c_tells_how_much_was_spoken(process: Start) -> None:
    running = process('voxkit speak "Hello there. Please interrupt me." -o a.wav --json')
    data, err = running.communicate()
    assert running.returncode == 130
    assert err.decode() == "Spoken until then (0.6 s): Hello there\nError: Interrupted.\n"
    report = {"interrupted": True, "seconds": 0.6, "spoken_text": "Hello there"}
    assert json.loads(data) == report


def test_ctrl_c_while_the_writer_is_silent_ends_at_once(written: Any) -> None:
    running, pipe = written("exec voxkit speak - -o - --raw")
    pipe.write(b"Hello there.")
    running.stdout.read(6 * CHUNK_BYTES)
    running.send_signal(2)
    _, err = running.communicate(timeout=20)
    pipe.close()
    assert running.returncode == 130
    assert "Hello there" in err.decode()


def test_a_closed_pipe_tells_how_much_was_spoken(process: Start) -> None:
    text = "Hello there. " * 500
    running = process(
        f'voxkit speak "{text}" -o - --seed 1 | head -c 60000 >/dev/null; exit ${{PIPESTATUS[0]}}'
    )
    _, err = running.communicate()
    assert running.returncode == 141
    assert "Spoken until then (" in err.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is left in a pipe")
def test_what_the_reader_left_in_the_pipe_was_not_spoken(process: Start) -> None:
    text = "Hello there. " * 500
    running = process(
        f'voxkit speak "{text}" -o - --raw | head -c 60000 >/dev/null; exit ${{PIPESTATUS[0]}}'
    )
    _, err = running.communicate()
    seconds = re.search(r"Spoken until then \((\d+\.\d) s\)", err.decode())
    assert seconds
    assert 1.2 <= float(seconds[1]) <= 1.3  # 60,000 bytes, and the portion that was under way


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is left in a pipe")
@pytest.mark.parametrize("flags", ["", "--raw", "--sample-rate 8000"])
def test_a_reader_who_has_taken_nothing_has_heard_nothing(process: Start, flags: str) -> None:
    running = process(f'voxkit speak "Hello there. Please interrupt me." -o - {flags}')
    assert running.wait(60) == 130
    assert running.stderr is not None
    assert running.stderr.read() == b"Error: Interrupted.\n"
    running.communicate()


@pytest.mark.parametrize("given", ["cat book.txt |", "< book.txt"])
def test_a_long_text_from_a_pipe_is_spoken_as_it_comes(
    process: Start, tmp_path: Path, given: str
) -> None:
    (tmp_path / "book.txt").write_text("Hello there. " * 18_000)
    running = process(f"{given} voxkit speak - -o - --raw | head -c 60000")
    data, err = running.communicate()
    assert len(data) == 60_000
    assert "Spoken until then" in err.decode()
    assert "Error" not in err.decode()
