"""Plays speech through the loudspeakers: the sounddevice library, or a player that is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from voxkit.errors import OutputError

if TYPE_CHECKING:
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

Play = Callable[["Audio"], None]


def find_player() -> str | None:
    """Return the name of what will play: "sounddevice", a program, or None if there is nothing."""
    if importlib.util.find_spec(LIBRARY):
        with contextlib.suppress(OSError):  # raised where the PortAudio library is not installed
            importlib.import_module(LIBRARY)
            return LIBRARY
    return next((name for name in PLAYERS if shutil.which(name)), None)


def playing(player: str, sample_rate: int) -> contextlib.AbstractContextManager[Play]:
    """Open the loudspeakers; call the result with each chunk.  Leaving the block waits for the end.

    Raises `OutputError` if the player cannot play.
    """
    if player == LIBRARY:
        return _library(sample_rate)
    arguments = PLAYERS[player].split()
    return (_finished_file if "{file}" in arguments else _pipe)(player, arguments, sample_rate)


@contextlib.contextmanager
def _library(sample_rate: int) -> Iterator[Play]:
    import sounddevice

    try:
        with sounddevice.OutputStream(sample_rate, channels=1, dtype="float32") as stream:

            def play(audio: Audio) -> None:
                stream.write(audio.samples)

            yield play
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
