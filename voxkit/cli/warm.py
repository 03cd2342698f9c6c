"""`--warm`: hands the command to a worker of this user that has the model loaded already.

The worker is started by the first call and ends when nobody has called for a while.  It forks for
every request, so that no request finds anything of another.  What it is handed are the words of the
command, the working folder, the environment and the three standard streams; whoever can open the
socket can do nothing that they could not do as this user.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

FLAG = "--warm"
STOP = b"!"  # from the client: Ctrl-C was pressed
_START_S = 120.0  # for a model to load
_LOADS = ("--model", "--device", "--dtype", "--quantize", "--compat")  # what a worker is made for
_INTERRUPTED = 130


class NoWorker(Exception):
    """There is no worker here and none can be had: the command runs by itself."""


def wanted(words: Sequence[str]) -> bool:
    """Tell whether a command line asks for a worker, and this system has what one needs."""
    flags = list(words[: words.index("--")] if "--" in words else words)
    able = hasattr(os, "fork") and hasattr(socket, "AF_UNIX") and hasattr(socket, "send_fds")
    return (
        able
        and flags[:1] in (["speak"], ["batch"])
        and FLAG in flags
        and not {"-h", "--help"} & set(flags)
    )


def run(words: Sequence[str]) -> int:
    """Let the worker do a command and return its exit status.  Raises `NoWorker`."""
    with _stoppable() as stopped, _connected(words) as line:
        request = {"words": list(words), "cwd": os.getcwd(), "env": dict(os.environ)}
        data = json.dumps(request).encode()
        try:
            socket.send_fds(line, [struct.pack("!I", len(data))], [0, 1, 2])
            line.sendall(data)
        except OSError as error:  # it ended between two calls, or a stream is closed
            raise NoWorker(str(error)) from error
        return _status(line, stopped)


def _status(line: socket.socket, stopped: list[int]) -> int:
    """Wait for the exit status; a signal meanwhile stops the request."""
    told = False
    line.settimeout(0.1)
    while True:
        if stopped and not told:
            line.sendall(STOP)
            told = True
        if len(stopped) > 1:
            return _INTERRUPTED
        with contextlib.suppress(TimeoutError):
            if answer := line.recv(1):
                return answer[0]
            from voxkit.cli.output import Output

            Output().error("The warm worker was stopped meanwhile: try again.")
            return 1


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Collect the signals that ask to stop instead of dying of them."""
    seen: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = [signal.signal(number, lambda n, frame: seen.append(n)) for number in numbers]
    try:
        yield seen
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _connected(words: Sequence[str]) -> Iterator[socket.socket]:
    """Reach the worker for these words, starting it if need be."""
    place = meeting_place(words)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(str(place))
        except (FileNotFoundError, ConnectionRefusedError):
            _start(place, words)
            _wait(line, place)
        except OSError as error:
            raise NoWorker(str(error)) from error
        yield line


def _start(place: Path, words: Sequence[str]) -> None:
    """Start a worker that is nobody's child and holds none of our streams."""
    import subprocess

    worker = [sys.executable, "-m", "voxkit.cli.warm_worker", str(place), *_loads(words)]
    subprocess.Popen(
        worker,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait(line: socket.socket, place: Path) -> None:
    """Connect as soon as the worker listens."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        try:
            line.connect(str(place))
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.02)
        else:
            return
    raise NoWorker("the worker did not start")


def meeting_place(words: Sequence[str]) -> Path:
    """Return the socket of the worker for this version, this installation and this model.

    Raises `NoWorker` where the folder for it is not this user's alone.
    """
    folder = private_folder()
    loads = _loads(words)
    package = Path(__file__).resolve().parents[1]
    parts = [sys.executable, str(package), str(_newest(package)), *loads]
    if "--model" in loads and (model := Path(loads[loads.index("--model") + 1])).is_dir():
        parts += [str(model.resolve()), str(_newest(model))]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    place = folder / f"{name}.sock"
    if len(os.fsencode(place)) > 100:  # the system allows 108 bytes at most
        raise NoWorker("the path of its socket would be too long")
    return place


def private_folder() -> Path:
    """Return the folder of this user's sockets, that nobody else may enter."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base) / f"voxkit-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        raise NoWorker(str(error)) from error
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not mine or stat.S_IMODE(found.st_mode) & 0o077:
        raise NoWorker(f"{folder} is open to others")
    return folder


def _loads(words: Sequence[str]) -> list[str]:
    """Return those flags that decide what is loaded, in one order."""
    found: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name == "--compat":
            found[name] = []
        elif name in _LOADS:
            found[name] = [value if equals else next(rest, "")]
    return [part for name in _LOADS if name in found for part in (name, *found[name])]


def _newest(folder: Path) -> int:
    """Return when a folder's files were last changed."""
    files = (
        entry for entry in folder.rglob("*") if entry.suffix in (".py", ".json", ".safetensors")
    )
    return max((entry.stat().st_mtime_ns for entry in files), default=0)
