"""Measures what it brings that requests share passes over a token generator's weights.

    python benchmarks/together.py cosyvoice2 --dtype int8 --rows 1 2 4 8
    python benchmarks/together.py cosyvoice2 --device cuda

A generator of the family's exact shapes with random weights takes steps for so many requests, alone
(one after the other) and together.  What a step costs besides, the turns of the threads and the
choice of tokens from the family's vocabulary, is measured with a network of next to no weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable
from functools import partial

import torch
from speed import cpu_name

from voxkit.checkpoint import settled
from voxkit.company import Company
from voxkit.cosyvoice_spec import BpeGeneratorSpec
from voxkit.errors import VoxkitError
from voxkit.measuring import Clock, clock_of
from voxkit.modules.ras import Sampler, multinomial
from voxkit.modules.speech_lm import SpeechLm, speak
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
) -> tuple[float, float, float]:
    """Time one step of `count` requests: alone one after the other, together, and all but that."""
    lm = speech_lm(family, kind, device)
    net = lm.transformer
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
    least = least_network(lm.spec).to(device).requires_grad_(False)
    return (
        seconds(alone, steps, clock),
        seconds(together, steps, clock),
        in_company(least, count, 10 * steps, clock),
    )


def least_network(spec: BpeGeneratorSpec) -> SpeechLm:
    """A generator of as many tokens, and of as little else as can be."""
    sizes = {"width": 16, "heads": 2, "kv_heads": 1, "head_width": 8, "feed_forward": 16}
    transformer = dataclasses.replace(spec.transformer, layers=1, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpeechLm(dataclasses.replace(spec, transformer=transformer)).eval()


def in_company(lm: SpeechLm, count: int, steps: int, clock: Clock) -> float:
    """The time of a step of so many requests that keep each other company."""
    company = Company(count)
    lm.join(company)

    def speech(seed: int) -> int:
        sampler = Sampler(lm.spec.sampling, multinomial(torch.Generator().manual_seed(seed)))
        return sum(1 for _ in speak(lm, [1], [1], sampler, lengths=(steps, steps)))

    began = clock()
    company.run(
        [partial(speech, seed) for seed in range(count)], lambda index, future: future.result()
    )
    return (clock() - began) / steps


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
    titles = ("Requests", "Alone, tokens/s", "Together, tokens/s", "Together, ms a step", "Besides")
    print(f"\n| {' | '.join(titles)} |")
    print("|---" * len(titles) + "|")
    for count in arguments.rows:
        alone, shared, rest = measure(arguments.family, kind, count, arguments.steps, place.type)
        figures = (f"{count / alone:.1f}", f"{count / shared:.1f}")
        print(f"| {count} | {' | '.join(figures)} | {1000 * shared:.1f} | {1000 * rest:.1f} |")


if __name__ == "__main__":
    main()
