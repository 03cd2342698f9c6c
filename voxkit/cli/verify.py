"""The `verify` command: what a sound file tells of how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxkit.cli import flags
from voxkit.cli.output import Output
from voxkit.errors import VoiceError
from voxkit.style import tell_all

_WIDTH = 10  # of a title


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sound file of voxkit's.")],
    json: flags.JsonFlag = False,
) -> None:
    """Tell how a sound file was made: by which model and voice, and with which wishes.

    The record is what the file says of itself; `voxkit speak --replay FILE` proves it.
    """
    from voxkit.provenance import SYNTHETIC, read_told
    from voxkit.typography import printable

    out, record = Output(as_json=json), read_told(file)
    if isinstance(record, str):  # a sentence in place of a record
        if json:
            out.json({"about": SYNTHETIC, "comment": record})
        else:
            out.line(f"{file}: {record}")
        return
    report = record.report()
    if json:
        out.json(report)
        return
    out.line(f"{file}: {SYNTHETIC}, made by voxkit {record.voxkit}")
    voices = (f"{name} ({digest})" for name, digest in record.voices.items())
    options = (f"{k} {v:g}" for k, v in report["options"].items() if v is not None and k != "seed")
    loading = "".join(f", {k} {v}" for k, v in record.loading.items() if v not in (False, None))
    known = record.text is not None
    lines = {
        "model": f"{record.model}, revision {record.revision}{loading}",
        "voice": ", ".join(voices),
        "seed": str(record.options.seed),
        "options": ", ".join(options),
        "style": tell_all(record.style) if record.style.settings() else "",
        "lexicon": ", ".join(f"{word}: {said.value}" for word, said in record.lexicon.items()),
        "text": " ".join(printable(record.text or "not told, only its SHA-256").split()),
        "again": f"voxkit speak --replay {file} -o again{file.suffix}"
        + ("" if known else " -i TEXT.txt")
        + ("" if _is_known(record.voice) else " --ref-audio RECORDING [--ref-text WORDS]"),
    }
    for title, words in lines.items():
        if words:
            out.line(f"  {title:<{_WIDTH}}{words}")


def _is_known(voice: str) -> bool:
    """Tell whether a replay finds a voice by its name."""
    from voxkit.library import voice_files
    from voxkit.markup import is_library_name

    try:
        return is_library_name(voice) and bool(voice_files(voice))
    except VoiceError:
        return False
