"""The `speak` command: text in, speech out to a file, a pipe or the loudspeakers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from voxkit.cli import flags
from voxkit.cli.order import Order, replay_of, told
from voxkit.cli.output import Output
from voxkit.cli.request import Request, finder, style_report, taking, tell_style, unheard
from voxkit.cli.sound_out import Sink, wanted_target
from voxkit.cli.text_in import check_early, is_file, wanted_text
from voxkit.instruct import render

if TYPE_CHECKING:
    from voxkit.audio import Audio
    from voxkit.engine import Engine
    from voxkit.instruct import Rendering
    from voxkit.text import Script

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


@taking(Request)
def speak(
    text: flags.TextArgument = None,
    input_file: flags.InputFlag = None,
    output: flags.OutputFlag = None,
    format: flags.FormatFlag = None,
    sample_rate: flags.SampleRateFlag = None,
    raw: flags.RawFlag = False,
    play: flags.PlayFlag = False,
    force: flags.ForceFlag = False,
    provenance: flags.ProvenanceFlag = flags.Record.text,
    replay: flags.ReplayFlag = None,
    seed: flags.SeedFlag = None,
    request: Request = Request(),  # noqa: B008 (frozen)
) -> None:
    """Speak text: into a file, a pipe, or aloud.

    A text may hold markup for pauses, rate, voices and more: see `voxkit styles markup`.
    """
    out = Output(request.quiet, request.json)
    if request.json and output == "-":
        raise typer.BadParameter("cannot go with -o -, which is stdout too", param_hint="--json")
    again = None if replay is None else replay_of(replay)
    said = wanted_text(text, input_file) if again is None or text or input_file else None
    if again is not None:
        order = again.order(request, seed, said, sample_rate)
        request = again.request(request)
        wanted, provenance = again.wanted(request), again.record(provenance)
    elif said is None:
        out.usage(HOW_TO)
        raise typer.Exit(2)
    else:
        options = request.options(secrets.randbits(32) if seed is None else seed)
        if text and text[0] == said and is_file(said):
            out.warn(f"These are the words {said!r}, not the file: -i {said} reads the file.")
        order = Order(said, request.reading(), options, request.wanted_style(), sample_rate)
        wanted = None
    target = wanted_target(
        output, play=play, raw=raw, format=format, sample_rate=order.sample_rate, force=force
    )
    wanted = wanted or request.wanted()
    if wanted.doubt:
        out.warn(wanted.doubt)
    pieces = order.reading.pieces(order.text)
    check_early(request.model, pieces)
    engine = request.load(out)
    script = engine.prepare(pieces)
    find = finder(engine)
    with out.bar("Hearing the voice", None):
        speaker = wanted.on(engine).voice
    assert speaker is not None  # Wanted.on always finds or makes one
    if again is not None:
        again.check(out, engine, speaker, find)
    rendering = render(order.style, engine.spec.family)
    _tell(out, script, order, rendering, engine)
    chunks = engine.stream(script, speaker, order.options, style=order.style, voices=find)
    comment = told(order, engine, speaker, find, provenance, request=request)
    total = len(order.text) / _CHARACTERS_A_SECOND / order.options.speed
    with out.bar("Speaking", total) as bar, target.opened(engine.sample_rate, comment) as sinks:
        take = perform(chunks, sinks, bar.at)
    where = f"{target.path}: " if target.path else ""
    out.note(
        f"{where}{take.seconds:.1f} s, voice {speaker.name}, seed {order.options.seed}, "
        f"RTF {take.rtf:.2f}"
    )
    if request.json:
        out.json(
            {
                "path": str(target.path) if target.path else None,
                "seconds": round(take.seconds, 3),
                "sample_rate": target.rate(engine.sample_rate),
                "seed": order.options.seed,
                "voice": speaker.name,
                "model": engine.spec.name,
                "rtf": round(take.rtf, 4),
                "first_audio_s": round(take.first_audio_s, 3),
                "sentences": len(script.sentences),
                "unsaid": list(script.unsaid),
                "notes": list(script.notes),
                "style": style_report(order.style, rendering),
            }
        )


def _tell(out: Output, script: Script, order: Order, rendering: Rendering, engine: Engine) -> None:
    """Say once what of text, markup and style has no effect."""
    if script.unsaid:
        out.warn(f"Not spoken, because {engine.spec.name} cannot say it: {_few(script.unsaid)}")
    for note in script.notes[:8]:
        out.warn(note)
    if len(script.notes) > 8:
        out.warn(f"{len(script.notes) - 8} more tags have no effect.")
    tell_style(out, order.style, rendering, engine.spec.name)
    if missing := unheard(script, order.style, engine.spec.family):
        out.warn(f"{engine.spec.name} cannot do this where the text asks for it: {_few(missing)}")


def _few(items: Sequence[str], most: int = 8) -> str:
    """Quote the first few of many things."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(repr(item) for item in items[:most]) + more
