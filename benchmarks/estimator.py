"""Measures what a step of a hub model's flow spends its time on, with random weights.

    python benchmarks/estimator.py cosyvoice2 cosyvoice3 --threads 1

Both rows of guidance, 8 s of mel under the chunk mask, decoded at once as for a file.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from voxkit import random_model
from voxkit.checkpoint import settled
from voxkit.modules import dit_cosyvoice, unet
from voxkit.modules.attention import attend
from voxkit.modules.chunks import ChunkMask

KINDS = {  # what torch calls them → what they are
    **dict.fromkeys(("mkldnn::_linear_pointwise", "aten::addmm", "aten::mm"), "linear layers"),
    "onednn::qlinear_pointwise": "linear layers",
    **dict.fromkeys(("aten::mkldnn_convolution", "aten::_slow_conv2d_forward"), "convolutions"),
}


@dataclass
class Subject:
    """An estimator with one step of the flow to do, and what its steps took."""

    weights: str
    step: Callable[[], object]
    least_s: float = math.inf

    def timed(self) -> None:
        """Do the step and keep its time if it is the least."""
        start = time.perf_counter()
        self.step()
        self.least_s = min(self.least_s, time.perf_counter() - start)

    def shares(self) -> list[float]:
        """Return what part of a step goes to linear layers, attention, convolutions, all else."""
        with (
            mock.patch.object(unet, "attend", _attend),
            mock.patch.object(dit_cosyvoice, "attend", _attend),
            profile(activities=[ProfilerActivity.CPU]) as seen,
        ):
            self.step()
        events = {event.key: event for event in seen.key_averages()}
        attention = events.pop("attention")
        spent = {"linear layers": 0.0, "attention": attention.cpu_time_total, "convolutions": 0.0}
        within = attention.cpu_time_total - attention.self_cpu_time_total  # told by its parts too
        spent["all else"] = -within
        for event in events.values():
            spent[KINDS.get(event.key, "all else")] += event.self_cpu_time_total
        return [t / sum(spent.values()) for t in spent.values()]


def _attend(*inputs: Any) -> torch.Tensor:
    with record_function("attention"):
        return attend(*inputs)


def subject(model: str, quantize: str | None, seconds: float, *, compile: bool = False) -> Subject:
    """Make the estimator of a hub model, as it is chosen for this processor."""
    precision = settled("cpu", None, "auto", quantize)[1]
    engine, _ = random_model.load(model, torch.device("cpu"), precision, compile=compile)
    flow: Any = engine.parts.decoder.network
    estimator = flow.estimator
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, flow.bins, round(engine.spec.mel.frame_rate * seconds), generator=draw)
    speaker, now = (
        torch.randn(2, flow.bins, generator=draw),
        estimator.moments(torch.tensor([0.3]))[0],
    )
    mask = ChunkMask(0, x.shape[2], flow.spec.chunk * flow.rate)
    weights = f"{precision.decoder}{', int8 after norms' if precision.int8_after_norms else ''}"
    weights += ", compiled" if compile else ""
    return Subject(weights, lambda: estimator(x, x, speaker, x, now, estimator.init_state(2), mask))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", choices=["cosyvoice2", "cosyvoice3"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--compile", action="store_true", help="compiled by torch, too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| Model | Weights | ms a step | linear layers | attention | convolutions | all else |")
    print("|---|---|---|---|---|---|---|")
    for model in arguments.models:
        subjects = [
            subject(model, quantize, arguments.seconds, compile=compile)
            for compile in ([False, True] if arguments.compile else [False])
            for quantize in (None, "int8")
        ]
        with torch.inference_mode():
            for one in subjects:
                one.step()
            for _ in range(arguments.runs):  # by turns, since a host's speed comes and goes
                for one in subjects:
                    one.timed()
            for one in subjects:
                shares = " | ".join(f"{share:.0%}" for share in one.shares())
                least = f"{1000 * one.least_s:.0f}"
                print(f"| {model} | {one.weights} | {least} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
