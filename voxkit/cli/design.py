"""The `design` command and `voices describe`: from words to a voice, and from a voice to words."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import voxkit
from voxkit.cli import flags
from voxkit.cli.clone import read_recordings
from voxkit.cli.output import Output
from voxkit.errors import ModelError

if TYPE_CHECKING:
    from voxkit.engine import Engine
    from voxkit.voice import Voice
    from voxkit.voice_space import VoiceSpace
    from voxkit.voice_wish import Wish

_MOST_CANDIDATES = 16


def design(
    words: Annotated[
        str, typer.Argument(metavar="WORDS", help='Who speaks: "an old man, deep and slow".')
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the new voice.")],
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, help="Same words and seed: same voice.  Random if not given."
        ),
    ] = None,
    candidates: Annotated[
        int,
        typer.Option(
            "--candidates",
            min=1,
            max=_MOST_CANDIDATES,
            help="Make several to choose from: NAME-1, NAME-2, …",
        ),
    ] = 1,
    force: flags.ForceFlag = False,
    device: flags.DeviceFlag = flags.Device.auto,
    threads: flags.ThreadsFlag = None,
    json: flags.JsonFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Make a voice that belongs to nobody, from words.

    Who speaks (an old woman, a boy), how high or deep, fast or slow, hoarse or clear, dark or
    bright, lively or monotone; with a little, very, not.  An emotion is a style, not a voice.
    """
    from voxkit.design import design as designed
    from voxkit.library import add_voice, free_path
    from voxkit.voice_wish import read_wish

    out = Output(quiet, json)
    names = [name] if candidates == 1 else [f"{name}-{i + 1}" for i in range(candidates)]
    for one in names:
        free_path(one, force=force)
    wish = read_wish(words)
    _tell(out, wish)
    first = secrets.randbits(31) if seed is None else seed
    with out.bar("Loading the model", None):
        engine, space = _loaded(device, threads)
    made: list[dict[str, Any]] = []
    with out.bar("Designing", len(names)) as bar:
        for number, one in enumerate(names):
            voice = designed(
                wish,
                space,
                engine,
                engine.parts.tokenizer,  # type: ignore[arg-type]  # the bundled model's has f0
                engine.spec.mel,
                seed=first + number,
                name=one,
            )
            path = add_voice(voice, force=force)
            made.append({"name": one, "path": str(path), "seed": first + number} | _facts(voice))
            bar.at(number + 1)
    for entry in made:
        out.note(
            f"Voice {entry['name']!r}, seed {entry['seed']}: {entry['gender']}, "
            f'{entry["pitch_hz"]:.0f} Hz, rate ×{entry["rate"]:.2f}: voxkit speak "Hello." '
            f"-v {entry['name']}"
        )
    if json:
        out.json({"words": wish.words, "ignored": [*wish.ignored, *wish.styles], "voices": made})


def describe(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A recording of one person.")],
    json: flags.JsonFlag = False,
) -> None:
    """Describe the voice in a recording, in words that `voxkit design` reads, and in numbers."""
    from voxkit.cloning import prepared
    from voxkit.library import BUILTIN_FOLDER, list_voices
    from voxkit.portrait import portray
    from voxkit.traits import measure_traits
    from voxkit.voice import load_voice

    out = Output(False, json)
    ((label, audio),) = read_recordings([clip], out)
    found = prepared(label, audio, None)
    with out.bar("Listening", None):
        engine, space = _loaded(flags.Device.cpu, None)
        heard = measure_traits(found.clip, engine.parts.tokenizer, engine.spec.mel)  # type: ignore[arg-type]
    known = [
        (v.name, load_voice(v.path).speaker)
        for v in list_voices()
        if v.path.parent == BUILTIN_FOLDER
    ]
    portrait = portray(heard, space, known)
    if json:
        out.json(
            {
                "file": str(clip),
                "words": portrait.words,
                "traits": {n: round(v, 2) for n, v in portrait.traits.items()},
                "deviations": {n: round(v, 2) for n, v in portrait.deviations.items()},
                "femininity": round(portrait.femininity, 3),
                "age_proxy": round(portrait.age_proxy, 2),
                "nearest": [{"voice": n, "similarity": round(s, 3)} for n, s in portrait.nearest],
            }
        )
        return
    out.line(portrait.words)
    rows = [(n, f"{v:.4g}", f"{portrait.deviations[n]:+.1f}") for n, v in portrait.traits.items()]
    rows.append(("femininity", f"{portrait.femininity:.2f}", ""))
    rows.append(("age_proxy", f"{portrait.age_proxy:+.1f}", ""))
    rows += [(f"like {name}", f"{alike:.2f}", "") for name, alike in portrait.nearest]
    out.table(("TRAIT", "VALUE", "DEVIATION"), rows)


def _loaded(device: flags.Device, threads: int | None) -> tuple[Engine, VoiceSpace]:
    """Load the bundled model and its space of voices.  Raises `ModelError`."""
    from voxkit import checkpoint
    from voxkit.voice_space import FILE, load_space

    path = Path(voxkit.__file__).parent / "assets" / flags.DEFAULT_MODEL / FILE
    space = load_space(path)
    engine = checkpoint.load(flags.DEFAULT_MODEL, device=str(device), threads=threads)
    if space.made_by != engine.fingerprint:
        raise ModelError(
            f"{path} was made for {space.made_by} and the model is {engine.fingerprint}: make it "
            "again with `voxkit train voices`."
        )
    return engine, space


def _tell(out: Output, wish: Wish) -> None:
    """Say what was understood, and what has no place in a voice."""
    if wish.ignored:
        out.warn(f"Not understood: {', '.join(map(repr, wish.ignored))}")
    for phrase, effect in wish.gave_way:
        out.warn(f"“{phrase}” {effect}.")
    if wish.styles:
        out.warn(
            f"A way of speaking, not a voice ({', '.join(wish.styles)}): ask for it when speaking, "
            "with --instruct."
        )


def _facts(voice: Voice) -> dict[str, Any]:
    """Return what is worth knowing of a designed voice."""
    return {
        "gender": voice.creation["gender"],
        "pitch_hz": round(voice.attributes["pitch_hz"], 1),
        "rate": round(voice.rate_factor, 3),
        "pitch_factor": round(voice.pitch_factor, 3),
        "formant_factor": round(voice.formant_factor, 3),
    }
