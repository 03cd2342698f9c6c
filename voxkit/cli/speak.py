"""The `speak` command: text in, speech out to a file, a pipe or the loudspeakers."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxkit.cli import flags
from voxkit.cli.order import Order, replay_of, told
from voxkit.cli.output import Bar, Output
from voxkit.cli.play import starts_late
from voxkit.cli.request import Request, finder, style_report, taking, tell_style, unheard
from voxkit.cli.sound_out import Sink, heard_s, tell_rate, wanted_target
from voxkit.cli.text_in import check_early, wanted_text
from voxkit.cli.text_live import ArrivingText, from_pipe
from voxkit.errors import TextError
from voxkit.instruct import render
from voxkit.markup import spoken_text
from voxkit.text import MAX_CHARACTERS, Script

if TYPE_CHECKING:
    from voxkit.audio import Audio
    from voxkit.engine import Engine
    from voxkit.instruct import Rendering
    from voxkit.speech import Speech

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
            seconds += chunk.seconds
            heard(seconds)  # first: who hears all of a piece may interrupt before a sink returns
            for sink in sinks:
                sink(chunk)
    finally:
        if (close := getattr(chunks, "close", None)) is not None:
            close()


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
    from voxkit.live_score import Marked

    out = Output(request.quiet, request.json)
    if request.json and output == "-":
        raise typer.BadParameter("cannot go with -o -, which is stdout too", param_hint="--json")
    again = None if replay is None else replay_of(replay)
    live = output in (None, "-") and again is None and not request.ssml
    pipe = from_pipe(text, input_file) if live else None
    arriving = None if pipe is None else ArrivingText(pipe)
    said: str | None = ""
    if arriving is None:
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
        if text and text[0] == said and os.path.isfile(said):
            out.warn(f"These are the words {said!r}, not the file: -i {said} reads the file.")
        order = Order(said, request.reading(), options, request.wanted_style(), sample_rate)
        wanted = None
    target = wanted_target(
        output, play=play, raw=raw, format=format, sample_rate=order.sample_rate, force=force
    )
    wanted = wanted or request.wanted()
    if wanted.doubt:
        out.warn(wanted.doubt)
    way = None if again else _as_it_comes(request, input_file, output)
    engine, order, words = _words(out, request, order, arriving, way)
    if again is None and target.player is None and not target.to_stdout:
        order = order.for_a_file(engine, request)
    find = finder(engine)
    with out.bar("Hearing the voice", None):
        speaker = wanted.on(engine).voice
    assert speaker is not None  # Wanted.on always finds or makes one
    if again is not None:
        again.check(out, engine, speaker, find)
    rendering = render(order.style, engine.spec.family)
    _tell(out, words, order, rendering, engine)
    source = words if isinstance(words, Script) else Marked(words, order.reading.lexicon)
    speech = engine.stream(source, speaker, order.options, style=order.style, voices=find)
    comment = told(order, engine, speaker, find, provenance, request=request)
    tell_rate(out, order.sample_rate, target.rate(engine.sample_rate))
    total = len(order.text) / _CHARACTERS_A_SECOND / order.options.speed or None
    with out.bar("Speaking", total) as bar:
        told_of = len(words.unsaid) if isinstance(words, Script) else 0
        ear = _Ear(out, speech, bar, engine.spec.name, told_of)
        sinks: Sequence[Sink] = ()
        try:
            with target.opened(engine.sample_rate, comment) as sinks:
                take = perform(speech, sinks, ear.heard)
        except (KeyboardInterrupt, BrokenPipeError) as stop:
            ear.stopped(stop, heard_s(sinks), target.player)
            raise
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
                "sentences": speech.sentences,
                "unsaid": list(speech.unsaid),
                "notes": list(words.notes) if isinstance(words, Script) else [],
                "style": style_report(order.style, rendering),
            }
        )


def _as_it_comes(request: Request, input_file: Path | None, output: str | None) -> str | None:
    """Return the command that speaks a text of any length; None where there is none."""
    if request.ssml or sys.platform == "win32":
        return None
    named = input_file is not None and str(input_file) != "-"
    into = "" if output is None else " -o -" if output == "-" else " -o - > speech.wav"
    return f"cat {shlex.quote(str(input_file)) if named else 'FILE'} | voxkit speak -{into}"


def _words(
    out: Output, request: Request, order: Order, arriving: ArrivingText | None, way: str | None
) -> tuple[Engine, Order, Script | ArrivingText]:
    """Load the model and prepare the text, unless it is still being written after that.

    Raises `TextError` for a text that is too long, and names the `way` to have it spoken.
    """
    engine = None
    if arriving is not None:
        engine = request.load(out)
        if not arriving.is_complete():
            return engine, order, arriving
        order = dataclasses.replace(order, text="".join(arriving))
    pieces = order.reading.pieces(order.text)
    if way is not None and (count := len(spoken_text(pieces))) > MAX_CHARACTERS:
        raise TextError(
            f"This text has {count:,} characters, more than the {MAX_CHARACTERS:,} that are read "
            f"whole: speak it as it comes, with {way}"
        )
    if engine is None:
        check_early(request.model, pieces)
        engine = request.load(out)
    return engine, order, engine.prepare(pieces)


class _Ear:
    """Hears one request: moves the bar, tells what is left out, and how far it came if stopped."""

    def __init__(self, out: Output, speech: Speech, bar: Bar, model: str, told: int) -> None:
        """Leave out the first things that cannot be said, of which the user has been `told`."""
        self._out, self._speech, self._bar, self._model = out, speech, bar, model
        self._seconds = 0.0  # of sound
        self._told = told

    def heard(self, seconds: float) -> None:
        """Note how much sound there is by now."""
        self._seconds = seconds
        self._bar.at(seconds)
        if new := self._speech.unsaid[self._told :]:
            self._told += len(new)
            self._out.warn(_not_spoken(self._model, new))

    def stopped(self, stop: BaseException, heard_s: float, player: str | None) -> None:
        """Tell how much of the text was spoken, of which no more than `heard_s` was heard."""
        seconds = min(heard_s, self._seconds)
        text = self._speech.spoken_text(seconds)
        if text:
            self._out.note(f"Spoken until then ({seconds:.1f} s): {_end_of(text)}")
        elif not heard_s and player is not None and starts_late(player):
            self._out.note(f"Nothing was heard: {player} starts when all of the speech is made.")
        if self._out.as_json and isinstance(stop, KeyboardInterrupt):
            report = {"interrupted": True, "seconds": round(seconds, 3), "spoken_text": text}
            self._out.json(report)


def _end_of(text: str, most: int = 160) -> str:
    """Return the last words of a long text."""
    return text if len(text) <= most else f"… {text[-most:].partition(' ')[2]}"


def _tell(
    out: Output,
    script: Script | ArrivingText,
    order: Order,
    rendering: Rendering,
    engine: Engine,
) -> None:
    """Say once what of text, markup and style has no effect."""
    if not isinstance(script, Script):
        tell_style(out, order.style, rendering, engine.spec.name)
        return
    if script.unsaid:
        out.warn(_not_spoken(engine.spec.name, script.unsaid))
    for note in script.notes[:8]:
        out.warn(note)
    if len(script.notes) > 8:
        out.warn(f"{len(script.notes) - 8} more tags have no effect.")
    tell_style(out, order.style, rendering, engine.spec.name)
    if missing := unheard(script, order.style, engine.spec.family):
        out.warn(f"{engine.spec.name} cannot do this where the text asks for it: {_few(missing)}")


def _not_spoken(model: str, items: Sequence[str]) -> str:
    return f"Not spoken, because {model} cannot say it: {_few(items)}"


def _few(items: Sequence[str], most: int = 8) -> str:
    """Quote the first few of many things."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(repr(item) for item in items[:most]) + more
