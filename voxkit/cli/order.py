"""What one `speak`, or one line of a `batch`, amounts to; its record, and how to do it again."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxkit import __version__
from voxkit.cli import flags
from voxkit.cli.output import Output
from voxkit.cli.request import Reading, Request, named_voices
from voxkit.cli.voices import Wanted, wanted_voice
from voxkit.errors import ModelError, TextError, VoiceError
from voxkit.files import at_home
from voxkit.markup import is_library_name
from voxkit.options import WHOLE, Options
from voxkit.style import Style

if TYPE_CHECKING:
    from voxkit.engine import Engine
    from voxkit.provenance import Provenance
    from voxkit.voice import Voice

# What a replay takes from the file, so that a flag would contradict it.
_SETTLED = (
    "instruct style ssml lexicon speed pause temperature top_p top_k steps guidance"
).split()
LOADING = ("compat", "dtype", "quantize")  # flags that decide how the model computes


@dataclass(frozen=True)
class Order:
    """What is to be spoken and how, settled before a model is loaded."""

    text: str
    reading: Reading
    options: Options
    style: Style
    sample_rate: int | None  # Hz, of the result, where it is not the model's

    def for_a_file(self, engine: Engine, request: Request) -> Order:
        """Return the order for sound that nobody hears before all of it is made.

        Where that takes less memory its sentences are decoded at once.
        """
        if not engine.prefers_whole or request.compat:
            return self
        return dataclasses.replace(self, options=dataclasses.replace(self.options, first_hop=WHOLE))


def told(
    order: Order,
    engine: Engine,
    voice: Voice,
    find: Callable[[str], Voice],
    record: flags.Record,
    *,
    request: Request,
) -> str:
    """Return what a file says of itself, the text only where that is wanted."""
    from voxkit.provenance import SYNTHETIC, Provenance, digest, text_digest

    if record is flags.Record.none:
        return SYNTHETIC
    names = named_voices(order.reading.pieces(order.text))
    folded = order.text.casefold()
    return Provenance(
        voxkit=__version__,
        model=engine.spec.name,
        revision=engine.spec.revision,
        fingerprint=engine.fingerprint,
        loading={name: _plain(getattr(request, name)) for name in LOADING},
        voice=voice.name,
        voices={voice.name: digest(voice)} | {name: digest(find(name)) for name in names},
        options=order.options,
        style=order.style,
        markup="ssml" if order.reading.ssml else "inline",
        lexicon={w: s for w, s in order.reading.lexicon.items() if w.casefold() in folded},
        sample_rate=order.sample_rate,
        text_sha256=text_digest(order.text),
        text=order.text if record is flags.Record.text else None,
    ).comment()


def _plain(value: str | bool | None) -> str | bool | None:
    return value if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Replay:
    """A file whose speech is to be made again."""

    path: Path
    made: Provenance

    def order(
        self, request: Request, seed: int | None, said: str | None, sample_rate: int | None
    ) -> Order:
        """Return what was ordered when the file was made.

        Raises `TextError` where its text is missing or another, and wrong usage for flags that
        would change the speech.
        """
        plain = Request()
        for name in (*_SETTLED, *LOADING):
            if getattr(request, name) != getattr(plain, name):
                flag = "--" + name.replace("_", "-")
                raise typer.BadParameter("cannot go with --replay", param_hint=flag)
        if seed is not None:
            raise typer.BadParameter("cannot go with --replay", param_hint="--seed")
        from voxkit.provenance import text_digest

        text = self.made.text if said is None else said
        if text is None:
            raise TextError(f"{self.path} does not hold its text: give it as TEXT or with -i.")
        if text_digest(text) != self.made.text_sha256:
            raise TextError(f"This is not the text that is spoken in {self.path}.")
        reading = Reading(self.made.markup == "ssml", self.made.lexicon)
        rate = self.made.sample_rate if sample_rate is None else sample_rate
        return Order(text, reading, self.made.options, self.made.style, rate)

    def record(self, wanted: flags.Record) -> flags.Record:
        """Return what the new file tells: no text where the old one told none."""
        untold = self.made.text is None and wanted is flags.Record.text
        return flags.Record.facts if untold else wanted

    def request(self, request: Request) -> Request:
        """Return the flags with the file's model, unless another was asked for.

        Raises `ModelError` for a model that nobody but the file has asked for.
        """
        model = self.made.model if request.model == flags.DEFAULT_MODEL else request.model
        if model == self.made.model != request.model and not _may_load(model):
            raise ModelError(
                f"{self.path} was made with {model}, which is neither known nor on this machine: "
                f"give --model {model} to fetch it."
            )
        loading = {name: self.made.loading[name] for name in LOADING if name in self.made.loading}
        return dataclasses.replace(request, model=model, **loading)  # type: ignore[arg-type]

    def wanted(self, request: Request) -> Wanted:
        """Look up the file's voice, or the one that the flags give.  Raises `VoiceError`."""
        if request.voice is not None or request.ref_audio is not None:
            return request.wanted()
        try:
            if not is_library_name(self.made.voice):
                raise VoiceError("A record opens no files.")
            return wanted_voice(self.made.voice, None, None)
        except VoiceError:
            raise VoiceError(
                f"{self.path} is spoken by {self.made.voice!r}, who is not here: give the voice "
                "with --voice, or its recording with --ref-audio."
            ) from None

    def check(
        self, out: Output, engine: Engine, voice: Voice, find: Callable[[str], Voice]
    ) -> None:
        """Raise `ModelError` or `VoiceError` unless model and voices are those of the file."""
        from voxkit.provenance import digest

        here = (engine.fingerprint, engine.spec.revision)
        if here != (self.made.fingerprint, self.made.revision):
            raise ModelError(
                f"{self.path} was made by {self.made.model}, revision {self.made.revision}, and "
                f"not by {engine.spec.name}, revision {engine.spec.revision}, which cannot make "
                "it again: give that model with --model."
            )
        for name, known in self.made.voices.items():
            if digest(voice if name == self.made.voice else find(name)) != known:
                raise VoiceError(
                    f"The voice {name!r} is not the one that speaks in {self.path}: "
                    "it has changed since, or was heard with another --ref-text."
                )
        if self.made.voxkit != __version__:
            out.warn(
                f"{self.path} was made by voxkit {self.made.voxkit} and this is {__version__}: "
                "the sound may differ."
            )


def _may_load(model: str) -> bool:
    """Tell whether a model may be loaded because a file, whoever wrote it, names it."""
    from voxkit import hub

    if model == flags.DEFAULT_MODEL:
        return True
    if os.path.isdir(at_home(model)):
        return False
    if model.lower() in (known.name for known in hub.known()):
        return True
    try:
        return hub.locate(model) is not None
    except ModelError:
        return False


def replay_of(path: Path) -> Replay:
    """Read the record of a file.  Raises `AudioError` for a file without one."""
    from voxkit.provenance import read_provenance

    return Replay(path, read_provenance(path))
