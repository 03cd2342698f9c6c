"""Measures what each stage of a native model costs, on recordings that it did not learn from.

    python benchmarks/stages.py FOLDER --judge DIR --voice NAME

FOLDER is a set of the training corpus (`metadata.csv` beside `clips/`); those of its recordings are
taken that `voxkit train corpus` holds out.  Each is judged as it is, through the vocoder alone, and
through tokenizer, decoder and vocoder with a voice of the same speaker.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch
from quality import Judge, Line

import voxkit
from voxkit.prosody import NATURAL
from voxkit.reference import reference_clip
from voxkit.train.corpus import CorpusRecipe, Job, SetRecipe, recorded_jobs


def held_out(folder: Path, count: int) -> list[Job]:
    """List the first recordings of a set that training leaves out."""
    recipe = resources.files("voxkit") / "train" / "recipes" / "corpus.toml"
    share = tomllib.loads(recipe.read_text(encoding="utf-8"))["held_out_share"]
    recipe = CorpusRecipe(0, share, (SetRecipe(folder.name, folder.name),))
    return [j for j in recorded_jobs(recipe, folder.parent) if j.held_out and j.text][:count]


def stages(engine: Any, voice: Any) -> dict[str, Callable[[voxkit.Audio], np.ndarray]]:
    """Name ways to make a recording's samples again."""
    parts, rate = engine.parts, engine.sample_rate

    def vocode(mel: torch.Tensor) -> np.ndarray:
        state = parts.vocoder.init_state(torch.Generator().manual_seed(0), NATURAL)
        return parts.vocoder.vocode(mel, state, True)[0].clamp(-1, 1).numpy()

    def vocoded(audio: voxkit.Audio) -> np.ndarray:
        return vocode(torch.from_numpy(parts.tokenizer.describe(audio, None).mel)[None])

    def decoded(audio: voxkit.Audio) -> np.ndarray:
        tokens = torch.from_numpy(parts.tokenizer.encode(audio))
        start = parts.decoder.init_state(voice, voxkit.Options())
        noise = torch.Generator().manual_seed(0)
        return vocode(parts.decoder.decode(tokens, parts.decoder.seed(start, noise), True)[0])

    return {
        "recordings": lambda audio: audio.resampled(rate).samples,
        "vocoder": vocoded,
        "tokenizer, decoder, vocoder": decoded,
    }


def judged(judge: Judge, lines: list[Line], folder: Path) -> dict[str, float]:
    """Ask the judges about a folder of recordings."""
    cer, wer, _ = judge.error_rates(lines, folder)
    return {"cer": cer, "wer": wer, "mos": judge.opinion([folder / f"{n.id}.wav" for n in lines])}


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Make the recordings again by every stage and ask the judges."""
    judge = Judge(arguments.judge)
    engine = voxkit.load(arguments.model, device="cpu", threads=arguments.threads)
    voice = engine.adopt(voxkit.find_voice(arguments.voice or engine.default_voice))
    jobs = held_out(arguments.folder, arguments.limit)
    lines = [Line(job.id, job.text, job.text) for job in jobs]
    found = {}
    for name, make in stages(engine, voice).items():
        folder = arguments.out / name.replace(", ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        for job in jobs:
            clip = reference_clip(voxkit.read_audio(Path(job.clip)), whole=True)
            sf.write(folder / f"{job.id}.wav", make(clip), engine.sample_rate)
        found[name] = judged(judge, lines, folder)
    return found


def table(found: dict[str, dict[str, float]], count: int) -> Iterable[str]:
    """The figures as Markdown."""
    yield f"| {count} recordings | CER | WER | DNSMOS P.808 |"
    yield "|---|---|---|---|"
    for name, row in found.items():
        yield f"| {name} | {row['cer']:.3f} | {row['wer']:.3f} | {row['mos']:.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    judge = os.environ.get("VOXKIT_JUDGE")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--judge", type=Path, default=judge, required=not judge, metavar="DIR")
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--voice")
    parser.add_argument("--limit", type=int, default=30)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/stages"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments)
    rows = table(found, arguments.limit)
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(rows))


if __name__ == "__main__":
    main()
