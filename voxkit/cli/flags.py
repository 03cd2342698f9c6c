"""Every flag of the command line, declared once, so that a name means the same everywhere."""

from __future__ import annotations

import contextlib
import enum
from pathlib import Path
from typing import Annotated

import typer

from voxkit.errors import VoxkitError
from voxkit.files import whole_file
from voxkit.options import Options

DEFAULT_MODEL = "voxkit-en"


class Device(enum.StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Format(enum.StrEnum):
    """Sound file formats that voxkit writes."""

    wav = "wav"
    flac = "flac"
    mp3 = "mp3"
    ogg = "ogg"
    opus = "opus"


def _complete_voice(incomplete: str) -> list[str]:
    """Offer the voices of the library and of the bundled model to the shell."""
    from voxkit.cli.voices import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


def _complete_model(incomplete: str) -> list[str]:
    """Offer the models on this machine to the shell."""
    from voxkit import checkpoint

    return [m.name for m in checkpoint.available() if m.name.startswith(incomplete)]


_SOUND, _VOICE, _MODEL, _TALK = "Output", "Voice and style", "Model", "Reporting"

TextArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TEXT|-", help="What to say, in quotes; - or a pipe reads standard input."
    ),
]
InputFlag = Annotated[
    Path | None,
    typer.Option("--input-file", "-i", metavar="FILE", help="Read the text from a file."),
]
OutputFlag = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|-",
        help="Where to write: the extension picks the format; - streams WAV to stdout.",
        rich_help_panel=_SOUND,
    ),
]
RawFlag = Annotated[
    bool,
    typer.Option(
        "--raw", help="With -o -: samples without a header (s16le).", rich_help_panel=_SOUND
    ),
]
PlayFlag = Annotated[
    bool,
    typer.Option("--play", help="Play the speech while it is made.", rich_help_panel=_SOUND),
]
FormatFlag = Annotated[
    Format | None,
    typer.Option(
        "--format", help="File format instead of the extension's.", rich_help_panel=_SOUND
    ),
]
SampleRateFlag = Annotated[
    int | None,
    typer.Option(
        "--sample-rate",
        metavar="HZ",
        min=8000,
        max=192_000,
        help="Sample rate of the result; the model's own if not given.",
        rich_help_panel=_SOUND,
    ),
]
ForceFlag = Annotated[
    bool,
    typer.Option("--force", "-f", help="Replace what is already there.", rich_help_panel=_SOUND),
]

VoiceFlag = Annotated[
    str | None,
    typer.Option(
        "--voice",
        "-v",
        metavar="NAME|FILE",
        help="Voice to speak with: see `voxkit voices list`.",
        autocompletion=_complete_voice,
        rich_help_panel=_VOICE,
    ),
]
VoiceArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of a voice.", autocompletion=_complete_voice),
]
RefAudioFlag = Annotated[
    Path | None,
    typer.Option(
        "--ref-audio",
        metavar="FILE",
        help="Speak as the person in this recording.",
        rich_help_panel=_VOICE,
    ),
]
RefTextFlag = Annotated[
    str | None,
    typer.Option(
        "--ref-text",
        metavar="TEXT",
        help="What is said in the --ref-audio recording.",
        rich_help_panel=_VOICE,
    ),
]
SpeedFlag = Annotated[
    float | None,
    typer.Option("--speed", help="2 is twice as fast; 0.25 to 4.", rich_help_panel=_VOICE),
]
PauseFlag = Annotated[
    float | None,
    typer.Option(
        "--pause", metavar="MS", help="Silence between sentences.", rich_help_panel=_VOICE
    ),
]
SeedFlag = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="Same seed, text and voice: same speech.  Random if not given, and shown.",
        rich_help_panel=_VOICE,
    ),
]
BatchSeedFlag = Annotated[
    int,
    typer.Option(
        "--seed", help="From it and its words each line gets a seed.", rich_help_panel=_VOICE
    ),
]
TemperatureFlag = Annotated[
    float | None,
    typer.Option(
        "--temperature", help="Liveliness of the speech tokens; 0 to 2.", rich_help_panel=_VOICE
    ),
]
TopPFlag = Annotated[
    float | None,
    typer.Option(
        "--top-p", help="Draw from the likeliest tokens of this mass.", rich_help_panel=_VOICE
    ),
]
TopKFlag = Annotated[
    int | None,
    typer.Option("--top-k", help="Draw from this many likeliest tokens.", rich_help_panel=_VOICE),
]
StepsFlag = Annotated[
    int | None,
    typer.Option(
        "--steps", help="Steps of the decoder: more is slower, finer.", rich_help_panel=_VOICE
    ),
]
GuidanceFlag = Annotated[
    float | None,
    typer.Option(
        "--guidance", help="How strictly the decoder follows the voice.", rich_help_panel=_VOICE
    ),
]

ModelFlag = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|FOLDER|OWNER/NAME",
        help="Model to use: see `voxkit models list`; a hub model is fetched when first used.",
        autocompletion=_complete_model,
        rich_help_panel=_MODEL,
    ),
]
DeviceFlag = Annotated[
    Device, typer.Option("--device", help="Where the model runs.", rich_help_panel=_MODEL)
]
OfflineFlag = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Use what is on this machine; never the network.",
        rich_help_panel=_MODEL,
    ),
]
CompatFlag = Annotated[
    bool,
    typer.Option(
        "--compat",
        help="Follow the quirks of a hub model's public implementation, for comparison.",
        rich_help_panel=_MODEL,
    ),
]
ThreadsFlag = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, help="CPU threads; all cores if not given.", rich_help_panel=_MODEL
    ),
]

JsonFlag = Annotated[
    bool,
    typer.Option("--json", help="Report as one JSON object on stdout.", rich_help_panel=_TALK),
]
QuietFlag = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Only warnings and errors on stderr.", rich_help_panel=_TALK
    ),
]


def wishes(
    seed: int,
    *,
    speed: float | None,
    pause: float | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    steps: int | None,
    guidance: float | None,
) -> Options:
    """Return the options that the flags ask for; a value out of range is wrong usage."""
    given = {"speed": speed, "sentence_pause_ms": pause}
    set_by_user = {name: value for name, value in given.items() if value is not None}
    try:
        return Options(
            seed=seed,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            steps=steps,
            guidance=guidance,
            **set_by_user,
        )
    except VoxkitError as error:
        raise typer.BadParameter(str(error)) from None


class _OnlyTrying(Exception):
    """Leaves `whole_file` before it makes the file."""


def check_place(path: Path, *, force: bool) -> None:
    """Raise `OutputError` now, before a model is loaded, if `path` could not be written later."""
    with contextlib.suppress(_OnlyTrying), whole_file(path, force=force):
        raise _OnlyTrying
