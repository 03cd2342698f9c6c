"""The `voices` group: the voice that flags ask for, and the library of voices."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxkit.cli import flags
from voxkit.cli.output import Output
from voxkit.errors import TextError, VoiceError

if TYPE_CHECKING:
    from voxkit.audio import Audio
    from voxkit.cloning import Recording
    from voxkit.engine import Engine
    from voxkit.voice import Voice, VoiceInfo

_LONGEST_TRANSCRIPT = 2_000  # characters; ten hasty seconds are 300

app = typer.Typer(help="List, check, mix, share and remove voices.", no_args_is_help=True)


# ---- the voice that flags ask for -------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """The voice that flags ask for, read and checked before any model is loaded."""

    name: str | None = None  # None is the model's own default voice
    voice: Voice | None = None
    mix: tuple[tuple[Voice, float], ...] = ()  # voices between which the wanted one is
    reference: Audio | None = None
    transcript: str | None = None
    content: str = ""  # hash of what makes the voice, empty for the default voice
    doubt: str | None = None  # what the user should know of the reference

    def heard_by(self, engine: Engine) -> Voice:
        """Return the voice of the recording, which is all that a conversion asks of it."""
        assert self.reference is not None
        name = self.name or "reference"
        return engine.heard(self.reference, name=name, transcript=self.transcript)

    def on(self, engine: Engine) -> Wanted:
        """Return the same with its `voice` made or found for this engine."""
        if self.mix:
            from voxkit.mixing import mixed

            parts = [(engine.adopt(voice), weight) for voice, weight in self.mix]
            return dataclasses.replace(self, voice=mixed(parts, name=self.name or "mix"), mix=())
        if self.voice is not None:
            return dataclasses.replace(self, voice=engine.adopt(self.voice))
        if self.reference is not None:
            return dataclasses.replace(self, voice=engine.likened(self.heard_by(engine)))
        if not engine.default_voice:
            raise VoiceError(
                f"{engine.spec.name} has no voice of its own: choose one with --voice, "
                "or give a recording with --ref-audio."
            )
        return wanted_voice(engine.default_voice, None, None).on(engine)


def wanted_voice(name: str | None, ref_audio: Path | None, ref_text: str | None) -> Wanted:
    """Look up `--voice` or read `--ref-audio`.  Raises `VoiceError` or `AudioError`."""
    from voxkit.library import voice_files
    from voxkit.voice import load_voice

    if ref_audio is None:
        if ref_text is not None:
            raise typer.BadParameter("needs --ref-audio", param_hint="--ref-text")
        if name is None:
            return Wanted()
        heard = hashlib.sha256()
        parts = []
        for path, weight in voice_files(name):
            parts.append((load_voice(path), weight))
            heard.update(path.read_bytes())
            heard.update(b"" if weight == 1.0 else str(weight).encode())
        if len(parts) == 1:
            voice = parts[0][0]
            return Wanted(voice.name, voice, content=heard.hexdigest())
        return Wanted("".join(name.split()), mix=tuple(parts), content=heard.hexdigest())
    if name is not None:
        raise typer.BadParameter("cannot go with --voice", param_hint="--ref-audio")
    from voxkit.audio import read_audio
    from voxkit.cloning import prepared

    words = None if ref_text is None else checked_transcript(ref_text)
    # A useless recording is refused before the model is loaded.
    found = prepared(ref_audio.name, read_audio(ref_audio), words)
    heard = hashlib.sha256(ref_audio.read_bytes() + b"\0" + (words or "").encode())
    stem = "".join(c for c in ref_audio.stem if c.isprintable())[:64]
    return Wanted(
        stem or "reference",
        reference=found.clip,
        transcript=found.transcript,
        content=heard.hexdigest(),
        doubt=_doubt(found, ref_audio),
    )


def _doubt(found: Recording, path: Path) -> str | None:
    """Say what the user should know of a reference, or None."""
    from voxkit.audio import breaks_off

    cut = f"{found.label} breaks off before its end: what is there is used."
    return found.doubt() or (cut if breaks_off(path) else None)


def checked_transcript(text: str) -> str:
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


@app.callback()
def _group() -> None:
    """List, check, mix, share and remove voices."""


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
    from voxkit.library import list_voices, voice_path
    from voxkit.voice import voice_info

    out = Output()
    path = voice_path(name)
    listed = next((v for v in list_voices() if v.path == path and not v.problem), None)
    facts = _facts(listed or voice_info(path))
    if json:
        out.json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(
                f"{k} {v:g}" if _is_number(v) else f"{k} {v}" for k, v in value.items()
            )
        if value not in (None, "", 1.0):
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


@app.command()
def rename(
    name: flags.VoiceArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    force: flags.ForceFlag = False,
) -> None:
    """Give one of your voices another name."""
    from voxkit.library import rename_voice

    Output().note(f"Renamed to {rename_voice(name, new, force=force)}")


@app.command()
def export(
    name: flags.VoiceArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")
    ] = None,
    force: flags.ForceFlag = False,
) -> None:
    """Write a voice, or a mix of voices, to a file that others can import."""
    from voxkit.library import find_voice
    from voxkit.voice import SUFFIX, save_voice

    voice = find_voice(name)
    path = output or Path(_file_name(voice.name) + SUFFIX)
    if path.suffix != SUFFIX:
        raise typer.BadParameter(f"must end in {SUFFIX}", param_hint="--output")
    save_voice(voice, path, force=force)
    Output().note(f"{path}: {voice.name}" + (f", {voice.licence}" if voice.licence else ""))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A voice file.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Its name here; its own if not given.")
    ] = None,
    force: flags.ForceFlag = False,
) -> None:
    """Take a voice file into your library, checked from end to end."""
    from voxkit.library import add_voice, free_path
    from voxkit.voice import load_voice

    voice = load_voice(file)
    path = free_path(_file_name(voice.name) if name is None else name, force=force)
    add_voice(dataclasses.replace(voice, name=path.stem), force=force)
    Output().note(f'Voice {path.stem!r} is ready: voxkit speak "Hello." -v {path.stem}')


@app.command()
def mix(
    voices: Annotated[
        str, typer.Argument(metavar="MIX", help='Voices with weights, such as "dave(2)+dawn(1)".')
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the new voice.")],
    force: flags.ForceFlag = False,
) -> None:
    """Keep a voice between others; `--voice "dave(2)+dawn(1)"` speaks with one at once."""
    from voxkit.library import add_voice, find_voice, free_path

    free_path(name, force=force)
    path = add_voice(dataclasses.replace(find_voice(voices), name=name), force=force)
    Output().note(f'Voice {path.stem!r} is ready: voxkit speak "Hello." -v {path.stem}')


def _file_name(name: str) -> str:
    """Return a voice's name as one that the library takes: `dave(2)+dawn` → `dave-2-dawn`."""
    words = re.findall(r"\w+", name)
    return "-".join(words)[:64].strip("-") or "voice"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _facts(info: VoiceInfo) -> dict[str, Any]:
    """Return everything that is known about a voice, ready for JSON."""
    facts = {f.name: getattr(info, f.name) for f in dataclasses.fields(info)}
    tables = {"attributes": dict(info.attributes), "creation": dict(info.creation)}
    return facts | {"path": str(info.path)} | tables
