"""Where the speech goes: a file, standard output, the loudspeakers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxkit.cli import flags
from voxkit.cli.output import binary_stdout
from voxkit.cli.play import find_player, make_roomy, playing
from voxkit.errors import OutputError

if TYPE_CHECKING:
    from voxkit.audio import Audio

Sink = Callable[["Audio"], None]


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
                sinks.append(stack.enter_context(playing(self.player, model_rate)))
            yield sinks


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


@contextlib.contextmanager
def _stdout(model_rate: int, sample_rate: int | None, raw: bool) -> Iterator[Sink]:
    """Stream 16-bit PCM to stdout, behind a WAV header of unknown length unless `raw`."""
    import numpy as np
    import soxr

    from voxkit.audio import Audio, pcm16, wav_stream_header

    stream, rate = binary_stdout(), sample_rate or model_rate
    make_roomy(stream)
    resampler = soxr.ResampleStream(model_rate, rate, 1) if rate != model_rate else None
    header = b"" if raw else wav_stream_header(rate)

    def send(audio: Audio, last: bool = False) -> None:
        nonlocal header
        if resampler is not None:
            audio = Audio(resampler.resample_chunk(audio.samples, last=last), rate)
        stream.write(header + pcm16(audio))
        stream.flush()
        header = b""

    yield send
    if resampler is not None:
        send(Audio(np.zeros(0, np.float32), model_rate), last=True)
