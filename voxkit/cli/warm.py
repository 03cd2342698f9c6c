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
from typing import TYPE_CHECKING

from voxkit.errors import VoxkitError
from voxkit.interrupts import collected

if TYPE_CHECKING:
    import subprocess

FLAG = "--warm"
_START_S = 120.0  # for a model to load
_SEND_S = 10.0  # for a request to be taken; a worker that needs longer is stuck
_NOTE_S = 86_400.0  # what a worker found out about this machine is believed for a day
_LOADS = ("--model", "--device", "--dtype", "--quantize", "--compat")  # what a worker is made for
_FOLDERS = (  # environment variables by which models, voices and presets are found
    "HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE VOXKIT_HOME "
    "XDG_CACHE_HOME XDG_DATA_HOME XDG_CONFIG_HOME HOME"
).split()


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
        and not {"-h", "--help", "--compile"} & set(flags)  # what is compiled would not be kept
    )


def limits() -> tuple[float, float]:
    """Return how long a worker stays idle, in s, and how much memory it may hold, in MiB.

    Raises `VoxkitError` for a variable that holds no number.
    """
    return _number("VOXKIT_WARM_IDLE_S", 600.0, "seconds"), _number(
        "VOXKIT_WARM_MIB", 4096.0, "MiB"
    )


def _number(name: str, default: float, unit: str) -> float:
    text = os.environ.get(name) or str(default)
    with contextlib.suppress(ValueError):
        if 0.0 <= (number := float(text)) < float("inf"):
            return number
    raise VoxkitError(f"{name} is {text!r}: give a number of {unit}, such as {default:g}.")


def run(words: Sequence[str]) -> int:
    """Let the worker do a command and return its exit status.  Raises `NoWorker`."""
    from voxkit.cli.output import Output

    if any(stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise NoWorker("a standard stream is closed")
    try:
        _, most_mib = limits()
    except VoxkitError as error:
        Output().error(str(error))
        return 1
    with collected() as stopped:
        try:
            with _connected(words, most_mib, stopped) as line:
                _send(line, words)
                return _status(line, stopped)
        except NoWorker:
            if not stopped:
                raise
    if stopped[0] == signal.SIGINT:
        Output().error("Interrupted.")
    return 128 + stopped[0]


def _send(line: socket.socket, words: Sequence[str]) -> None:
    """Hand over the words of the command and all that it would find in this process."""
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        request = {
            "words": list(words),
            "cwd": os.getcwd(),
            "env": dict(os.environ),
            "umask": mask,
        }
        data = json.dumps(request).encode()
        socket.send_fds(line, [struct.pack("!I", len(data))], [0, 1, 2])
        line.sendall(data)
    except OSError as error:  # it ended between two calls
        raise NoWorker(str(error)) from error


def _status(line: socket.socket, stopped: Sequence[int]) -> int:
    """Wait for the exit status; a signal meanwhile stops the request.

    Raises `NoWorker` where the worker ended before it read the request.
    """
    told = False
    line.settimeout(0.1)
    while True:
        if stopped and not told:
            with contextlib.suppress(OSError):  # it is gone, as will be heard below
                line.sendall(bytes(stopped[:1]))
            told = True
        if len(stopped) > 1:
            return 128 + stopped[0]
        try:
            answer = line.recv(1)
        except TimeoutError:
            continue
        except ConnectionResetError as error:
            raise NoWorker(str(error)) from error
        if answer:
            return answer[0]
        from voxkit.cli.output import Output

        Output().error("The warm worker was stopped meanwhile: try again.")
        return 1


@contextlib.contextmanager
def _connected(
    words: Sequence[str], most_mib: float, stopped: Sequence[int]
) -> Iterator[socket.socket]:
    """Reach the worker for these words, starting it if need be."""
    place = meeting_place(words)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_SEND_S)
        if not _reached(line, place):
            if declined(place, most_mib):
                raise NoWorker("a worker could not keep this model")
            _wait(line, place, _start(place, words), stopped)
        yield line


def _reached(line: socket.socket, place: Path) -> bool:
    """Connect to a worker; tell whether one listens."""
    try:
        line.connect(str(place))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        raise NoWorker(str(error)) from error
    return True


def python_of(module: str) -> list[str]:
    """Return the words that run a module of this package in a process of its own.

    `python -m` alone would take Python files of the working folder for those of the library.
    """
    home = str(Path(__file__).resolve().parents[2])
    code = (
        f"import runpy, sys; sys.path.append({home!r}); "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-c", code]


def _start(place: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a worker that holds none of our streams and outlives us."""
    import subprocess

    worker = [*python_of("voxkit.cli.warm_worker"), str(place), *_loads(words)]
    nothing = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            worker, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
    except OSError as error:
        raise NoWorker(str(error)) from error


def _wait(
    line: socket.socket,
    place: Path,
    worker: subprocess.Popen[bytes],
    stopped: Sequence[int],
) -> None:
    """Connect as soon as a worker listens: the one just started, or one that was before it."""
    until = time.monotonic() + _START_S
    while not stopped and time.monotonic() < until:
        ended = worker.poll() is not None and not _held(place)
        if _reached(line, place):
            return
        if ended:
            break
        time.sleep(0.02)
    raise NoWorker("the worker did not start")


def _held(place: Path) -> bool:
    """Tell whether a worker has the lock: it will listen soon, or is about to end."""
    import fcntl

    try:
        with place.with_suffix(".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it did not come so far, or never can
        return False
    return False


def decline(place: Path, needs_mib: float) -> None:
    """Leave a note for the next callers that a worker cannot keep a model that needs so much."""
    place.with_suffix(".alone").write_text(f"{needs_mib}\n", encoding="ascii")


def declined(place: Path, most_mib: float) -> bool:
    """Tell whether a worker has found lately that it cannot keep this model."""
    note = place.with_suffix(".alone")
    try:
        age_s = time.time() - note.stat().st_mtime
        return age_s < _NOTE_S and float(note.read_text(encoding="ascii")) > most_mib
    except (OSError, ValueError):  # none, or one that is just being written
        return False


def meeting_place(words: Sequence[str]) -> Path:
    """Return the socket of the worker for this version, this installation and this model.

    Raises `NoWorker` where the folder for it is not this user's alone.
    """
    folder = private_folder()
    loads = _loads(words)
    package = Path(__file__).resolve().parents[1]
    parts = [sys.executable, str(package), str(_newest(package)), *loads]
    for name in _FOLDERS:
        parts.append(os.path.abspath(os.environ[name]) if os.environ.get(name) else "")
    parts.append(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    if "--model" in loads:
        from voxkit import catalogue

        with contextlib.suppress(VoxkitError):  # loading it will say what is wrong
            if here := catalogue.resolve(loads[loads.index("--model") + 1]).snapshot:
                parts += [str(here.resolve()), str(_newest(here))]
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
