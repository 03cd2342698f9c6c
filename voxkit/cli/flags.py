"""Every flag of the command line, declared once, so that a name means the same everywhere."""

from __future__ import annotations

import contextlib
import enum
from pathlib import Path
from typing import Annotated

import typer

from voxkit.files import whole_file
from voxkit.precision import Dtype, Quantize

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


class Record(enum.StrEnum):
    """What a sound file tells of how it was made."""

    text = "text"
    facts = "facts"
    none = "none"


def _complete_voice(incomplete: str) -> list[str]:
    """Offer the voices of the library and of the bundled model to the shell."""
    from voxkit.cli.voices import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


def _complete_model(incomplete: str) -> list[str]:
    """Offer the models on this machine to the shell."""
    from voxkit import checkpoint

    return [m.name for m in checkpoint.available() if m.name.startswith(incomplete)]


def complete_style(incomplete: str) -> list[str]:
    """Offer the names of all styles to the shell."""
    from voxkit.presets import style_presets

    return [p.name for p in style_presets(lambda _: None) if p.name.startswith(incomplete)]


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
ReplayFlag = Annotated[
    Path | None,
    typer.Option(
        "--replay",
        metavar="FILE",
        help="Make the speech in this file of voxkit's again: see `voxkit verify`.",
        rich_help_panel=_VOICE,
    ),
]
ProvenanceFlag = Annotated[
    Record,
    typer.Option(
        "--provenance",
        help="What the file tells of how it was made: also the text, or only facts, or nothing "
        "but that it is synthetic.",
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
InstructFlag = Annotated[
    str | None,
    typer.Option(
        "--instruct",
        metavar="WORDS",
        help='How to say it, as in "slowly, a bit sad": see `voxkit describe`.',
        rich_help_panel=_VOICE,
    ),
]
StyleFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--style",
        metavar="NAME",
        help="A way of speaking: see `voxkit styles list`.  May be given again; later ones win.",
        autocompletion=complete_style,
        rich_help_panel=_VOICE,
    ),
]
SsmlFlag = Annotated[
    bool,
    typer.Option("--ssml", help="The text is an SSML document.", rich_help_panel=_VOICE),
]
LexiconFlag = Annotated[
    Path | None,
    typer.Option(
        "--lexicon",
        metavar="FILE",
        help="How words are said: a word, a tab, a respelling or /phones/ on each line.",
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
        "--threads",
        min=1,
        max=1024,
        help="CPU threads; all cores if not given.",
        rich_help_panel=_MODEL,
    ),
]

DtypeFlag = Annotated[
    Dtype,
    typer.Option(
        "--dtype",
        help="How weights are kept: auto is bf16 where the machine is fast at it, else fp32.",
        rich_help_panel=_MODEL,
    ),
]
QuantizeFlag = Annotated[
    Quantize | None,
    typer.Option(
        "--quantize",
        help="Smaller weights for the token generator, and int8 products in the decoder, on a CPU: "
        "faster or smaller, less exact.",
        rich_help_panel=_MODEL,
    ),
]
CompileFlag = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Let torch compile the decoder, which may pay for long work on a GPU.",
        rich_help_panel=_MODEL,
    ),
]
WarmFlag = Annotated[
    bool,
    typer.Option(
        "--warm",
        help="Keep the model loaded for ten minutes, so that the next call with --warm is quick.",
        rich_help_panel=_MODEL,
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


class _OnlyTrying(Exception):
    """Leaves `whole_file` before it makes the file."""


def check_place(path: Path, *, force: bool) -> None:
    """Raise `OutputError` now, before a model is loaded, if `path` could not be written later."""
    with contextlib.suppress(_OnlyTrying), whole_file(path, force=force):
        raise _OnlyTrying
