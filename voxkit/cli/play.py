"""Plays speech through the loudspeakers: the sounddevice library, or a player that is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from voxkit.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

    from voxkit.audio import Audio

# Programs that play, in the order they are tried.  Most take samples while they are being made;
# those with {file} in their arguments only play a finished file.
PLAYERS = {
    "paplay": "--raw --format=s16le --channels=1 --rate={rate}",
    "pw-play": "{file}",
    "aplay": "-q -t raw -f S16_LE -c 1 -r {rate} -",
    "afplay": "{file}",
    "ffplay": "-nodisp -autoexit -loglevel error -f s16le -ar {rate} -i -",
    "play": "-q -t raw -e signed-integer -b 16 -L -c 1 -r {rate} -",
}
LIBRARY = "sounddevice"
_AHEAD_S = 20  # of sound that may wait to be played
_PIPE_BYTES = 2**20  # 22 s at 24 kHz; the most that Linux grants to anybody

Play = Callable[["Audio"], None]


def find_player() -> str | None:
    """Return the name of what will play: "sounddevice", a program, or None if there is nothing."""
    if importlib.util.find_spec(LIBRARY):
        with contextlib.suppress(OSError):  # raised where the PortAudio library is not installed
            importlib.import_module(LIBRARY)
            return LIBRARY
    return next((name for name in PLAYERS if shutil.which(name)), None)


def starts_late(player: str) -> bool:
    """Tell whether a player only starts once all of the speech is made."""
    return player != LIBRARY and "{file}" in PLAYERS[player].split()


def playing(player: str, sample_rate: int) -> contextlib.AbstractContextManager[Play]:
    """Open the loudspeakers; call the result with each chunk.  Leaving the block waits for the end.

    Raises `OutputError` if the player cannot play.
    """
    if player == LIBRARY:
        return _library(sample_rate)
    arguments = PLAYERS[player].split()
    return (_finished_file if starts_late(player) else _pipe)(player, arguments, sample_rate)


class _Queue:
    """Sound that waits for the loudspeakers, whose driver fetches it from a thread of its own."""

    def __init__(self, sample_rate: int) -> None:
        self._most = _AHEAD_S * sample_rate
        self._waiting: deque[np.ndarray] = deque()
        self._count = 0  # samples in it
        self._ended = False  # the driver fetches no more
        self._changed = threading.Condition()

    def play(self, audio: Audio) -> None:
        """Add a chunk, once there is room."""
        self.wait(self._most)
        with self._changed:
            self._waiting.append(audio.samples)
            self._count += len(audio.samples)

    def wait(self, most: int) -> None:
        """Wait until no more than `most` samples are left."""
        with self._changed:
            while self._count > most and not self._ended:
                self._changed.wait()
            if self._ended:
                raise _silent(LIBRARY, "the device has gone")

    def fetch(self, out: np.ndarray, frames: int, *_: object) -> None:
        """Fill out (frames, 1), with silence where speech is late."""
        done = 0
        with self._changed:
            while self._waiting and done < frames:
                chunk = self._waiting.popleft()
                part = chunk[: frames - done]
                out[done : done + len(part), 0] = part
                done += len(part)
                if len(part) < len(chunk):
                    self._waiting.appendleft(chunk[len(part) :])
            self._count -= done
            self._changed.notify_all()
        out[done:] = 0

    def end(self) -> None:
        """Wake whoever waits: the driver has stopped."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextlib.contextmanager
def _library(sample_rate: int) -> Iterator[Play]:
    import sounddevice

    queue = _Queue(sample_rate)
    try:
        with sounddevice.OutputStream(
            sample_rate,
            channels=1,
            dtype="float32",
            callback=queue.fetch,
            finished_callback=queue.end,
        ):
            yield queue.play
            queue.wait(0)
    except sounddevice.PortAudioError as error:
        raise _silent(LIBRARY, str(error)) from None


@contextlib.contextmanager
def _pipe(player: str, arguments: list[str], sample_rate: int) -> Iterator[Play]:
    from voxkit.audio import pcm16

    command = [player, *(a.format(rate=sample_rate) for a in arguments)]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints
        ) as process,
    ):
        assert process.stdin is not None  # Popen was asked for a pipe
        make_roomy(process.stdin)

        def play(audio: Audio) -> None:
            try:
                process.stdin.write(pcm16(audio))  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            except BrokenPipeError:
                raise _complaint(player, process, complaints) from None

        try:
            yield play
        except BaseException:
            process.kill()
            with contextlib.suppress(BrokenPipeError):  # what it would not take is lost
                process.stdin.close()
            raise
        with contextlib.suppress(BrokenPipeError):  # its exit status tells more
            process.stdin.close()
        if process.wait():
            raise _complaint(player, process, complaints)


@contextlib.contextmanager
def _finished_file(player: str, arguments: list[str], sample_rate: int) -> Iterator[Play]:
    from voxkit.audio import AudioWriter

    with tempfile.TemporaryDirectory(prefix="voxkit-") as folder:
        path = Path(folder) / "speech.wav"
        with AudioWriter(path, sample_rate) as writer:
            yield writer.write
        command = [player, *(a.format(file=path) for a in arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise _silent(player, done.stderr.decode(errors="replace"))


def make_roomy(pipe: IO[bytes]) -> None:
    """Let a pipe hold many seconds of sound, so that the next are made while these are played.

    Linux can; elsewhere a pipe holds 64 KiB, 1.3 s at 24 kHz.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def not_taken(pipe: IO[bytes]) -> int:
    """Return how many bytes in a pipe its reader has not taken; 0 where nobody can tell.

    Linux can.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import fcntl
        import termios

        if stat.S_ISFIFO(os.fstat(pipe.fileno()).st_mode):
            count = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))  # an int of C
            return int.from_bytes(count, sys.byteorder)
    return 0


def _complaint(player: str, process: subprocess.Popen[bytes], complaints: object) -> OutputError:
    process.wait()
    complaints.seek(0)  # type: ignore[attr-defined]
    return _silent(player, complaints.read().decode(errors="replace"))  # type: ignore[attr-defined]


def _silent(player: str, complaint: str) -> OutputError:
    reason = next((line.strip() for line in complaint.splitlines() if line.strip()), "")
    because = f" ({reason.rstrip('.')})" if reason else ""
    return OutputError(
        f"{player} could not play the speech{because}: write a file with -o instead."
    )
