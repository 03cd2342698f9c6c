"""The `convert` command: a recording said again with another voice."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxkit import __version__
from voxkit.cli import flags
from voxkit.cli.clone import warn_of_end
from voxkit.cli.hub import load_model
from voxkit.cli.output import Output
from voxkit.cli.request import Request
from voxkit.cli.sound_out import tell_rate, wanted_target
from voxkit.cli.speak import perform
from voxkit.cli.voices import wanted_voice

if TYPE_CHECKING:
    from voxkit.audio import Audio


def convert(
    recording: Annotated[
        Path, typer.Argument(metavar="IN", help="What is said, in any format and length.")
    ],
    output: flags.OutputFlag = None,
    format: flags.FormatFlag = None,
    sample_rate: flags.SampleRateFlag = None,
    raw: flags.RawFlag = False,
    play: flags.PlayFlag = False,
    force: flags.ForceFlag = False,
    voice: flags.VoiceFlag = None,
    ref_audio: flags.RefAudioFlag = None,
    seed: flags.SeedFlag = None,
    steps: flags.StepsFlag = None,
    guidance: flags.GuidanceFlag = None,
    model: flags.ModelFlag = flags.DEFAULT_MODEL,
    device: flags.DeviceFlag = flags.Device.auto,
    threads: flags.ThreadsFlag = None,
    offline: flags.OfflineFlag = False,
    compat: flags.CompatFlag = False,
    json: flags.JsonFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Say a recording again with another voice: words, pauses and timing stay.

    It streams, in memory that does not grow with the recording, and lasts exactly as long.
    """
    from voxkit.provenance import digest
    from voxkit.typography import printable

    out = Output(quiet, json)
    if json and output == "-":
        raise typer.BadParameter("cannot go with -o -, which is stdout too", param_hint="--json")
    options = Request(steps=steps, guidance=guidance).options(
        secrets.randbits(32) if seed is None else seed
    )
    target = wanted_target(
        output, play=play, raw=raw, format=format, sample_rate=sample_rate, force=force
    )
    wanted = wanted_voice(voice, ref_audio, None)
    blocks, total = _opened(recording)
    warn_of_end(recording, out)
    engine = load_model(
        out, model, device=str(device), threads=threads, offline=offline, compat=compat
    )
    tell_rate(out, sample_rate, target.rate(engine.sample_rate))
    with out.bar("Hearing the voice", None):
        speaker = wanted.heard_by(engine) if wanted.reference else wanted.on(engine).voice
    assert speaker is not None  # Wanted.on always finds or makes one
    comment = (
        f"Synthetic speech: {printable(' '.join(recording.name.split()))} converted by voxkit "
        f"{__version__} with {engine.spec.name}, revision {engine.spec.revision}, voice "
        f"{speaker.name} ({digest(speaker)}), seed {options.seed}"
    )
    with out.bar("Converting", total) as bar, target.opened(engine.sample_rate, comment) as sinks:
        take = perform(engine.convert(blocks, speaker, options), sinks, bar.at)
    where = f"{target.path}: " if target.path else ""
    out.note(
        f"{where}{take.seconds:.1f} s, voice {speaker.name}, seed {options.seed}, "
        f"RTF {take.rtf:.2f}"
    )
    if json:
        out.json(
            {
                "path": str(target.path) if target.path else None,
                "seconds": round(take.seconds, 3),
                "sample_rate": target.rate(engine.sample_rate),
                "seed": options.seed,
                "voice": speaker.name,
                "model": engine.spec.name,
                "rtf": round(take.rtf, 4),
                "first_audio_s": round(take.first_audio_s, 3),
            }
        )


def _opened(path: Path) -> tuple[Iterator[Audio], float | None]:
    """Return the blocks of a recording, the first of them read, and its length if that is known."""
    import soundfile

    from voxkit.audio import native_name, stream_audio

    blocks = stream_audio(path)
    first = next(blocks)  # what cannot be read is refused before the model is loaded
    try:
        total = float(soundfile.info(native_name(path)).duration)
    except soundfile.LibsndfileError:  # read by way of ffmpeg
        total = 0.0
    return itertools.chain([first], blocks), total or None
