"""What `speak` and `batch` are asked alike: voice, style, reading of the text, options, model."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from voxkit.cli import flags
from voxkit.cli.output import Output
from voxkit.cli.voices import Wanted, wanted_voice
from voxkit.errors import VoxkitError
from voxkit.markup import Piece, parse, pronounce
from voxkit.options import Options
from voxkit.precision import Dtype
from voxkit.pronunciation import Pronunciation, read_lexicon
from voxkit.style import NEUTRAL, Style, tell_all

if TYPE_CHECKING:
    from voxkit.engine import Engine
    from voxkit.instruct import Family, Rendering
    from voxkit.text import Script
    from voxkit.voice import Voice


@dataclass(frozen=True)
class Request:
    """The flags that a command takes for what is to be said and how."""

    voice: flags.VoiceFlag = None
    ref_audio: flags.RefAudioFlag = None
    ref_text: flags.RefTextFlag = None
    instruct: flags.InstructFlag = None
    style: flags.StyleFlag = None
    ssml: flags.SsmlFlag = False
    lexicon: flags.LexiconFlag = None
    speed: flags.SpeedFlag = None
    pause: flags.PauseFlag = None
    temperature: flags.TemperatureFlag = None
    top_p: flags.TopPFlag = None
    top_k: flags.TopKFlag = None
    steps: flags.StepsFlag = None
    guidance: flags.GuidanceFlag = None
    model: flags.ModelFlag = flags.DEFAULT_MODEL
    device: flags.DeviceFlag = flags.Device.auto
    threads: flags.ThreadsFlag = None
    dtype: flags.DtypeFlag = Dtype.auto
    quantize: flags.QuantizeFlag = None
    compile: flags.CompileFlag = False
    warm: flags.WarmFlag = False
    offline: flags.OfflineFlag = False
    compat: flags.CompatFlag = False
    json: flags.JsonFlag = False
    quiet: flags.QuietFlag = False

    def options(self, seed: int) -> Options:
        """Return the options that the flags ask for; a value out of range is wrong usage."""
        usual = Options()
        try:
            return Options(
                seed=seed,
                speed=usual.speed if self.speed is None else self.speed,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                steps=self.steps,
                guidance=self.guidance,
                sentence_pause_ms=usual.sentence_pause_ms if self.pause is None else self.pause,
            )
        except VoxkitError as error:
            raise typer.BadParameter(str(error)) from None

    def wanted(self) -> Wanted:
        """Look up the voice or read the reference.  Raises `VoiceError` or `AudioError`."""
        return wanted_voice(self.voice, self.ref_audio, self.ref_text)

    def wanted_style(self) -> Style:
        """Return the style of the flags; without any, that of the voice's own preset.

        Raises `VoxkitError` for a style that there is not, and wrong usage for no words.
        """
        from voxkit.instruct import understand
        from voxkit.presets import style_preset, voice_style

        style = NEUTRAL
        if self.instruct is None and not self.style and self.voice is not None:
            return voice_style(self.voice)
        for name in self.style or ():
            style = style.merge(style_preset(name).style)
        if self.instruct is not None:
            if not self.instruct.strip():
                raise typer.BadParameter("is empty", param_hint="--instruct")
            style = style.merge(understand(self.instruct))
        return style

    def reading(self) -> Reading:
        """Return how texts are read.  Raises `TextError` for a lexicon that cannot be."""
        return Reading(self.ssml, {} if self.lexicon is None else read_lexicon(self.lexicon))

    def load(self, out: Output, *, together: int = 0) -> Engine:
        """Load the model, for so many requests `together`, showing what takes time."""
        from voxkit.cli.hub import load_model

        return load_model(
            out,
            self.model,
            device=str(self.device),
            threads=self.threads,
            offline=self.offline,
            compat=self.compat,
            dtype=self.dtype,
            quantize=self.quantize,
            together=together,
            compile=self.compile,
        )


@dataclass(frozen=True)
class Reading:
    """How a text is read: its kind of markup, and words that are said in their own way."""

    ssml: bool = False
    lexicon: Mapping[str, Pronunciation] = dataclasses.field(default_factory=dict)

    def pieces(self, text: str) -> tuple[Piece, ...]:
        """Split a text at its markup.  Raises `TextError` for SSML that is none."""
        if self.ssml:
            from voxkit.ssml import parse_ssml

            pieces = parse_ssml(text)
        else:
            pieces = parse(text)
        return pronounce(pieces, self.lexicon) if self.lexicon else pieces


def taking(group: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take one flag for each field of a dataclass, its last parameter."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        *before, last = own.parameters.values()
        hints = get_type_hints(group, include_extras=True)
        fields = [
            inspect.Parameter(
                field.name, last.kind, default=field.default, annotation=hints[field.name]
            )
            for field in dataclasses.fields(group)
        ]

        @functools.wraps(command)
        def spread(**given: Any) -> None:
            grouped = group(**{field.name: given.pop(field.name) for field in fields})
            command(**given, **{last.name: grouped})

        told = own.replace(parameters=[*before, *fields])
        spread.__signature__ = told  # type: ignore[attr-defined]
        spread.__annotations__ = {p.name: p.annotation for p in told.parameters.values()}
        return spread

    return wrap


# ---- telling what comes of a style -------------------------------------------------------------


def tell_style(out: Output, style: Style, told: Rendering, model: str) -> None:
    """Say once what was understood of a style, and what a model makes of it."""
    from voxkit.instruct import is_about_speaker

    if style.settings():
        out.note(f"Style: {tell_all(style)}")
    for phrase in style.ignored:
        why = (
            "that is a matter of the voice: see --voice"
            if is_about_speaker(phrase)
            else ("not understood, so it changes nothing")
        )
        out.warn(f"“{phrase}”: {why}.")
    if told.approximated:
        out.note(f"Brought near by {model}: {'; '.join(told.approximated)}")
    if told.unsupported:
        out.warn(f"{model} cannot do this: {'; '.join(told.unsupported)}.")


def unheard(script: Script, style: Style, family: Family) -> tuple[str, ...]:
    """Return what markup asks for in places and the model cannot do, each once."""
    from voxkit.instruct import render

    known = render(style, family).unsupported
    manners = dict.fromkeys(sentence.manner for sentence in script.sentences)
    missing = (u for m in manners for u in render(m.over(style), family).unsupported)
    return tuple(dict.fromkeys(u for u in missing if u not in known))


def style_report(style: Style, told: Rendering) -> dict[str, Any]:
    """Return what was made of a style, ready for JSON."""
    return {
        "settings": style.settings(),
        "understood": [{"phrase": p, "effect": effect} for p, effect in style.understood],
        "ignored": list(style.ignored),
        "instruction": told.instruction,
        "approximated": list(told.approximated),
        "unsupported": list(told.unsupported),
    }


def finder(engine: Engine) -> Callable[[str], Voice]:
    """Return what finds the voices that a text names, each made for this engine once."""

    @functools.cache
    def find(name: str) -> Voice:
        voice = wanted_voice(name, None, None).on(engine).voice
        assert voice is not None  # Wanted.on always finds or makes one
        return voice

    return find


def named_voices(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """Return the names of the voices that a text asks for, each once."""
    manners = (getattr(piece, "manner", None) for piece in pieces)
    return tuple(dict.fromkeys(m.voice for m in manners if m is not None and m.voice))
