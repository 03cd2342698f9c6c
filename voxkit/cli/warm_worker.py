"""The process behind `speak --warm`: it loads a model once and forks for every request."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from voxkit import interrupts
from voxkit.cli.warm import decline, limits
from voxkit.measuring import peak_mib

if TYPE_CHECKING:
    from voxkit.voice import Voice

_LARGEST = 2**25  # bytes of a request
_LOOK_S = 3600.0  # `select` takes no time without end
_ENVIRONMENT_THREADS = "OMP_NUM_THREADS"


def serve(place: Path, loads: Sequence[str]) -> None:
    """Answer requests at a socket until none comes for a while.

    What cannot be kept is not tried again at every call: a note beside the socket says so.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    idle_s, most_mib = limits()
    with place.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another worker is being started for the same model
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        place.unlink(missing_ok=True)  # of one that was killed
        if not on_cpu(loads):
            decline(place, float("inf"))
            return
        threads, voice = prepare(loads)
        if too_large := (held_mib := peak_mib()) > most_mib:
            decline(place, held_mib)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.bind(str(place))
            os.chmod(place, 0o600)
            door.listen(16)
            once = too_large or voice is None  # who made us start is answered all the same
            try:
                _answer(door, lock, threads=threads, idle_s=idle_s, once=once)
                del voice  # until now, so that its reference counts as read
            finally:
                place.unlink(missing_ok=True)


def on_cpu(loads: Sequence[str]) -> bool:
    """Tell whether the model runs on the CPU: a GPU once used is of no use to a forked process."""
    from voxkit import checkpoint
    from voxkit.errors import VoxkitError

    try:
        place, _ = checkpoint.settled(dict(_pairs(loads)).get("--device", "auto"), None)
    except VoxkitError:  # the command will say it
        return False
    return place.type == "cpu"


def prepare(loads: Sequence[str]) -> tuple[int, Voice | None]:
    """Load what requests will use, on one thread → how many they may have, the default voice.

    A thread pool would not live on in the children that are forked.
    """
    import torch

    from voxkit.cli import hub
    from voxkit.errors import VoxkitError

    threads, voice = torch.get_num_threads(), None
    torch.set_num_threads(1)
    asked = {flag.removeprefix("--"): value for flag, value in _pairs(loads)}
    with contextlib.suppress(VoxkitError):  # each request will say what is wrong
        engine = hub.keep(asked)
        from voxkit.cli.app import run
        from voxkit.cli.voices import wanted_voice
        from voxkit.options import Options

        voice = wanted_voice(None, None, None).on(engine).voice
        assert voice is not None  # without flags it is the model's own
        engine.speak("Hello.", voice, Options(seed=0))  # reads tables and the voice's reference
        with tempfile.TemporaryDirectory() as folder:  # imports all that the command needs
            run(["speak", "Hello.", "-o", f"{folder}/hello.wav", "--quiet", *loads])
    return threads, voice


def _pairs(loads: Sequence[str]) -> list[tuple[str, str]]:
    rest = iter(loads)
    return [(flag, "" if flag == "--compat" else next(rest)) for flag in rest]


def _answer(door: socket.socket, lock: IO[str], *, threads: int, idle_s: float, once: bool) -> None:
    """Fork for everyone who calls; return when nobody has for long, or after the first."""
    children: set[int] = set()
    busy = time.monotonic()  # when somebody was last served
    while True:
        ready, _, _ = select.select([door], [], [], 1.0 if children else min(idle_s, _LOOK_S))
        if ready or children:
            busy = time.monotonic()
        children -= {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0] == pid}
        if not ready and not children and time.monotonic() - busy >= idle_s:
            return
        if not ready:
            continue
        line, _ = door.accept()
        with line:
            if _peer(line) != os.getuid():
                continue
            pid = os.fork()
            if pid == 0:
                door.close()
                lock.close()  # else no other worker could start while this one speaks
                _child(line, threads)
            children.add(pid)
        if once:
            return


def _peer(line: socket.socket) -> int:
    """Return the user at the other end."""
    if not hasattr(socket, "SO_PEERCRED"):  # the folder's mode alone keeps others out
        return os.getuid()
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def _child(line: socket.socket, threads: int) -> NoReturn:
    """Do one request as its caller's own process would, and end."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupts.heed()
        header, streams, _, _ = socket.recv_fds(line, 4, 3)
        request = json.loads(_received(line, struct.unpack("!I", header)[0]))
        _take_over(streams, request)
        import torch

        wish = os.environ.get(_ENVIRONMENT_THREADS, "")
        torch.set_num_threads(int(wish) if wish.isdecimal() and int(wish) else threads)
        threading.Thread(target=_watch, args=(line,), daemon=True).start()
        from voxkit.cli.app import run

        try:
            status = run(request["words"])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:  # while nothing had begun
        status = 130
    except SystemExit:  # likewise
        status = 143
    except BaseException:  # a bug, shown as it would be in a process of its own, and then the end
        traceback.print_exc()
        raise
    finally:
        for number in interrupts.ENDING:  # the caller goes as soon as it is told
            signal.signal(number, signal.SIG_IGN)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        with contextlib.suppress(OSError):
            line.sendall(bytes([status & 255]))
        os._exit(0)


def _received(line: socket.socket, size: int) -> bytes:
    """Read a request of known size."""
    if size > _LARGEST:
        raise ValueError(f"a request of {size} bytes")
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more:
            raise EOFError("the caller has gone")
        data += more
    return data


def _take_over(streams: Sequence[int], request: dict[str, Any]) -> None:
    """Make the caller's streams, folder, environment and umask those of this process."""
    for own, given in enumerate(streams):
        os.dup2(given, own)
        os.close(given)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = _opened(number, mode)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _opened(number: int, mode: str) -> IO[str]:
    """Open a standard stream as Python does at its start."""
    lines = 1 if os.isatty(number) or number == 2 else -1
    errors = "backslashreplace" if number == 2 else "strict"
    return open(number, mode, buffering=lines, encoding="utf-8", errors=errors, closefd=False)


def _watch(line: socket.socket) -> None:
    """Let the signal end this process that has reached its caller, or Ctrl-C if that is gone."""
    told = b""
    with contextlib.suppress(OSError):
        told = line.recv(1)
    os.kill(os.getpid(), signal.SIGTERM if told == bytes([signal.SIGTERM]) else signal.SIGINT)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2:])
