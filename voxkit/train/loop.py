"""The one training loop: seeded, resumable after a kill, with a JSONL log and a loss plot.

What is drawn at a step depends on the recipe's seed and the step alone, so a resumed run sees the
batches that an unbroken one would have seen.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from voxkit.errors import TrainingError
from voxkit.interrupts import collected


@dataclass(frozen=True)
class LoopRecipe:
    """Numbers of the optimiser and its schedule: linear warm-up, then half a cosine to a floor."""

    seed: int
    steps: int
    lr: float
    warmup: int
    floor: float  # share of `lr` at the end
    weight_decay: float
    beta2: float
    clip: float  # largest gradient norm
    average: float  # decay of the running average of the weights, which is exported; 0: the last
    log_every: int
    evaluate_every: int
    checkpoint_every_s: float


class Draw:
    """The randomness of one step: a NumPy and a torch generator seeded by (seed, step)."""

    def __init__(self, seed: int, step: int) -> None:
        self.numpy = np.random.default_rng([seed, step])
        self.torch = torch.Generator().manual_seed(int(self.numpy.integers(2**62)))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers on the CPU."""
        return torch.randn(*shape, generator=self.torch)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) on the CPU."""
        return torch.rand(*shape, generator=self.torch)


class Task(Protocol):
    """What a part must bring to be trained."""

    @property
    def model(self) -> nn.Module:
        """The network whose parameters are trained."""

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """Losses of one batch; the entry `loss` is minimised, the others are logged."""

    def evaluate(self) -> dict[str, float]:
        """Figures on held-out data."""


def schedule(recipe: LoopRecipe, step: int) -> float:
    """Learning rate at `step` (from 0)."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))
    return recipe.lr * warm * max(recipe.floor, cosine)


def run(
    task: Task,
    recipe: LoopRecipe,
    folder: Path,
    *,
    device: str = "cpu",
    mixed: bool = False,
    report: Callable[[int, dict[str, float]], None] = lambda step, figures: None,
) -> None:
    """Train until `recipe.steps`, from the newest checkpoint in `folder` if there is one.

    `mixed` does the large matrix products in bf16 (`torch.autocast`); weights, sums and evaluation
    stay in float32.  Ctrl-C and SIGTERM end the run as ever, once a checkpoint is saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = task.model.to(device)
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=recipe.lr,
        betas=(0.9, recipe.beta2),
    )
    average = {n: p.detach().clone() for n, p in model.named_parameters()}
    step = _resume(folder, model, optimiser, average)
    sums: dict[str, float] = {}
    counted, saved = 0, time.monotonic()
    with collected() as stopped, (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        while step < recipe.steps and not stopped:  # a step is never torn
            for group in optimiser.param_groups:
                group["lr"] = schedule(recipe, step)
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed):
                losses = task.losses(step, Draw(recipe.seed, step))
            optimiser.zero_grad(set_to_none=True)
            losses["loss"].backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            if not math.isfinite(float(norm)):
                raise TrainingError(f"The gradient at step {step} is not finite; lower the rate.")
            optimiser.step()
            _update_average(average, model, min(recipe.average, step / (step + 10)))
            step += 1
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            counted += 1
            figures: dict[str, float] = {}
            if step % recipe.log_every == 0 or step == recipe.steps:
                figures = {name: value / counted for name, value in sums.items()}
                sums, counted = {}, 0
            if step % recipe.evaluate_every == 0 or step == recipe.steps:
                model.eval()
                with torch.no_grad():
                    figures |= {f"held_out_{k}": v for k, v in task.evaluate().items()}
                model.train()
            if figures:
                log.write(json.dumps({"step": step, "time": time.time()} | figures) + "\n")
                log.flush()
            report(step, figures)
            if time.monotonic() - saved > recipe.checkpoint_every_s or step == recipe.steps:
                _save(folder, step, model, optimiser, average)
                saved = time.monotonic()
        if stopped:
            _save(folder, step, model, optimiser, average)
    if stopped:
        signal.raise_signal(max(stopped))  # it ends now what it would have ended then
        raise KeyboardInterrupt


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights that `export` bundles: the running average in the newest checkpoint."""
    path = folder / "checkpoint.pt"
    if not path.is_file():
        raise TrainingError(f"{path} is missing: train this part first.")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return dict(state["model"]) | dict(state["average"])


def plot(folder: Path) -> Path | None:
    """Draw every logged figure against the step into `loss.png`.

    Returns None without matplotlib, or before anything was logged.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    names = sorted({key for row in rows for key in row} - {"step", "time"})
    if not names:
        return None
    figure = Figure(figsize=(9, 2.2 * max(1, len(names))), layout="constrained")
    for axis, name in zip(
        np.atleast_1d(figure.subplots(len(names), sharex=True)), names, strict=True
    ):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points, strict=True))
        axis.set_ylabel(name)
    figure.savefig(folder / "loss.png")
    return folder / "loss.png"


def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            average[name].lerp_(parameter, 1 - decay)


def _resume(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]
) -> int:
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return 0
    device = next(model.parameters()).device
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError:
        raise TrainingError(
            f"{path} is of a network of another shape: remove it, or choose another --work."
        ) from None
    optimiser.load_state_dict(state["optimiser"])
    average.update(state["average"])
    return int(state["step"])


def _save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> None:
    partial = folder / f".checkpoint-{os.getpid()}.pt"
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average,
    }
    torch.save(state, partial)
    partial.replace(folder / "checkpoint.pt")
    plot(folder)
