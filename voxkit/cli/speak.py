"""The `speak` command: text in, speech out to a file, a pipe or the loudspeakers."""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxkit.cli import flags
from voxkit.cli.hub import load_model
from voxkit.cli.output import Output, binary_stdout
from voxkit.cli.play import find_player, playing
from voxkit.cli.voices import wanted_voice
from voxkit.errors import OutputError, TextError

if TYPE_CHECKING:
    from voxkit.audio import Audio

HOW_TO = """\
Give voxkit something to say:
  voxkit speak "Hello." -o hello.wav
  voxkit speak -i story.txt -o story.mp3
  echo "Hello." | voxkit speak -o hello.wav
`voxkit speak --help` lists every option."""

_MOST_BYTES = 2**24  # of text; at fifteen characters a second, two weeks of speech
_CHARACTERS_A_SECOND = 15.0  # of English read aloud; only the progress bar believes it

Sink = Callable[["Audio"], None]


# ---- text -------------------------------------------------------------------------------------


def wanted_text(words: Sequence[str] | None, input_file: Path | None) -> str | None:
    """Return the text from TEXT, from `-i`, from `-` or from a pipe; None where there is none."""
    if words and len(words) > 1:
        raise typer.BadParameter("must be one piece: put it in quotes", param_hint="TEXT")
    if words and input_file is not None:
        raise typer.BadParameter("cannot go with TEXT", param_hint="--input-file")
    source = words[0] if words else None if input_file is None else str(input_file)
    if source == "-" or (source is None and sys.stdin is not None and not sys.stdin.isatty()):
        if sys.stdin is None:
            raise TextError("Standard input is closed: give the text as an argument or with -i.")
        return decoded(sys.stdin.buffer.read(_MOST_BYTES + 1), "Standard input")
    if words:
        return _checked_argument(words[0])
    return None if input_file is None else decoded(_read(input_file), str(input_file))


def decoded(data: bytes, source: str) -> str:
    """Decode UTF-8 text, with or without a byte order mark.  Raises `TextError`."""
    if len(data) > _MOST_BYTES:
        raise TextError(f"{source} holds more than {_MOST_BYTES:,} bytes: split it into parts.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{source} is not UTF-8 text (byte {error.start}): save it as UTF-8."
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TextError(f"{path} cannot be read ({reason}): give a text file.") from None


def _is_file(text: str) -> bool:
    return len(text) < 200 and "\0" not in text and Path(text).is_file()


def _checked_argument(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TextError("The text is not valid UTF-8: put it in a file and use -i.") from None
    return text


def check_early(model: str, text: str) -> None:
    """Refuse with `TextError`, before the model is loaded, what it would find nothing to say in.

    The words are looked up later, by the model; a hub model alone can read its text.
    """
    from voxkit import checkpoint
    from voxkit.families import read_spec
    from voxkit.spec import PhoneTextSpec
    from voxkit.text import prepare

    folder = next((m.path for m in checkpoint.available() if m.name == model), Path(model))
    if not (folder / "config.json").is_file():
        return  # loading it will say what is wrong
    reads = read_spec(folder / "config.json").text
    if isinstance(reads, PhoneTextSpec):
        prepare(text, language=reads.language, max_words=reads.max_words)


# ---- where the speech goes --------------------------------------------------------------------


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


# ---- speaking ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Take:
    """What came of one request."""

    seconds: float  # of speech
    busy_s: float  # time spent in the model
    first_audio_s: float  # until the first chunk was there

    @property
    def rtf(self) -> float:
        """Real-time factor: below 1 is faster than speech."""
        return self.busy_s / self.seconds if self.seconds else 0.0


def perform(chunks: Iterator[Audio], sinks: Sequence[Sink], heard: Callable[[float], None]) -> Take:
    """Send chunks to every sink as they come, and tell `heard` the seconds of speech so far."""
    seconds = busy = first = 0.0
    try:
        while True:
            started = time.perf_counter()
            chunk = next(chunks, None)
            busy += time.perf_counter() - started
            if chunk is None:
                return Take(seconds, busy, first)
            first = first or busy
            for sink in sinks:
                sink(chunk)
            seconds += chunk.seconds
            heard(seconds)
    finally:
        if isinstance(chunks, Generator):
            chunks.close()


def speak(
    text: flags.TextArgument = None,
    input_file: flags.InputFlag = None,
    output: flags.OutputFlag = None,
    format: flags.FormatFlag = None,
    sample_rate: flags.SampleRateFlag = None,
    raw: flags.RawFlag = False,
    play: flags.PlayFlag = False,
    force: flags.ForceFlag = False,
    voice: flags.VoiceFlag = None,
    ref_audio: flags.RefAudioFlag = None,
    ref_text: flags.RefTextFlag = None,
    speed: flags.SpeedFlag = None,
    pause: flags.PauseFlag = None,
    seed: flags.SeedFlag = None,
    temperature: flags.TemperatureFlag = None,
    top_p: flags.TopPFlag = None,
    top_k: flags.TopKFlag = None,
    steps: flags.StepsFlag = None,
    guidance: flags.GuidanceFlag = None,
    model: flags.ModelFlag = flags.DEFAULT_MODEL,
    device: flags.DeviceFlag = flags.Device.auto,
    threads: flags.ThreadsFlag = None,
    offline: flags.OfflineFlag = False,
    compat: flags.CompatFlag = False,
    json: flags.JsonFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Speak text: into a file, a pipe, or aloud."""
    out = Output(quiet, json)
    options = flags.wishes(
        secrets.randbits(32) if seed is None else seed,
        speed=speed,
        pause=pause,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        steps=steps,
        guidance=guidance,
    )
    if json and output == "-":
        raise typer.BadParameter("cannot go with -o -, which is stdout too", param_hint="--json")
    said = wanted_text(text, input_file)
    if said is None:
        out.usage(HOW_TO)
        raise typer.Exit(2)
    if text and text[0] == said and _is_file(said):
        out.warn(f"These are the words {said!r}, not the file: -i {said} reads the file.")
    target = wanted_target(
        output, play=play, raw=raw, format=format, sample_rate=sample_rate, force=force
    )
    wanted = wanted_voice(voice, ref_audio, ref_text)
    check_early(model, said)
    engine = load_model(
        out, model, device=str(device), threads=threads, offline=offline, compat=compat
    )
    script = engine.prepare(said)
    with out.bar("Hearing the voice", None):
        speaker = wanted.on(engine).voice
    assert speaker is not None  # Wanted.on always finds or makes one
    if script.unsaid:
        out.warn(f"Not spoken, because {engine.spec.name} cannot say it: {_few(script.unsaid)}")
    comment = f"{engine.spec.name}, voice {speaker.name}, seed {options.seed}"
    total = len(said) / _CHARACTERS_A_SECOND / options.speed
    with out.bar("Speaking", total) as bar, target.opened(engine.sample_rate, comment) as sinks:
        take = perform(engine.stream(script, speaker, options), sinks, bar.at)
    where = f"{target.path}: " if target.path else ""
    out.note(
        f"{where}{take.seconds:.1f} s, voice {speaker.name}, seed {options.seed}, "
        f"RTF {take.rtf:.2f}"
    )
    if json:
        out.json(
            {
                "path": str(target.path) if target.path else None,
                "seconds": round(take.seconds, 3),
                "sample_rate": target.rate(engine.sample_rate),
                "seed": options.seed,
                "voice": speaker.name,
                "model": engine.spec.name,
                "rtf": round(take.rtf, 4),
                "first_audio_s": round(take.first_audio_s, 3),
                "sentences": len(script.sentences),
                "unsaid": list(script.unsaid),
            }
        )


def _few(items: Sequence[str], most: int = 8) -> str:
    """Quote the first few of many things."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(repr(item) for item in items[:most]) + more
