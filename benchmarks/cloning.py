"""Measures cloning: is the right speaker the nearest one, and by how much?

    python benchmarks/cloning.py --judge DIR A.wav B.wav C.wav …

Each file is another speaker, of whom the model has heard nothing: its first part is the reference
and the rest is what the clone is compared with, as are the rests of all other files.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from quality import Judge, read_list

import voxkit

REFERENCE_S = 6.0
UTTERANCES = 4


def parts_of(path: Path, folder: Path) -> tuple[Path, Path]:
    """Write a recording's reference and its rest into `folder`."""
    samples, rate = sf.read(path, dtype="float32", always_2d=True)
    cut = min(round(REFERENCE_S * rate), round(0.6 * len(samples)))
    files = folder / f"{path.stem}-reference.wav", folder / f"{path.stem}-rest.wav"
    for file, part in zip(files, (samples[:cut], samples[cut:]), strict=True):
        sf.write(file, part.mean(1), rate)
    return files


def speak(engine: Any, reference: Path, lines: list[str], out: Path, seed: int) -> None:
    """Clone the reference and speak the lines into one file."""
    voice = engine.clone(voxkit.read_audio(reference), name=out.stem)
    spoken = [engine.speak(line, voice, voxkit.Options(seed=seed)) for line in lines]
    sf.write(out, np.concatenate([audio.samples for audio in spoken]), engine.sample_rate)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Clone every speaker, and compare every clone with every speaker."""
    judge = Judge(arguments.judge)
    engine = voxkit.load(arguments.model, device="cpu", threads=arguments.threads)
    lines = [line.text for line in read_list(arguments.judge / "harvard20.tsv")[:UTTERANCES]]
    arguments.out.mkdir(parents=True, exist_ok=True)
    rests, clones = [], []
    for path in arguments.clips:
        reference, rest = parts_of(path, arguments.out)
        clone = arguments.out / f"{path.stem}-clone.wav"
        speak(engine, reference, lines, clone, arguments.seed)
        rests.append(rest)
        clones.append(clone)
        print(f"{path.stem} is cloned", file=sys.stderr)
    rows = [[judge.similarity(clone, rest) for rest in rests] for clone in clones]
    return {"speakers": [path.stem for path in arguments.clips], "similarity": rows}


def summary(rows: list[list[float]]) -> str:
    """Say how well the clones (rows) are told apart by the speakers (columns)."""
    table = np.array(rows)
    count = len(table)
    own = np.diag(table)
    others = (table.sum(1) - own) / (count - 1)
    nearest = (table.argmax(1) == np.arange(count)).sum()
    return (
        f"{count} speakers: similarity to the own speaker {own.mean():.3f}, to the others "
        f"{others.mean():.3f}, difference {(own - others).mean():+.3f}; the right speaker is the "
        f"nearest of {count} for {nearest} ({nearest / count:.0%})."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    judge = os.environ.get("VOXKIT_JUDGE")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--judge", type=Path, default=judge, required=not judge, metavar="DIR")
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/cloning"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if len(arguments.clips) < 2:
        parser.error("give at least two speakers")
    result = measure(arguments)
    print(json.dumps(result, indent=2) if arguments.json else summary(result["similarity"]))


if __name__ == "__main__":
    main()
