"""Measures cloning: is the right speaker the nearest one, and by how much?

    python benchmarks/cloning.py --judge DIR SPEAKER SPEAKER SPEAKER …

Each SPEAKER is a folder of recordings of somebody of whom the model has heard nothing: the first
one of 5 to 10 s is the reference, and the rest is what the clone is compared with, as are the rests
of all others.  A single recording is cut in two.
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
    """Write a speaker's reference and the rest of what they say into `folder`."""
    found = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    clips = [sf.read(file, dtype="float32", always_2d=True) for file in found]
    rate = clips[0][1]
    parts = [samples.mean(1) for samples, _ in clips]
    if len(parts) == 1:
        cut = min(round(REFERENCE_S * rate), round(0.6 * len(parts[0])))
        parts = [parts[0][:cut], parts[0][cut:]]
    first = next((i for i, part in enumerate(parts) if 5 <= len(part) / rate <= 10), 0)
    files = folder / f"{path.stem}-reference.wav", folder / f"{path.stem}-rest.wav"
    sf.write(files[0], parts.pop(first), rate)
    sf.write(files[1], np.concatenate(parts), rate)
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
    for path in arguments.speakers:
        reference, rest = parts_of(path, arguments.out)
        clone = arguments.out / f"{path.stem}-clone.wav"
        speak(engine, reference, lines, clone, arguments.seed)
        rests.append(rest)
        clones.append(clone)
        print(f"{path.stem} is cloned", file=sys.stderr)
    rows = judge.similarities(clones, rests).tolist()
    return {"speakers": [path.stem for path in arguments.speakers], "similarity": rows}


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
    parser.add_argument("speakers", nargs="+", type=Path)
    parser.add_argument("--judge", type=Path, default=judge, required=not judge, metavar="DIR")
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/cloning"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if len(arguments.speakers) < 2:
        parser.error("give at least two speakers")
    result = measure(arguments)
    print(json.dumps(result, indent=2) if arguments.json else summary(result["similarity"]))


if __name__ == "__main__":
    main()
