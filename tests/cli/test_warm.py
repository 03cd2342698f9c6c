"""`--warm`: a worker that stays for the next call, through the command's own entry point."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny

from voxkit.cli import warm

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tiny model, a library and room for sockets; its workers end with it."""
    root = tmp_path_factory.mktemp("w")
    model = tiny.folder(root / "model")
    shutil.copytree(model / "voices", root / "home" / "voices")
    (root / "run").mkdir()
    yield root
    for lock in root.glob("run/*/*.lock"):
        os.kill(int(lock.read_text()), signal.SIGKILL)


@pytest.fixture
def voxkit(place: Path) -> Start:
    """Start `python -m voxkit` in that folder."""
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "VOXKIT_HOME": str(place / "home"),
        "XDG_RUNTIME_DIR": str(place / "run"),
    }

    def start(*words: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "voxkit", *words, "--model", str(place / "model")]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            program, env=env, cwd=place, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )

    return start


def worker(place: Path) -> int:
    """Return the process that waits for calls."""
    (lock,) = place.glob("run/*/*.lock")
    return int(lock.read_text())


def done(process: subprocess.Popen[bytes]) -> tuple[int, bytes, str]:
    """Wait for a process → status, stdout, stderr."""
    data, err = process.communicate()
    return process.returncode, data, err.decode()


def test_a_second_call_is_answered_by_the_worker_of_the_first(voxkit: Start, place: Path) -> None:
    words = ["speak", "Hello there.", "-v", "anna", "--seed", "1", "-o", "-", "--quiet"]
    plain = done(voxkit(*words))
    first, second = (done(voxkit(*words, "--warm")) for _ in range(2))
    assert plain[0] == 0, plain[2]
    assert first == plain
    assert second == plain
    (folder,) = (place / "run").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    os.kill(worker(place), 0)  # it lives
    (socket,) = folder.glob("*.sock")
    assert socket.stat().st_mode & 0o777 == 0o600


def test_one_request_finds_nothing_of_another(voxkit: Start, place: Path) -> None:
    wrong = done(voxkit("speak", "Hello.", "-v", "nobody", "-o", "a.wav", "--warm"))
    assert wrong[0] == 1
    assert "There is no voice 'nobody'" in wrong[2]
    usage = done(voxkit("speak", "Hello.", "--speed", "99", "-o", "a.wav", "--warm"))
    assert usage[0] == 2
    good = done(voxkit("speak", "Hello.", "-v", "anna", "-o", "a.wav", "--warm", "--force"))
    assert good[0] == 0, good[2]
    assert (place / "a.wav").stat().st_size > 1000


def test_ctrl_c_stops_the_request_and_not_the_worker(voxkit: Start, place: Path) -> None:
    before = worker(place)
    words = "Hello there, this is a long story. " * 400
    process = voxkit("speak", words, "-v", "anna", "-o", "-", "--raw", "--warm", "--seed", "1")
    assert process.stdout is not None
    assert process.stdout.read(100)
    process.send_signal(signal.SIGINT)
    status, _, err = done(process)
    assert status == 130
    assert "Interrupted" in err
    assert done(voxkit("speak", "Hi.", "-v", "anna", "-o", "-", "--warm"))[0] == 0
    assert worker(place) == before


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the request in /proc")
def test_a_request_that_is_killed_ends_in_one_sentence(voxkit: Start, place: Path) -> None:
    words = "Hello there, this is a long story. " * 400
    process = voxkit("speak", words, "-v", "anna", "-o", "-", "--raw", "--warm", "--seed", "1")
    assert process.stdout is not None
    assert process.stdout.read(100)
    parent = worker(place)
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    status, _, err = done(process)
    assert status == 1
    assert err == "Error: The warm worker was stopped meanwhile: try again.\n"


def test_a_worker_ends_when_nobody_calls(tmp_path: Path) -> None:
    place = tmp_path / "x.sock"
    env = os.environ | {"PYTHONPATH": str(ROOT), "VOXKIT_WARM_IDLE_S": "0.01"}
    program = [sys.executable, "-m", "voxkit.cli.warm_worker", str(place), "--model", "none"]
    ended = subprocess.run(program, env=env, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    assert not place.exists()


@pytest.mark.parametrize(
    "words, expected",
    [
        ("speak hello --warm", True),
        ("batch list.tsv --warm", True),
        ("speak hello", False),
        ("speak -- --warm", False),
        ("speak --help --warm", False),
        ("voices list --warm", False),
    ],
)
def test_only_speech_that_asks_for_it_goes_to_a_worker(words: str, expected: bool) -> None:
    assert warm.wanted(words.split()) == expected


def test_every_model_and_precision_has_a_worker_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    commands = ["", "--model cosyvoice2", "--dtype fp32", "--quantize=int8", "--compat"]
    places = [warm.meeting_place(["speak", "hello", *words.split()]) for words in commands]
    assert len(set(places)) == len(places)
    assert warm.meeting_place(["speak", "hi", "-v", "anna"]) == places[0]
    assert warm.meeting_place(["speak", "--quantize", "int8", "hi"]) == places[3]


def test_a_folder_that_others_may_enter_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / f"voxkit-{os.getuid()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(warm.NoWorker, match="open to others"):
        warm.private_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    with pytest.raises(warm.NoWorker):
        warm.private_folder()
