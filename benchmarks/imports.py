"""Measures what a cold `voxkit speak` imports, and how long that takes.

    python benchmarks/imports.py
    python benchmarks/imports.py --runs 5 --least 1 -- --model DIR   # flags of `voxkit speak`

Each run is a process of its own with `python -X importtime`, which makes imports slower: read the
shares.  The own time of a package is that of its modules without what they import in turn; a module
that several want counts for the first.  The second table leaves out what torch imports for itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from speed import cpu_name

TEXT = "Hello there."


@dataclass(frozen=True)
class Import:
    """A module that was imported."""

    name: str
    own_ms: float
    all_ms: float  # with what it imported
    within: tuple[str, ...]  # those that were being imported meanwhile, the outermost first

    @property
    def package(self) -> str:
        """The package that it is of."""
        first = self.name.partition(".")[0]
        return "Python itself" if first in sys.stdlib_module_names else first


def parsed(log: str) -> list[Import]:
    """Read what `python -X importtime` writes: a line for each module, after those within it."""
    found: list[Import] = []
    around: list[str] = []
    for line in reversed(log.splitlines()):
        head, mark, rest = line.partition("import time:")
        columns = rest.split("|", 2)
        if head or not mark or len(columns) != 3 or not columns[0].strip().isdecimal():
            continue
        name = columns[2][1:]
        depth = (len(name) - len(name.lstrip())) // 2
        del around[depth:]
        own, cumulative = (int(column) / 1000 for column in columns[:2])
        found.append(Import(name.strip(), own, cumulative, tuple(around)))
        around.append(name.strip())
    return found[::-1]


def run(flags: list[str]) -> tuple[list[Import], float]:
    """Speak in a process of its own; return its imports and the ms that it took."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["speak", TEXT, "-o", f"{folder}/out.wav", "--quiet", "--seed", "0", *flags]
        command = [sys.executable, "-X", "importtime", "-m", "voxkit", *words]
        began = time.perf_counter()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wall_ms = 1000 * (time.perf_counter() - began)
    if done.returncode:
        talk = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        sys.exit("\n".join([*talk, f"voxkit speak ended with status {done.returncode}."]))
    return parsed(done.stderr), wall_ms


def packages(imports: list[Import]) -> dict[str, float]:
    """The own time of each package's modules, in ms."""
    found: Counter[str] = Counter()
    for one in imports:
        found[one.package] += one.own_ms
    return dict(found)


def roots(imports: list[Import]) -> dict[str, float]:
    """The time of each module with all that it imports, in ms, without those inside torch."""
    return {one.name: one.all_ms for one in imports if "torch" not in one.within}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the runs, the largest first."""
    names = {name for one in runs for name in one}
    middle = {name: statistics.median(one.get(name, 0.0) for one in runs) for name in names}
    return dict(sorted(middle.items(), key=lambda pair: (-pair[1], pair[0])))


def measure(count: int, flags: list[str]) -> dict[str, Any]:
    """Take every figure."""
    run(flags)  # the first run reads the files from the disk
    runs = [run(flags) for _ in range(count)]
    return {
        "machine": cpu_name(),
        "runs": count,
        "wall_ms": statistics.median(wall_ms for _, wall_ms in runs),
        "packages": medians([packages(imports) for imports, _ in runs]),
        "modules": medians([roots(imports) for imports, _ in runs]),
    }


def table(found: dict[str, Any], least: float) -> str:
    """The figures of at least so many percent of all imports, as Markdown."""
    every = sum(found["packages"].values())
    lines = [
        f"{found['machine']}; medians of {found['runs']} runs. Imports are {every:.0f} ms of own "
        f"time, {every / found['wall_ms']:.0%} of the {found['wall_ms']:.0f} ms of the process."
    ]
    for title, key in (("Package, own time", "packages"), ("Module with its imports", "modules")):
        lines += ["", f"| {title} | ms | Share |", "|---|---|---|"]
        for name, ms in found[key].items():
            if 100 * ms / every >= least:
                lines.append(f"| {name} | {ms:.0f} | {ms / every:.1%} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--least", type=float, default=1.0, help="percent of what a row must be")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("flags", nargs="*", help="of `voxkit speak`, after --")
    arguments = parser.parse_args()
    found = measure(arguments.runs, arguments.flags)
    print(json.dumps(found, indent=2) if arguments.json else table(found, arguments.least))


if __name__ == "__main__":
    main()
