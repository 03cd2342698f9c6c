"""The `speak` command: text in, speech out to a file, a pipe or the loudspeakers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from voxkit.cli import flags
from voxkit.cli.hub import load_model
from voxkit.cli.output import Output
from voxkit.cli.sound_out import Sink, wanted_target
from voxkit.cli.text_in import check_early, is_file, wanted_text
from voxkit.cli.voices import wanted_voice

if TYPE_CHECKING:
    from voxkit.audio import Audio

HOW_TO = """\
Give voxkit something to say:
  voxkit speak "Hello." -o hello.wav
  voxkit speak -i story.txt -o story.mp3
  echo "Hello." | voxkit speak -o hello.wav
`voxkit speak --help` lists every option."""

_CHARACTERS_A_SECOND = 15.0  # of English read aloud; only the progress bar believes it


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
    if text and text[0] == said and is_file(said):
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
