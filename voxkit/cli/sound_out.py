"""Where the speech goes: a file, standard output, the loudspeakers."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxkit.cli import flags
from voxkit.cli.output import Output, binary_stdout
from voxkit.cli.play import Play, find_player, make_roomy, not_taken, playing, starts_late
from voxkit.errors import OutputError

if TYPE_CHECKING:
    from voxkit.audio import Audio

Sink = Callable[["Audio"], None]
_PORTION_BYTES = 1024  # of sound handed to a pipe at once, 21 ms at 24 kHz


@dataclass(frozen=True)
class Target:
    """Where the speech goes, checked before a model is loaded."""

    path: Path | None = None
    to_stdout: bool = False
    raw: bool = False
    player: str | None = None
    format: str | None = None
    sample_rate: int | None = None  # Hz
    force: bool = False

    def rate(self, model_rate: int) -> int:
        """Return the sample rate of the result in Hz, for a model of `model_rate`."""
        from voxkit.audio import output_format

        wanted = self.sample_rate or model_rate
        return output_format(self.path, self.format).legal_rate(wanted) if self.path else wanted

    @contextlib.contextmanager
    def opened(self, model_rate: int, comment: str) -> Iterator[list[Sink]]:
        """Open every place that the speech goes to."""
        from voxkit.audio import AudioWriter

        with contextlib.ExitStack() as stack:
            sinks: list[Sink] = []
            if self.path is not None:
                writer = AudioWriter(
                    self.path,
                    model_rate,
                    format=self.format,
                    output_rate=self.sample_rate,
                    force=self.force,
                    comment=comment,
                )
                sinks.append(stack.enter_context(writer).write)
            if self.to_stdout:
                sinks.append(stack.enter_context(_stdout(model_rate, self.sample_rate, self.raw)))
            if self.player is not None:
                sinks.append(stack.enter_context(_aloud(self.player, model_rate)))
            yield sinks


def tell_rate(out: Output, wanted: int | None, rate: int) -> None:
    """Say so if the sample rate that was asked for is not the one of the result."""
    if wanted is not None and wanted != rate:
        out.warn(f"This format cannot have {wanted} Hz: it gets {rate} Hz.")


def wanted_target(
    output: str | None,
    *,
    play: bool,
    raw: bool,
    format: str | None,
    sample_rate: int | None,
    force: bool,
) -> Target:
    """Check where the speech shall go.  Raises `OutputError` or wrong usage."""
    from voxkit.audio import output_format

    to_stdout = output == "-"
    if raw and not to_stdout:
        raise typer.BadParameter("needs -o -", param_hint="--raw")
    if output is None and (format or sample_rate):
        given = "--format" if format else "--sample-rate"
        raise typer.BadParameter("needs -o", param_hint=given)
    if to_stdout and format not in (None, "wav"):
        raise typer.BadParameter("-o - writes WAV, or samples with --raw", param_hint="--format")
    if to_stdout and sys.__stdout__ is None:
        raise OutputError("Standard output is closed: name a file with -o instead.")
    if to_stdout and sys.stdout.isatty():
        raise typer.BadParameter(
            "will not write sound to a terminal: name a file, or pipe it on", param_hint="-o -"
        )
    if output is None and not play and not sys.stdout.isatty():
        raise typer.BadParameter(
            "missing: name a file, or use -o - to send WAV into the pipe", param_hint="-o"
        )
    player = find_player() if play or output is None else None
    if player is None and (play or output is None):
        raise OutputError(
            "There is nothing to play sound with: write a file with -o speech.wav, "
            'or install a player (pip install "voxkit[play]").'
        )
    path = None if output is None or to_stdout else Path(output)
    if path is not None:
        output_format(path, format)
        flags.check_place(path, force=force)
    return Target(path, to_stdout, raw, player, format, sample_rate, force)


def heard_s(sinks: Sequence[Sink]) -> float:
    """Return how much of the speech can have been heard so far, in s; infinity if nobody listens.

    What a reader of stdout has taken counts, and the time that the loudspeakers have had.
    """
    listeners = [sink for sink in sinks if isinstance(sink, _Aloud | _Stdout)]
    return min((listener.heard_s() for listener in listeners), default=math.inf)


class _Aloud:
    """The loudspeakers, and how long they have been playing."""

    def __init__(self, play: Play, *, late: bool) -> None:
        """Play with what starts at the first chunk, or `late`, when it is told to."""
        self._play, self._late = play, late
        self._began: float | None = None

    def __call__(self, audio: Audio) -> None:
        if not self._late:
            self.begin()
        self._play(audio)

    def begin(self) -> None:
        """Note that sound is heard from now on, if it was not before."""
        self._began = self._began or time.monotonic()

    def heard_s(self) -> float:
        """Return for how long there has been sound, in s."""
        return time.monotonic() - self._began if self._began else 0.0


@contextlib.contextmanager
def _aloud(player: str, sample_rate: int) -> Iterator[Sink]:
    with playing(player, sample_rate) as play:
        sink = _Aloud(play, late=starts_late(player))
        yield sink
        sink.begin()


class _Stdout:
    """16-bit PCM on stdout, and how much of it the reader has taken."""

    def __init__(self, model_rate: int, rate: int, header: bytes) -> None:
        import soxr

        self._stream, self._rate, self._header = binary_stdout(), rate, header
        self._resampler = soxr.ResampleStream(model_rate, rate, 1) if rate != model_rate else None
        self._sent = 0  # bytes of sound, with those of the portion that is under way
        make_roomy(self._stream)

    def __call__(self, audio: Audio, *, last: bool = False) -> None:
        """Send a chunk on, and with the `last` what the resampler holds back."""
        from voxkit.audio import Audio, pcm16

        if self._resampler is not None:
            samples = self._resampler.resample_chunk(audio.samples, last=last)
            audio = Audio(samples, self._rate)
        data = pcm16(audio)
        # In small portions, because a write that is interrupted does not tell how far it came.
        for start in range(0, len(data) or 1, _PORTION_BYTES):
            portion = data[start : start + _PORTION_BYTES]
            header, self._header = self._header, b""
            self._sent += len(portion)
            self._stream.write(header + portion)
            self._stream.flush()

    def heard_s(self) -> float:
        """Return how much sound the reader has taken, in s."""
        return max(0, self._sent - not_taken(self._stream)) / (2 * self._rate)


@contextlib.contextmanager
def _stdout(model_rate: int, sample_rate: int | None, raw: bool) -> Iterator[Sink]:
    """Stream 16-bit PCM to stdout, behind a WAV header of unknown length unless `raw`."""
    import numpy as np

    from voxkit.audio import Audio, wav_stream_header

    rate = sample_rate or model_rate
    send = _Stdout(model_rate, rate, b"" if raw else wav_stream_header(rate))
    yield send
    if rate != model_rate:
        send(Audio(np.zeros(0, np.float32), model_rate), last=True)
