"""Measures what it brings that requests share passes over a token generator's weights.

    python benchmarks/together.py cosyvoice2 --dtype int8 --rows 1 2 4 8
    python benchmarks/together.py cosyvoice2 --device cuda

A generator of the family's exact shapes with random weights takes steps for so many requests, alone
(one after the other) and together.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from speed import cpu_name

from voxkit.checkpoint import settled
from voxkit.errors import VoxkitError
from voxkit.measuring import Clock, clock_of
from voxkit.modules.together import Rows
from voxkit.precision import Kind
from voxkit.random_model import speech_lm

PAST = 200  # positions before the first step: a text, a reference, and some of what is said


def seconds(work: Callable[[], None], steps: int, clock: Clock) -> float:
    """The median time of a step, the first three left out."""
    times = []
    for _ in range(steps + 3):
        began = clock()
        work()
        times.append(clock() - began)
    return statistics.median(times[3:])


@torch.inference_mode()
def measure(
    family: str, kind: Kind, count: int, steps: int, device: str = "cpu"
) -> tuple[float, float]:
    """Time one step of `count` requests: alone one after the other, and together."""
    net = speech_lm(family, kind, device).transformer
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(1, PAST, net.spec.width, generator=noise).to(device)
    caches = [net(x, net.init_cache(1))[1] for _ in range(count)]
    rows = Rows(net, count)
    for row, cache in enumerate(caches):
        rows.load(row, cache)
    at = PAST

    def alone() -> None:
        for row in range(count):
            _, caches[row] = net(x[:, :1], caches[row])

    def together() -> None:
        nonlocal at
        rows.step(x[0, :count], range(count), [at] * count)
        at += 1

    clock = clock_of(device)
    return seconds(alone, steps, clock), seconds(together, steps, clock)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("family", nargs="?", default="cosyvoice2")
    parser.add_argument("--dtype", default="bf16", choices=[str(k) for k in Kind])
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    kind = Kind(arguments.dtype)
    smaller = str(kind) if kind in (Kind.int8, Kind.int4) else None
    try:
        place, _ = settled(arguments.device, arguments.threads, quantize=smaller)
    except VoxkitError as error:
        parser.error(str(error))
    where = f"{cpu_name()}, {torch.get_num_threads()} threads"
    if place.type != "cpu":
        where = torch.cuda.get_device_name(place)
    print(f"{arguments.family}, {kind}, {where}")
    print("\n| Requests | Alone, tokens/s | Together, tokens/s | Together, ms a step |")
    print("|---|---|---|---|")
    for count in arguments.rows:
        alone, shared = measure(arguments.family, kind, count, arguments.steps, place.type)
        print(f"| {count} | {count / alone:.1f} | {count / shared:.1f} | {1000 * shared:.1f} |")


if __name__ == "__main__":
    main()
