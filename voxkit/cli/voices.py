"""The `voices` group and `clone`: make voices from recordings, list, show and remove them."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxkit.cli import flags
from voxkit.cli.hub import load_model
from voxkit.cli.output import Output
from voxkit.errors import TextError, VoiceError

if TYPE_CHECKING:
    from voxkit.audio import Audio
    from voxkit.engine import Engine
    from voxkit.voice import Voice, VoiceInfo

_LONGEST_TRANSCRIPT = 2_000  # characters; ten hasty seconds are 300

app = typer.Typer(help="List, show and remove voices.", no_args_is_help=True)


# ---- the voice that flags ask for -------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """The voice that flags ask for, read and checked before any model is loaded."""

    name: str | None = None  # None is the model's own default voice
    voice: Voice | None = None
    reference: Audio | None = None
    transcript: str | None = None
    content: str = ""  # hash of what makes the voice, empty for the default voice

    def on(self, engine: Engine) -> Wanted:
        """Return the same with its `voice` made or found for this engine."""
        if self.voice is not None:
            return dataclasses.replace(self, voice=engine.adopt(self.voice))
        if self.reference is not None:
            voice = engine.clone(
                self.reference, name=self.name or "reference", transcript=self.transcript
            )
            return dataclasses.replace(self, voice=voice)
        if not engine.default_voice:
            raise VoiceError(
                f"{engine.spec.name} has no voice of its own: choose one with --voice, "
                "or give a recording with --ref-audio."
            )
        return wanted_voice(engine.default_voice, None, None).on(engine)


def wanted_voice(name: str | None, ref_audio: Path | None, ref_text: str | None) -> Wanted:
    """Look up `--voice` or read `--ref-audio`.  Raises `VoiceError` or `AudioError`."""
    from voxkit.audio import read_audio
    from voxkit.library import voice_path
    from voxkit.reference import reference_clip
    from voxkit.voice import load_voice

    if ref_audio is None:
        if ref_text is not None:
            raise typer.BadParameter("needs --ref-audio", param_hint="--ref-text")
        if name is None:
            return Wanted()
        path = voice_path(name)
        voice = load_voice(path)
        return Wanted(voice.name, voice, content=hashlib.sha256(path.read_bytes()).hexdigest())
    if name is not None:
        raise typer.BadParameter("cannot go with --voice", param_hint="--ref-audio")
    audio = read_audio(ref_audio)
    # A useless recording is refused before the model is loaded.
    reference_clip(audio, whole=ref_text is not None)
    words = None if ref_text is None else _checked_transcript(ref_text)
    heard = hashlib.sha256(ref_audio.read_bytes() + b"\0" + (words or "").encode())
    stem = "".join(c for c in ref_audio.stem if c.isprintable())[:64]
    return Wanted(stem or "reference", None, audio, words, heard.hexdigest())


def _checked_transcript(text: str) -> str:
    """Return what a recording is said to say, on one line.  Raises `TextError`."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not words:
        raise TextError(
            "The transcript is empty: give the words of the recording, or leave it out."
        )
    if len(words) > _LONGEST_TRANSCRIPT:
        raise TextError("The transcript is too long for a short recording: give only its words.")
    return words


def known_names() -> list[str]:
    """Return the names of all voices that can be used, for shell completion."""
    from voxkit.library import list_voices

    return [info.name for info in list_voices() if info.problem is None]


# ---- commands ---------------------------------------------------------------------------------


def clone(
    recording: Annotated[
        Path, typer.Argument(metavar="REF.wav", help="A recording of one person speaking.")
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the new voice.")],
    text: Annotated[
        str | None, typer.Option("--text", metavar="TRANSCRIPT", help="What the recording says.")
    ] = None,
    force: flags.ForceFlag = False,
    model: flags.ModelFlag = flags.DEFAULT_MODEL,
    device: flags.DeviceFlag = flags.Device.auto,
    threads: flags.ThreadsFlag = None,
    offline: flags.OfflineFlag = False,
    json: flags.JsonFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Make a voice from a recording; from then on it is `--voice NAME`.

    A few seconds of clear speech of one person are enough.  Clone only voices that you may.
    """
    from voxkit.files import output_error
    from voxkit.library import library_path, list_voices
    from voxkit.voice import save_voice

    out = Output(quiet, json)
    path = library_path(name)
    taken = next((info for info in list_voices() if info.name == path.stem), None)
    if taken is not None and not force:
        whose = "a built-in voice" if taken.builtin else "a voice of yours"
        raise VoiceError(f"{name!r} is {whose} already: choose another --name, or use --force.")
    wanted = dataclasses.replace(wanted_voice(None, recording, text), name=path.stem)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from None
    flags.check_place(path, force=force)
    engine = load_model(out, model, device=str(device), threads=threads, offline=offline)
    voice = wanted.on(engine).voice
    assert voice is not None  # Wanted.on always finds or makes one
    save_voice(voice, path, force=force)
    if json:
        out.json({"name": path.stem, "path": str(path), "model": engine.spec.name})
    out.note(f'Voice {path.stem!r} is ready: voxkit speak "Hello." -v {path.stem}')


@app.callback()
def _group() -> None:
    """List, show and remove voices."""


@app.command("list")
def list_all(json: flags.JsonFlag = False) -> None:
    """List your voices and the built-in ones."""
    from voxkit.library import list_voices

    found = list_voices()
    if json:
        Output().json([_facts(info) for info in found])
        return
    rows = [
        (
            info.name,
            "built-in" if info.builtin else "yours",
            info.language or "",
            info.problem or info.description or "",
        )
        for info in found
    ]
    Output().table(("NAME", "KIND", "LANGUAGE", "DESCRIPTION"), rows)


@app.command()
def show(name: flags.VoiceArgument, json: flags.JsonFlag = False) -> None:
    """Show what is known about one voice."""
    from voxkit.library import voice_path
    from voxkit.voice import voice_info

    out = Output()
    facts = _facts(voice_info(voice_path(name)))
    if json:
        out.json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v:g}" for k, v in value.items())
        if value not in (None, ""):
            out.line(f"{key}\t{' '.join(str(value).split())}")


@app.command()
def rm(
    name: flags.VoiceArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove one of your voices; built-in ones stay.  Asks first on a terminal."""
    from voxkit.library import library_path, remove_voice

    out = Output()
    path = library_path(name)
    ask = not yes and sys.stdin.isatty() and path.exists()
    if ask and not out.agreed(f"Remove the voice {name!r} ({path})?"):
        raise typer.Exit(1)
    out.note(f"Removed {remove_voice(name)}")


def _facts(info: VoiceInfo) -> dict[str, Any]:
    """Return everything that is known about a voice, ready for JSON."""
    facts = {f.name: getattr(info, f.name) for f in dataclasses.fields(info)}
    return facts | {"path": str(info.path), "attributes": dict(info.attributes)}
