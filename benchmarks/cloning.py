"""Measures cloning: is the right speaker the nearest one, and by how much?

    python benchmarks/cloning.py --judge DIR SPEAKER SPEAKER SPEAKER …

Each SPEAKER is a folder of recordings of somebody of whom the model has heard nothing: the first
one of 5 to 10 s is the reference, and the rest is what the clone is compared with, as are the rests
of all others.  A single recording is cut in two.  With more than eight speakers, the share of
clones whose speaker is the nearest of eight is the mean over all choices of seven others.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import loading
import numpy as np
import soundfile as sf
from quality import Judge, read_list

import voxkit

REFERENCE_S = 6.0
UTTERANCES = 4
AMONG = 8  # speakers of whom the right one is to be the nearest


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
    """Clone every speaker with every seed, and compare every clone with every speaker."""
    judge = Judge(arguments.judge)
    engine = loading.loaded(arguments)
    lines = [line.text for line in read_list(arguments.judge / "harvard20.tsv")[:UTTERANCES]]
    arguments.out.mkdir(parents=True, exist_ok=True)
    pairs = [parts_of(path, arguments.out) for path in arguments.speakers]
    tables = []
    for seed in range(arguments.seeds):
        clones = []
        for path, (reference, _) in zip(arguments.speakers, pairs, strict=True):
            clones.append(arguments.out / f"{path.stem}-clone-{seed}.wav")
            speak(engine, reference, lines, clones[-1], seed)
            print(f"{path.stem} is cloned with seed {seed}", file=sys.stderr)
        tables.append(judge.similarities(clones, [rest for _, rest in pairs]).tolist())
    return {"speakers": [path.stem for path in arguments.speakers], "similarity": tables}


def nearest(row: list[float], own: int, among: int) -> float:
    """Return the chance that the own speaker beats `among - 1` others drawn from a row."""
    others = len(row) - 1
    better = sum(value > row[own] for value in row)
    return math.comb(others - better, among - 1) / math.comb(others, among - 1)


def summary(tables: list[list[list[float]]]) -> str:
    """Say how well the clones (rows) are told apart by the speakers (columns), for each seed."""
    found = np.array(tables)
    count = found.shape[1]
    own = found.diagonal(axis1=1, axis2=2)
    others = (found.sum(2) - own) / (count - 1)
    among = min(AMONG, count)
    hits = [nearest(row, i, among) for table in tables for i, row in enumerate(table)]
    return (
        f"{count} speakers, {len(tables)} seeds: similarity to the own speaker {own.mean():.3f}, "
        f"to the others {others.mean():.3f}, difference {(own - others).mean():+.3f}; the right "
        f"speaker is the nearest of {among} for {np.mean(hits):.0%}."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    judge = os.environ.get("VOXKIT_JUDGE")
    parser.add_argument("speakers", nargs="+", type=Path)
    parser.add_argument("--judge", type=Path, default=judge, required=not judge, metavar="DIR")
    loading.add_flags(parser)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/cloning"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if len(arguments.speakers) < 2:
        parser.error("give at least two speakers")
    result = measure(arguments)
    print(json.dumps(result, indent=2) if arguments.json else summary(result["similarity"]))


if __name__ == "__main__":
    main()
