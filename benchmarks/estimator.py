"""Measures what a step of a hub model's flow spends its time on, with random weights.

    python benchmarks/estimator.py cosyvoice2 cosyvoice3 --threads 1

Both rows of guidance, 8 s of mel under the chunk mask, decoded at once as for a file.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from voxkit import random_model
from voxkit.modules.chunks import ChunkMask
from voxkit.modules.linears import fast_kind
from voxkit.precision import Kind, Precision

KINDS = {  # what torch calls them → what they are
    "mkldnn::_linear_pointwise": "linear layers",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    **dict.fromkeys(("aten::baddbmm", "aten::bmm", "aten::exp", "aten::sum"), "attention"),
    "aten::mkldnn_convolution": "convolutions",
}


@torch.inference_mode()
def measure(model: str, seconds: float, runs: int) -> tuple[float, list[float]]:
    """Return the least time of a step in ms, and the shares of `KINDS` and of all else."""
    cpu = torch.device("cpu")
    engine, _ = random_model.load(model, cpu, Precision(Kind.int8, fast_kind(cpu)))
    part: Any = engine.parts.decoder
    flow, estimator = part.decoder.net, part.decoder.net.estimator
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, flow.bins, round(engine.spec.mel.frame_rate * seconds), generator=draw)
    speaker, now = torch.randn(2, flow.bins, generator=draw), torch.tensor([0.3])
    mask = ChunkMask(0, x.shape[2], flow.spec.chunk * flow.rate)

    def step() -> float:
        start = time.perf_counter()
        estimator(x, x, speaker, x, now, estimator.init_state(2), mask)
        return time.perf_counter() - start

    step()
    best = min(step() for _ in range(runs))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    spent = dict.fromkeys((*KINDS.values(), "all else"), 0.0)
    for event in seen.key_averages():
        spent[KINDS.get(event.key, "all else")] += event.self_cpu_time_total
    return best * 1e3, [t / sum(spent.values()) for t in spent.values()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", choices=["cosyvoice2", "cosyvoice3"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| Model | ms a step | linear layers | attention | convolutions | all else |")
    print("|---|---|---|---|---|---|")
    for model in arguments.models:
        best, shares = measure(model, arguments.seconds, arguments.runs)
        print(f"| {model} | {best:.0f} | {' | '.join(f'{s:.0%}' for s in shares)} |", flush=True)


if __name__ == "__main__":
    main()
