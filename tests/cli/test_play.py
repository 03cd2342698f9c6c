"""Playing through the loudspeakers, with players that write down what they hear."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxkit.audio import Audio
from voxkit.cli import play
from voxkit.cli.play import make_roomy, not_taken, playing
from voxkit.cli.sound_out import _Aloud
from voxkit.errors import OutputError

Vox = Callable[..., Any]


@pytest.fixture
def players(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Install players of given names; they write their arguments and their input to a folder."""
    programs, heard = tmp_path / "programs", tmp_path / "heard"
    programs.mkdir()
    heard.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(play, "LIBRARY", "no_such_library")

    def install(*names: str, script: str = "") -> Path:
        for name in names:
            program = programs / name
            save = f'echo "$@" > {heard}/{name}.arguments; /bin/cat > {heard}/{name}.sound\n'
            program.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script or save}")
            program.chmod(0o755)
        return heard

    return install


def test_speech_is_played_as_it_is_made(vox: Vox, players: Any) -> None:
    heard = players("aplay")
    result = vox("speak", "Hello there.", "--play", "--seed", "1")
    assert result.status == 0
    assert (heard / "aplay.arguments").read_text() == "-q -t raw -f S16_LE -c 1 -r 24000 -\n"
    raw = vox("speak", "Hello there.", "-o", "-", "--raw", "--seed", "1").data
    assert (heard / "aplay.sound").read_bytes() == raw


def test_on_a_terminal_without_output_it_plays(vox: Vox, players: Any, monkeypatch: Any) -> None:
    heard = players("ffplay")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert vox("speak", "Hello.").status == 0
    assert (heard / "ffplay.sound").stat().st_size == 2 * 24_000 * 2 // 10


def test_a_player_that_wants_a_file_gets_one(vox: Vox, players: Any) -> None:
    players("afplay", script='cp "$1" heard.wav\n')
    assert vox("speak", "Hello.", "--play", "--seed", "1").status == 0
    vox("speak", "Hello.", "-o", "a.wav", "--seed", "1")
    sound = Path("heard.wav").read_bytes()
    assert sound[:4] == b"RIFF"
    assert sound[-9600:] == Path("a.wav").read_bytes()[-9600:]


def test_a_file_can_be_written_and_played_at_once(vox: Vox, players: Any) -> None:
    heard = players("play")
    assert vox("speak", "Hello.", "-o", "a.wav", "--play").status == 0
    assert Path("a.wav").exists()
    assert (heard / "play.sound").stat().st_size


def test_the_first_known_player_is_taken(players: Any) -> None:
    assert play.find_player() is None
    players("play", "ffplay", "aplay", "paplay")
    assert play.find_player() == "paplay"


def test_the_library_is_preferred_where_it_works(players: Any, monkeypatch: Any) -> None:
    players("aplay")
    monkeypatch.setattr(play, "LIBRARY", "wave")  # any module that is there
    assert play.find_player() == "wave"


def test_without_a_player_it_says_how_to_get_a_file(
    vox: Vox, players: Any, checkpoint: Any
) -> None:
    result = vox("speak", "Hello.", "--play")
    assert result.status == 1
    assert re.fullmatch(r"Error: There is nothing to play sound with: [^\n]+\n", result.err)
    assert not checkpoint.loads


@pytest.mark.parametrize("name", ["aplay", "pw-play"])
@pytest.mark.parametrize("text", ["Hello.", "A long text. " * 50])
def test_a_player_that_fails_is_one_sentence(vox: Vox, players: Any, name: str, text: str) -> None:
    players(name, script="echo 'no sound card.' >&2; exit 3\n")
    result = vox("speak", text, "--play")
    assert result.status == 1
    expected = f"{name} could not play the speech (no sound card): write a file with -o instead."
    assert result.err == f"Error: {expected}\n"


def test_when_speaking_fails_the_player_is_stopped(vox: Vox, players: Any) -> None:
    players("aplay", script="exec sleep 600\n")
    result = vox("speak", "Fine. This is unspeakable.", "--play")
    assert (result.status, result.err) == (1, "Error: The model fell silent: use another seed.\n")


def test_nothing_was_heard_before_a_player_that_wants_a_file_starts(vox: Vox, players: Any) -> None:
    heard = players("pw-play")
    result = vox("speak", "Hello there. Please interrupt me.", "--play", "--json")
    assert result.status == 130
    assert result.err == (
        "Nothing was heard: pw-play starts when all of the speech is made.\nError: Interrupted.\n"
    )
    assert json.loads(result.out) == {"interrupted": True, "seconds": 0.0, "spoken_text": ""}
    assert not list(heard.iterdir())


def test_a_player_that_wants_a_file_is_heard_from_its_start_on() -> None:
    now = time.monotonic()
    sink = _Aloud(lambda audio: None, late=True)
    sink(Audio(np.zeros(100, np.float32), 8000))
    assert sink.heard_s() == 0.0
    sink.begin()
    assert 0.0 <= sink.heard_s() <= time.monotonic() - now


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is left in a pipe")
def test_what_is_left_in_a_pipe_is_known() -> None:
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as source, open(write, "wb", buffering=0) as sink:
        sink.write(bytes(5000))
        assert not_taken(sink) == 5000
        source.read(1200)
        assert not_taken(sink) == 3800


def test_of_what_is_no_pipe_nothing_is_left(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        file.write(bytes(100))
        file.seek(0)
        assert not_taken(file) == 0
    assert not_taken(io.BytesIO()) == 0


# ---- the sounddevice library --------------------------------------------------------------------


class Loudspeakers:
    """A stand-in for `sounddevice` whose driver fetches a tenth of a second whenever it is told."""

    class PortAudioError(Exception):
        """What the library raises."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []

    def OutputStream(self, rate: int, **told: Any) -> Any:
        self.block, self.fetch, self.finish = (
            rate // 10,
            told["callback"],
            told["finished_callback"],
        )
        return contextlib.nullcontext()

    def tick(self) -> None:
        block = np.full((self.block, 1), np.nan, np.float32)
        self.fetch(block, len(block), None, None)
        self.heard.append(block[:, 0])


@pytest.fixture
def loudspeakers(monkeypatch: pytest.MonkeyPatch) -> Loudspeakers:
    made = Loudspeakers()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_the_library_plays_every_sample_in_order(loudspeakers: Loudspeakers) -> None:
    samples = np.linspace(-1, 1, 2500, dtype=np.float32)

    def drive() -> None:
        while len(loudspeakers.heard) < 4:
            loudspeakers.tick()

    with playing("sounddevice", 8000) as send:
        for part in np.split(samples, [70, 900, 901]):
            send(Audio(part, 8000))
        driver = threading.Thread(target=drive)
        driver.start()
    driver.join()
    heard = np.concatenate(loudspeakers.heard)
    assert np.array_equal(heard[:2500], samples)
    assert not heard[2500:].any()


def test_late_speech_is_silence_and_loses_nothing(loudspeakers: Loudspeakers) -> None:
    with contextlib.suppress(RuntimeError), playing("sounddevice", 8000) as send:
        loudspeakers.tick()
        send(Audio(np.ones(100, np.float32), 8000))
        loudspeakers.tick()
        raise RuntimeError("enough")
    assert not loudspeakers.heard[0].any()
    assert loudspeakers.heard[1].sum() == 100


def test_a_device_that_goes_away_is_one_sentence(loudspeakers: Loudspeakers) -> None:
    with (
        pytest.raises(OutputError, match="sounddevice could not play"),
        playing("sounddevice", 8000) as send,
    ):
        loudspeakers.finish()
        send(Audio(np.zeros(100, np.float32), 8000))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a pipe grow")
def test_a_pipe_holds_twenty_seconds_of_sound() -> None:
    read, write = os.pipe()
    with open(read, "rb"), open(write, "wb") as pipe:
        make_roomy(pipe)
        os.set_blocking(write, False)
        assert os.write(write, bytes(2**20)) > 20 * 2 * 24_000
