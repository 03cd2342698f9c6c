"""The `clone` command, and `voices check`: from recordings of somebody to a voice."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxkit.cli import flags
from voxkit.cli.hub import load_model
from voxkit.cli.output import Output
from voxkit.cli.voices import checked_transcript
from voxkit.errors import ModelError, VoiceError

if TYPE_CHECKING:
    from voxkit.audio import Audio
    from voxkit.cloning import Recording
    from voxkit.engine import Engine
    from voxkit.examination import Report

LONGEST_S = 600.0  # of a recording that is looked at
_MOST_CONSENT_BYTES = 10_000_000
_LONGEST_NOTE = 4_000  # characters of a consent file that are kept word for word

_Recordings = Annotated[
    list[Path], typer.Argument(metavar="REF…", help="Recordings of one person speaking.")
]


def clone(
    recordings: _Recordings,
    name: Annotated[str, typer.Option("--name", help="Name of the new voice.")],
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="TRANSCRIPT",
            help="What the recording says; with several, once for each.",
        ),
    ] = None,
    consent: Annotated[
        Path | None,
        typer.Option("--consent", metavar="FILE", help="The speaker's written consent."),
    ] = None,
    i_have_rights: Annotated[
        bool, typer.Option("--i-have-rights", help="Say that you may clone this voice.")
    ] = False,
    description: Annotated[
        str | None, typer.Option("--description", help="What `voices list` says of it.")
    ] = None,
    force: flags.ForceFlag = False,
    model: flags.ModelFlag = flags.DEFAULT_MODEL,
    device: flags.DeviceFlag = flags.Device.auto,
    threads: flags.ThreadsFlag = None,
    offline: flags.OfflineFlag = False,
    compat: flags.CompatFlag = False,
    json: flags.JsonFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Make a voice from recordings; from then on it is `--voice NAME`.

    Any format and length will do: the best 3 to 10 seconds are used.  With --text a recording is
    used whole, so that words and sound fit.  Clone only voices that you may.
    """
    from voxkit import cloning
    from voxkit.library import free_path, make_library
    from voxkit.voice import save_voice

    out = Output(quiet, json)
    path = free_path(name, force=force)
    _check_description(description or "")
    words = [checked_transcript(t) for t in text or ()]
    if words and len(words) != len(recordings):
        raise typer.BadParameter(
            f"must be given once for each of the {len(recordings)} recordings", param_hint="--text"
        )
    found = [
        cloning.prepared(label, audio, words[i] if words else None)
        for i, (label, audio) in enumerate(read_recordings(recordings, out))
    ]
    make_library()
    flags.check_place(path, force=force)
    allowed = _consent(consent, i_have_rights, path.stem, out)
    engine = load_model(
        out, model, device=str(device), threads=threads, offline=offline, compat=compat
    )
    reports = [recording.report(_listener(engine)) for recording in found]
    for recording, report in zip(found, reports, strict=True):
        for line in told(recording.label, report):
            out.note(line)
        if doubt := recording.doubt():
            out.warn(doubt)
    if not words:
        found = _transcribed(found, out)
    voice = cloning.cloned(engine, found, reports, name=path.stem)
    voice = dataclasses.replace(
        voice,
        description=description,
        consent=allowed,
        source="Cloned from " + ", ".join(_printable(p.name) for p in recordings[:8]),
        creation={
            "how": "clone",
            "date": _today(),
            "recordings": len(found),
            "model": engine.spec.name,
            "seconds": round(voice.reference.seconds if voice.reference else 0.0, 2),
        },
    )
    save_voice(voice, path, force=force)
    if json:
        out.json(
            {
                "name": path.stem,
                "path": str(path),
                "model": engine.spec.name,
                "consent": voice.consent,
                "transcript": voice.transcript,
                "recordings": [
                    {"file": str(p)} | dataclasses.asdict(r)
                    for p, r in zip(recordings, reports, strict=True)
                ],
            }
        )
    out.note(f'Voice {path.stem!r} is ready: voxkit speak "Hello." -v {path.stem}')


def check(
    recording: Annotated[
        Path, typer.Argument(metavar="REF", help="A recording of one person speaking.")
    ],
    json: flags.JsonFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Tell whether a recording is good to clone from, and what to mend."""
    from voxkit import checkpoint, cloning

    out = Output(quiet, json)
    ((label, audio),) = read_recordings([recording], out)
    found = cloning.prepared(label, audio, None)
    with out.bar("Listening", None):
        report = found.report(_listener(checkpoint.load(flags.DEFAULT_MODEL, device="cpu")))
    if json:
        out.json({"file": str(recording)} | dataclasses.asdict(report))
        return
    for line in told(label, report):
        out.line(line)
    if not report.advice:
        out.line("Good to clone from.")


def told(label: str, report: Report) -> Iterator[str]:
    """Say in short what was found, and what to mend."""
    start, end = report.used_s
    speakers = {None: "", True: ", one speaker", False: ", more than one speaker"}
    alone = None if report.second_speaker is None else not any("person" in a for a in report.advice)
    clipping = f"{report.clipped:.1%} clipped" if report.clipped > 0.0005 else "no clipping"
    yield (
        f"{label}: {report.speech_s:.1f} s of speech in {report.seconds:.1f} s, best from "
        f"{start:.1f} to {end:.1f} s; level {report.level_dbfs:.0f} dBFS, SNR "
        f"{report.snr_db:.0f} dB, {clipping}, up to {report.bandwidth_hz / 1000:.1f} kHz"
        f"{speakers[alone]}."
    )
    for advice in report.advice:
        yield f"  {advice}"


def read_recordings(paths: list[Path], out: Output) -> Iterator[tuple[str, Audio]]:
    """Read recordings, of each no more than is looked at.  Raises `AudioError`."""
    import numpy as np

    from voxkit.audio import Audio, stream_audio

    for path in paths:
        blocks, seconds = [], 0.0
        for block in stream_audio(path):
            blocks.append(block)
            seconds += block.seconds
            if seconds >= LONGEST_S:
                break
        label = _printable(path.name)
        warn_of_end(path, out)
        if seconds >= LONGEST_S:
            out.note(f"{label} is long: the first {seconds / 60:.0f} minutes are looked at.")
        yield label, Audio(np.concatenate([b.samples for b in blocks]), blocks[0].sample_rate)


def warn_of_end(path: Path, out: Output) -> None:
    """Say that a recording was copied only in part, where its header tells."""
    from voxkit.audio import breaks_off

    if breaks_off(path):
        out.warn(f"{_printable(path.name)} breaks off before its end: what is there is used.")


def _listener(engine: Engine) -> Any:
    """Return the ear that second speakers are known by, which is the bundled model's."""
    return engine.parts.tokenizer if engine.spec.name == flags.DEFAULT_MODEL else None


def _transcribed(found: list[Recording], out: Output) -> list[Recording]:
    """Fill in what the chosen clips say, if a recogniser is installed; else say what it is for."""
    from voxkit.transcription import installed

    recogniser = installed()
    if recogniser is None:
        out.note(
            "No transcript: the voice works without one; with --text a hub model also takes over "
            'the way of speaking (pip install "voxkit[asr]" writes it down for you).'
        )
        return found
    try:
        with out.bar("Writing down what is said", None):
            heard = [recogniser.transcribe(r.clip) for r in found]
    except ModelError as error:
        out.warn(str(error))
        return found
    filled = [
        dataclasses.replace(r, transcript=checked_transcript(words)) if words.strip() else r
        for r, words in zip(found, heard, strict=True)
    ]
    for recording in filled:
        if recording.transcript:
            out.note(f"{recording.label} says: {recording.transcript}")
    return filled


def _consent(file: Path | None, stated: bool, name: str, out: Output) -> str:
    """Return the record of who allowed this voice; on a terminal, ask.  Raises `VoiceError`."""
    if file is not None:
        return _consent_of(file)
    if stated:
        return f"{_today()}: the user stated to have the rights (--i-have-rights)"
    if sys.stdin is None or not sys.stdin.isatty():
        return "not stated"
    if not out.agreed(f"May you clone this voice as {name!r}: is it yours, or did they agree?"):
        raise VoiceError(
            "Nothing was made: clone only voices that you may, and say so with --i-have-rights or "
            "--consent FILE."
        )
    return f"{_today()}: the user answered yes when asked for the right to clone"


def _consent_of(file: Path) -> str:
    """Return a consent file's name and hash, and its words if it is a short text."""
    try:
        data = _start_of(file) if file.is_file() else None
    except OSError as error:
        raise VoiceError(f"{file} cannot be read: {error.strerror or error}.") from None
    if data is None:
        raise VoiceError(f"The consent {file} is not a file: check the path.")
    if len(data) > _MOST_CONSENT_BYTES:
        raise VoiceError(f"The consent {file} is larger than 10 MB: give a text or a scan.")
    if not data.strip(b"\0 \t\r\n\v\f"):
        raise VoiceError(f"The consent {file} is empty: it must say what the speaker agreed to.")
    record = f"{_today()}: {_printable(file.name)}, sha256 {hashlib.sha256(data).hexdigest()}"
    try:
        words = data.decode("utf-8-sig").strip()[:_LONGEST_NOTE]
    except UnicodeDecodeError:
        return record
    clean = "".join(c if c.isprintable() or c == "\n" else " " for c in words)
    if not clean.strip():
        raise VoiceError(f"The consent {file} holds no words that can be read: give another file.")
    return f"{record}\n{clean}"


def _check_description(text: str) -> None:
    """Refuse as wrong usage what could not be kept with a voice."""
    from voxkit.voice import check_text

    try:
        check_text("description", text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--description") from None


def _start_of(file: Path) -> bytes:
    """Read a file, or of one that is too large no more than shows that."""
    with file.open("rb") as source:
        return source.read(_MOST_CONSENT_BYTES + 1)


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:80]


def _today() -> str:
    return datetime.date.today().isoformat()
