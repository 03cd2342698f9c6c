"""`voxkit speak -` speaks what is still being written, and says how far it came when stopped."""

from __future__ import annotations

import json
import os
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
