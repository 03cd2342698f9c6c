"""Bundles trained parts and built-in voices into exactly the folder that `voxkit.load` reads."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from voxkit import checkpoint
from voxkit.audio import read_audio
from voxkit.checkpoint import SCALE, digest
from voxkit.errors import OutputError, TrainingError
from voxkit.spec import MelSpec, ModelSpec, to_dict
from voxkit.train.encode import Encoded
from voxkit.train.loop import averaged_weights
from voxkit.train.warm_start import KEPT
from voxkit.voice import Voice, save_voice

if TYPE_CHECKING:
    from voxkit.engine import Engine
    from voxkit.modules.speaker import SpeakerEncoder
    from voxkit.train.tokenizer import TokenizerNet

_COMPARED = 60  # recordings whose colour a built-in voice is brought near to
_TABLES = ("generator.heard_own", "generator.said_own")  # large and forgiving: stored as int8


ClipFinder = Callable[[str, str], Path]  # set and id of an utterance → its recording


@dataclass(frozen=True)
class VoiceRecipe:
    """A built-in voice: a speaker of the corpus, and the clip that stands for them."""

    name: str
    set: str
    speaker: str
    clip: str  # id of the utterance that is the reference
    description: str
    source: str
    licence: str


@dataclass(frozen=True)
class ExportRecipe:
    """What goes into the bundled model."""

    default_voice: str
    voices: tuple[VoiceRecipe, ...]
    reader_set: str = ""  # whose manner of reading a generator has that `reads_as` a reader
    reader_speaker: str = ""


def check(recipe: ExportRecipe, out: Path, *, force: bool) -> None:
    """Raise what can be known to be wrong before any work is done."""
    names = [voice.name for voice in recipe.voices]
    if recipe.default_voice not in names:
        raise TrainingError(
            f"default_voice {recipe.default_voice!r} is none of the recipe's voices: "
            f"{', '.join(names) or 'there are none'}."
        )
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is no folder: give another --out.")
    if not force and out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out} already exists: use --force to replace the model in it.")


def gather(spec: ModelSpec, runs: Path, letters: Path) -> dict[str, Tensor]:
    """Collect the averaged weights of every part by the names that `load` expects.

    They are float16, but for the generator's two tables: int8 with one scale a row.
    """
    weights: dict[str, Tensor] = {}
    for part in checkpoint.native_modules(spec):
        state = load_file(letters) if part == "letters" else averaged_weights(runs / part)
        keep = KEPT.get(part, "")
        for name, tensor in state.items():
            if name.startswith(keep):
                weights[f"{part}.{name.removeprefix(keep)}"] = tensor.detach().half().contiguous()
    for name in _TABLES:
        table = weights[name].float()
        scale = (table.abs().amax(1, keepdim=True) / 127).clamp(min=1e-8)
        weights[name] = (table / scale).round().to(torch.int8)
        weights[name + SCALE] = scale
    return weights


def export(
    spec: ModelSpec,
    recipe: ExportRecipe,
    weights: dict[str, Tensor],
    encoded: Sequence[Encoded],
    clips: ClipFinder,
    out: Path,
) -> None:
    """Write the model folder and its voices; what is there is replaced file by file."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as name:
        partial = Path(name)
        if spec.generator.reads_as == "reader":
            weights = weights | _reader(recipe, encoded)
        spec = dataclasses.replace(spec, revision=digest(weights))
        config = json.dumps(to_dict(spec), indent=2) + "\n"
        (partial / "config.json").write_text(config, encoding="utf-8")
        save_file(weights, partial / "model.safetensors", metadata={"revision": spec.revision})
        (partial / "model.safetensors").chmod(0o644)
        (partial / "default_voice.txt").write_text(recipe.default_voice + "\n", encoding="utf-8")
        (partial / "voices").mkdir()
        engine = checkpoint.load(partial, device="cpu")
        for entry in recipe.voices:
            voice = _voice(engine, entry, encoded, clips)
            save_voice(voice, partial / "voices" / f"{entry.name}.safetensors")
        (out / "voices").mkdir(exist_ok=True)
        for old in (out / "voices").glob("*.safetensors"):
            old.unlink()
        for path in sorted(partial.rglob("*")):
            if path.is_file():
                path.replace(out / path.relative_to(partial))


def _voice(
    engine: Engine, entry: VoiceRecipe, encoded: Sequence[Encoded], clips: ClipFinder
) -> Voice:
    """Clone the clip, then let all of the speaker's recordings say how they sound and speak."""
    mine = [
        e
        for e in encoded
        if e.utterance.set == entry.set
        and e.utterance.speaker == entry.speaker
        and not e.utterance.held_out
    ]
    clip = next((e for e in mine if e.utterance.id == entry.clip), None)
    if clip is None:
        raise TrainingError(
            f"The voice {entry.name!r} asks for the clip {entry.clip!r} of "
            f"{entry.speaker}, which is not in the corpus."
        )
    recording = read_audio(clips(entry.set, entry.clip))
    words = clip.utterance.text or None
    voice = engine.heard(recording, name=entry.name, transcript=words)
    speaker = np.mean([e.speaker for e in mine], axis=0)
    voice = dataclasses.replace(
        voice,
        speaker=(speaker / np.linalg.norm(speaker)).astype(np.float32),
        attributes=dict(voice.attributes) | _median_attributes(engine.spec.mel, mine),
        description=entry.description,
        source=entry.source,
        licence=entry.licence,
    )
    mels = [e.utterance.mel.astype(np.float32) for e in mine[:_COMPARED]]
    return engine.likened(voice, np.concatenate(mels).T)


def _reader(recipe: ExportRecipe, encoded: Sequence[Encoded]) -> dict[str, Tensor]:
    """Return the mean speaker vector and the median controls of the reader."""
    mine = [
        e
        for e in encoded
        if e.utterance.set == recipe.reader_set and e.utterance.speaker == recipe.reader_speaker
    ]
    if not mine:
        raise TrainingError(f"The reader {recipe.reader_speaker!r} is not in the corpus.")
    speaker = np.mean([e.speaker for e in mine], axis=0)
    rows = {
        "reader.speaker": speaker / np.linalg.norm(speaker),
        "reader.controls": np.median([e.controls for e in mine], axis=0),
        "reader.given": np.max([e.given for e in mine], axis=0),
    }
    return {name: torch.from_numpy(row.astype(np.float32)) for name, row in rows.items()}


def _median_attributes(mel: MelSpec, mine: Sequence[Encoded]) -> dict[str, float]:
    from voxkit.prosody import attributes

    values = np.stack([e.controls for e in mine])
    given = np.stack([e.given for e in mine]) > 0
    median = [
        float(np.median(v[g])) if g.any() else 0.0 for v, g in zip(values.T, given.T, strict=True)
    ]
    return attributes(np.array(median), np.asarray(given.any(0)), mel)


def load_parts(spec: ModelSpec, runs: Path) -> tuple[TokenizerNet, SpeakerEncoder]:
    """Return the trained tokenizer (with its teacher) and speaker encoder, ready to encode."""
    from voxkit.modules.speaker import SpeakerEncoder
    from voxkit.train.tokenizer import TokenizerNet

    tokenizer = TokenizerNet(spec.tokenizer, spec.mel.bins)
    tokenizer.load_state_dict(averaged_weights(runs / "tokenizer"))
    speaker = SpeakerEncoder(spec.speaker, spec.mel.bins)
    state = averaged_weights(runs / "speaker")
    speaker.load_state_dict(
        {n.removeprefix("encoder."): w for n, w in state.items() if n.startswith("encoder.")}
    )
    return tokenizer.eval(), speaker.eval()
