"""`--warm`: a worker that stays for the next call, through the command's own entry point."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import tiny
import torch

from voxkit import checkpoint
from voxkit.cli import warm, warm_worker

ROOT = Path(__file__).resolve().parents[2]
LONG = "Hello there, this is a long story. " * 400
SHORT = ["speak", "Hello there.", "-v", "anna", "--seed", "1", "-o", "-", "--quiet"]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tiny model, a library and room for sockets; its workers end with it."""
    root = tmp_path_factory.mktemp("w")
    model = tiny.folder(root / "model")
    shutil.copytree(model / "voices", root / "home" / "voices")
    for run in ("run", "small", "gpu"):
        (root / run).mkdir()
    yield root
    for lock in root.glob("*/*/*.lock"):
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.kill(int(lock.read_text()), signal.SIGKILL)


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's sockets, by a name that is short enough for them."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def voxkit(place: Path) -> Start:
    """Start `python -m voxkit` in that folder; `run` is where its sockets are."""

    def start(
        *words: str,
        run: str = "run",
        env: dict[str, str] | None = None,
        before: Sequence[str] = (),
        umask: int = -1,
    ) -> subprocess.Popen[bytes]:
        whole = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "VOXKIT_HOME": str(place / "home"),
            "XDG_RUNTIME_DIR": str(place / run),
        }
        program = [sys.executable, "-m", "voxkit", *words, "--model", str(place / "model")]
        return subprocess.Popen(
            [*before, *program],
            env=whole | (env or {}),
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            umask=umask,
        )

    return start


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def ended(pid: int) -> bool:
    """Tell whether a process that is not our child has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")  # nobody may be there to collect it
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def worker(place: Path) -> int:
    """Return the process that waits for calls."""
    (lock,) = place.glob("run/*/*.lock")
    return int(lock.read_text())


def done(process: subprocess.Popen[bytes]) -> tuple[int, bytes, str]:
    """Wait for a process → status, stdout, stderr."""
    data, err = process.communicate()
    return process.returncode, data, err.decode()


def test_a_second_call_is_answered_by_the_worker_of_the_first(voxkit: Start, place: Path) -> None:
    plain = done(voxkit(*SHORT))
    first, second = (done(voxkit(*SHORT, "--warm")) for _ in range(2))
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
    process = voxkit("speak", LONG, "-v", "anna", "-o", "-", "--raw", "--warm", "--seed", "1")
    assert process.stdout is not None
    assert process.stdout.read(100)
    process.send_signal(signal.SIGINT)
    status, _, err = done(process)
    assert status == 130
    assert "Interrupted" in err
    assert done(voxkit("speak", "Hi.", "-v", "anna", "-o", "-", "--warm"))[0] == 0
    assert worker(place) == before


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("how", ["--warm", "--together=4"])
def test_a_batch_that_is_told_to_end_keeps_the_lines_that_were_made(
    voxkit: Start, place: Path, how: str, number: int, status: int
) -> None:
    folder = place / f"out{how}{status}"
    (place / "lines.txt").write_text("Hi.\n" + f"{LONG}\n" * 3, encoding="utf-8")
    words = ("batch", "lines.txt", "-v", "anna", "--name-template", "{index}")
    process = voxkit(*words, "-o", folder.name, how)
    until(lambda: (folder / "1.wav").exists(), "the short line is made")
    process.send_signal(number)
    process.send_signal(number)
    ended, _, err = done(process)
    assert ended == status
    assert "Traceback" not in err
    (row,) = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(row)["status"] == "done"
    assert {path.name for path in folder.iterdir()} == {"1.wav", "manifest.jsonl"}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the request in /proc")
def test_a_request_that_is_killed_ends_in_one_sentence(voxkit: Start, place: Path) -> None:
    process = voxkit("speak", LONG, "-v", "anna", "-o", "-", "--raw", "--warm", "--seed", "1")
    assert process.stdout is not None
    assert process.stdout.read(100)
    parent = worker(place)
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    status, _, err = done(process)
    assert status == 1
    assert err == "Error: The warm worker was stopped meanwhile: try again.\n"


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="sees the end in /proc")
def test_a_call_does_not_wait_for_the_speech_of_a_worker_that_has_ended(
    voxkit: Start, place: Path
) -> None:
    process = voxkit("speak", LONG, "-v", "anna", "-o", "-", "--raw", "--warm", "--seed", "1")
    assert process.stdout is not None
    assert process.stdout.read(100)
    before = worker(place)
    os.kill(before, signal.SIGTERM)
    until(lambda: ended(before), "the worker ends")
    assert done(voxkit(*SHORT, "--warm"))[0] == 0
    assert worker(place) != before
    assert process.poll() is None  # it still speaks
    process.send_signal(signal.SIGINT)
    assert done(process)[0] == 130


def test_a_file_has_the_mode_that_its_own_caller_wants(voxkit: Start, place: Path) -> None:
    def mode(mask: int, *more: str) -> int:
        words = ["speak", "Hi.", "-v", "anna", "-o", "m.wav", "--force", *more]
        status, _, err = done(voxkit(*words, umask=mask))
        assert status == 0, err
        return (place / "m.wav").stat().st_mode & 0o777

    for mask in (0o077, 0o022):
        assert mode(mask, "--warm") == mode(mask) == 0o666 & ~mask


def test_a_closed_stdin_is_as_it_is_without_a_worker(voxkit: Start, place: Path) -> None:
    def closed(*words: str) -> tuple[int, bytes, str]:
        return done(voxkit(*words, before=["sh", "-c", 'exec "$@" <&-', "sh"]))

    plain = closed("speak", "-o", "c.wav")
    assert plain[0] == 2
    assert closed("speak", "-o", "c.wav", "--warm") == plain


def test_a_model_that_is_too_large_is_loaded_by_a_worker_only_once(
    voxkit: Start, place: Path
) -> None:
    def small(*words: str) -> tuple[int, bytes, str]:
        return done(voxkit(*words, run="small", env={"VOXKIT_WARM_MIB": "1"}))

    plain, first = small(*SHORT), small(*SHORT, "--warm")
    assert plain[0] == 0, plain[2]
    assert first == plain
    (lock,) = place.glob("small/*/*.lock")
    (note,) = place.glob("small/*/*.alone")
    assert float(note.read_text()) > 1
    started = lock.read_text()
    assert small(*SHORT, "--warm") == plain
    assert lock.read_text() == started
    assert not list(place.glob("small/*/*.sock"))


def test_a_model_on_a_gpu_is_left_to_the_command_itself(voxkit: Start, place: Path) -> None:
    words = [*SHORT, "--device", "cuda"]
    plain, warmed = done(voxkit(*words)), done(voxkit(*words, "--warm", run="gpu"))
    assert warmed == plain
    assert not list(place.glob("gpu/*/*.sock"))
    (note,) = place.glob("gpu/*/*.alone")
    assert float(note.read_text()) == float("inf")


def test_a_worker_forks_on_the_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warm_worker.on_cpu(["--device", "cpu"])
    assert not warm_worker.on_cpu(["--device", "nonsense"])
    monkeypatch.setattr(checkpoint, "settled", lambda *words: (torch.device("cuda"), None))
    assert not warm_worker.on_cpu(["--model", "any"])


def test_a_note_counts_for_the_limit_it_was_written_under_and_for_a_day(tmp_path: Path) -> None:
    place = tmp_path / "x.sock"
    assert not warm.declined(place, 4096.0)
    warm.decline(place, 5000.0)
    assert warm.declined(place, 4096.0)
    assert not warm.declined(place, 6000.0)
    (note,) = tmp_path.iterdir()
    os.utime(note, (0, 0))
    assert not warm.declined(place, 4096.0)
    warm.decline(place, float("inf"))
    assert warm.declined(place, 1e9)
    note.write_text("")
    assert not warm.declined(place, 4096.0)


@pytest.mark.parametrize("name", ["VOXKIT_WARM_IDLE_S", "VOXKIT_WARM_MIB"])
@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf"])
def test_a_limit_that_is_no_number_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert warm.run(["speak", "Hello."]) == 1
    assert f"Error: {name} is '{value}': give a number of" in capsys.readouterr().err


def test_an_empty_limit_is_none() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOXKIT_WARM_IDLE_S", "")
        patch.setenv("VOXKIT_WARM_MIB", "512")
        assert warm.limits() == (600.0, 512.0)


class Started:
    """A worker that gets no further: every look at it does something else first."""

    def __init__(self, status: int | None, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._status, self._meanwhile = status, meanwhile

    def poll(self) -> int | None:
        self._meanwhile()
        return self._status


@pytest.fixture
def line() -> Iterator[socket.socket]:
    """A caller's end that is not connected."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.settimeout(10.0)
        yield made


def test_nobody_waits_for_a_worker_that_died_at_its_start(
    tmp_path: Path, line: socket.socket
) -> None:
    began = time.monotonic()
    with pytest.raises(warm.NoWorker, match="did not start"):
        warm._wait(line, tmp_path / "x.sock", Started(1), [])  # type: ignore[arg-type]
    assert time.monotonic() - began < 10.0  # and not two minutes


def test_a_lock_that_can_be_none_is_no_wait(tmp_path: Path, line: socket.socket) -> None:
    (tmp_path / "x.lock").mkdir()
    with pytest.raises(warm.NoWorker, match="did not start"):
        warm._wait(line, tmp_path / "x.sock", Started(1), [])  # type: ignore[arg-type]


def test_a_caller_waits_for_the_worker_that_another_has_started(
    tmp_path: Path, line: socket.socket
) -> None:
    place, looks = tmp_path / "x.sock", [0]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door,
        place.with_suffix(".lock").open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)

        def listen() -> None:
            looks[0] += 1
            if looks[0] == 3:
                door.bind(str(place))
                door.listen()

        warm._wait(line, place, Started(0, listen), [])  # type: ignore[arg-type]
    assert looks == [3]


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("status", [None, 1])
@pytest.mark.parametrize(
    "number, expected, words",
    [(signal.SIGINT, 130, "Error: Interrupted.\n"), (signal.SIGTERM, 143, "")],
)
def test_a_signal_ends_the_wait_for_a_worker(
    status: int | None,
    number: signal.Signals,
    expected: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started = Started(status, lambda: os.kill(os.getpid(), number))
    monkeypatch.setattr(warm, "_start", lambda place, words: started)
    assert warm.run(["speak", "Hello.", "--warm"]) == expected
    assert capsys.readouterr().err == words


def test_a_call_that_the_worker_never_read_is_done_without_it(
    tmp_path: Path, line: socket.socket
) -> None:
    place = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(place))
        door.listen()
        line.connect(str(place))
        line.sendall(b"a request")
    with pytest.raises(warm.NoWorker):
        warm._status(line, [])


def test_a_worker_ends_when_nobody_calls(tmp_path: Path) -> None:
    place = tmp_path / "x.sock"
    env = os.environ | {"PYTHONPATH": str(ROOT), "VOXKIT_WARM_IDLE_S": "0.01"}
    program = [sys.executable, "-m", "voxkit.cli.warm_worker", str(place), "--model", "none"]
    ended = subprocess.run(program, env=env, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    assert not place.exists()


def test_a_worker_that_found_no_model_ends_after_one_request(
    tmp_path: Path, line: socket.socket
) -> None:
    place = tmp_path / "x.sock"
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "voxkit.cli.warm_worker", str(place), "--model", "none"]
    with subprocess.Popen(program, env=env, stderr=subprocess.DEVNULL) as process:
        until(lambda: process.poll() is not None or warm._reached(line, place), "it listens")
        line.close()
        assert process.wait(60.0) == 0
    assert not place.exists()


@pytest.mark.parametrize(
    "words, expected",
    [
        ("speak hello --warm", True),
        ("batch list.tsv --warm", True),
        ("speak hello", False),
        ("speak -- --warm", False),
        ("speak --help --warm", False),
        ("speak hello --warm --compile", False),
        ("voices list --warm", False),
    ],
)
def test_only_speech_that_asks_for_it_goes_to_a_worker(words: str, expected: bool) -> None:
    assert warm.wanted(words.split()) == expected


@pytest.mark.usefixtures("sockets")
def test_every_model_and_precision_has_a_worker_of_its_own() -> None:
    commands = ["", "--model cosyvoice2", "--dtype fp32", "--quantize=int8", "--compat"]
    places = [warm.meeting_place(["speak", "hello", *words.split()]) for words in commands]
    assert len(set(places)) == len(places)
    assert warm.meeting_place(["speak", "hi", "-v", "anna"]) == places[0]
    assert warm.meeting_place(["speak", "--quantize", "int8", "hi"]) == places[3]


@pytest.mark.usefixtures("sockets")
def test_another_commit_of_a_model_has_a_worker_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repo, places = tmp_path / "hub" / "models--me--model", []
    (repo / "refs").mkdir(parents=True)
    for commit in ("a" * 40, "b" * 40):
        (repo / "snapshots" / commit).mkdir(parents=True)
        (repo / "refs" / "main").write_text(commit)
        places.append(warm.meeting_place(["speak", "hello", "--model", "me/model"]))
    assert places[0] != places[1]
    home = tmp_path / "home"
    (home / "m").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    before = warm.meeting_place(["speak", "hello", "--model=~/m"])
    (home / "m" / "config.json").write_text("{}")
    assert warm.meeting_place(["speak", "hello", "--model=~/m"]) != before


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "VOXKIT_HOME", "XDG_CACHE_HOME"])
def test_a_worker_serves_only_those_who_find_models_where_it_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    places = [warm.meeting_place(["speak", "hello"])]
    for folder in ("a", "b"):
        monkeypatch.setenv(name, folder)
        places.append(warm.meeting_place(["speak", "hello"]))
    monkeypatch.chdir(tmp_path)  # where b is another folder
    places.append(warm.meeting_place(["speak", "hello"]))
    assert len(set(places)) == len(places)


def test_a_folder_that_others_may_enter_is_not_used(sockets: Path) -> None:
    folder = sockets / f"voxkit-{os.getuid()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(warm.NoWorker, match="open to others"):
        warm.private_folder()
    folder.rmdir()
    folder.symlink_to(sockets / "elsewhere")
    (sockets / "elsewhere").mkdir(mode=0o700)
    with pytest.raises(warm.NoWorker):
        warm.private_folder()
