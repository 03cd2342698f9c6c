"""Measures what it brings to make the lines of a batch together, in tokens, mel and sound.

    python benchmarks/batch.py --together 1 8 16 --threads 2
    python benchmarks/batch.py --random-weights cosyvoice2 --device cuda --together 1 32 --lines 64

Lines of `sentences40.tsv` are spoken by one loaded engine after the other, by turns.  1 is one line
after the other, as `voxkit batch` makes them without `--together`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from speed import cpu_name

import voxkit
from voxkit import checkpoint, random_model
from voxkit.engine import Engine
from voxkit.errors import VoxkitError
from voxkit.measuring import Clock, clock_of
from voxkit.options import WHOLE
from voxkit.voice import Voice

SENTENCES = Path(__file__).with_name("sentences40.tsv")

Loads = Callable[[int], tuple[Engine, Voice]]


def spoken(engine: Engine, voice: Voice, lines: list[str], clock: Clock) -> tuple[float, float]:
    """Speak lines, together if the engine has company → seconds of sound, and how long it took."""
    made: list[float] = []

    def speak(index: int) -> float:
        first_hop = WHOLE if engine.prefers_whole else None
        options = voxkit.Options(seed=index, first_hop=first_hop)
        return engine.speak(lines[index], voice, options).seconds

    tasks = [partial(speak, index) for index in range(len(lines))]
    began = clock()
    if engine.company is None:
        made += [task() for task in tasks]
    else:
        engine.company.run(tasks, lambda _, future: made.append(future.result()))
    return sum(made), clock() - began


def measure(
    loads: Loads, counts: list[int], lines: list[str], runs: int, clock: Clock
) -> dict[int, float]:
    """Return the median RTF of so many lines together; the first run of each does not count."""
    engines = {count: loads(count) for count in counts}
    rtf: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(runs + 1):
        for count, (engine, voice) in engines.items():
            seconds, took = spoken(engine, voice, lines, clock)
            rtf[count].append(took / seconds)
    return {count: statistics.median(found[1:]) for count, found in rtf.items()}


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--random-weights", metavar="FAMILY", help="cosyvoice2 or cosyvoice3")
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--quantize", choices=["int8", "int4"])
    parser.add_argument("--together", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--lines", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    try:
        place, precision = checkpoint.settled(given.device, given.threads, quantize=given.quantize)
    except VoxkitError as error:
        parser.error(str(error))
    texts = [row.split("\t")[1] for row in SENTENCES.read_text(encoding="utf-8").splitlines()]
    lines = sorted((texts * (1 + given.lines // len(texts)))[: given.lines], key=len, reverse=True)

    def loads(count: int) -> tuple[Engine, Voice]:
        together = count if count > 1 else 0
        if given.random_weights:
            return random_model.load(given.random_weights, place, precision, together=together)
        engine = voxkit.load(device=given.device, quantize=given.quantize, together=together)
        return engine, voxkit.find_voice(engine.default_voice)

    found = measure(loads, given.together, lines, given.runs, clock_of(place.type))
    where = f"{cpu_name()}, {torch.get_num_threads()} threads"
    if place.type != "cpu":
        where = torch.cuda.get_device_name(place)
    name = given.random_weights or checkpoint.BUNDLED
    print(f"{name}, {len(lines)} lines, {where}")
    print("\n| Lines together | RTF | Times real time |")
    print("|---|---|---|")
    for count, rtf in found.items():
        print(f"| {count} | {rtf:.3f} | {1 / rtf:.1f} |")


if __name__ == "__main__":
    main()
