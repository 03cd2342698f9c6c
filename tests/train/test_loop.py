"""The training loop: its schedule, its log, and going on after a kill as if nothing had been."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn

from voxkit import interrupts
from voxkit.errors import TrainingError
from voxkit.train.loop import Draw, LoopRecipe, averaged_weights, plot, run, schedule

RECIPE = LoopRecipe(
    seed=3,
    steps=12,
    lr=0.01,
    warmup=3,
    floor=0.1,
    weight_decay=0.1,
    beta2=0.98,
    clip=1.0,
    average=0.9,
    log_every=4,
    evaluate_every=6,
    checkpoint_every_s=1000.0,
)


class Line:
    """Learns a straight line; `at` is called before each step."""

    def __init__(self, at: Callable[[int], None] = lambda step: None) -> None:
        self.model: nn.Module = tiny.stir(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)))
        self.at = at
        self.seen: list[int] = []
        self.modes: list[tuple[bool, bool]] = []

    def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
        """One batch of noise."""
        self.at(step)
        self.seen.append(step)
        x = draw.normal(8, 3) + torch.from_numpy(draw.numpy.normal(size=(8, 3))).float()
        error = self.model(x)[:, 0] - x.sum(1)
        return {"loss": error.square().mean(), "bias": error.mean().detach()}

    def evaluate(self) -> dict[str, float]:
        """Nothing but a note of the state in which it is called."""
        self.modes.append((self.model.training, torch.is_grad_enabled()))
        return {"error": float(len(self.modes))}


@pytest.fixture(autouse=True)
def no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the optional matplotlib out."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def state_of(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_same(a: object, b: object) -> None:
    """Compare two checkpoints to the bit."""
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.fixture
def command() -> Iterator[None]:
    """Heed signals as the process of a command does."""
    former = {number: signal.getsignal(number) for number in interrupts.ENDING}
    interrupts.heed()
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def unbroken(folder: Path, recipe: LoopRecipe = RECIPE) -> dict:
    run(Line(), recipe, folder)
    return state_of(folder)


# ---- going on ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize(
    "number, end", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
@pytest.mark.parametrize("at", [0, 5, 11])
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, number: signal.Signals, end: type[BaseException], at: int
) -> None:
    task = Line(lambda step: os.kill(os.getpid(), number) if step == at else None)
    with pytest.raises(end):
        run(task, RECIPE, tmp_path / "stopped")
    assert task.seen == list(range(at + 1))  # the step under way is finished
    assert state_of(tmp_path / "stopped")["step"] == at + 1
    again = Line()
    run(again, RECIPE, tmp_path / "stopped")
    assert again.seen == list(range(at + 1, RECIPE.steps))
    assert_same(state_of(tmp_path / "stopped"), unbroken(tmp_path / "whole"))


def test_a_run_that_crashed_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    def crash(step: int) -> None:
        if step == 7:
            raise RuntimeError("out of memory")

    often = dataclasses.replace(RECIPE, checkpoint_every_s=-1.0)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(Line(crash), often, tmp_path / "crashed")
    assert state_of(tmp_path / "crashed")["step"] == 7
    run(Line(), often, tmp_path / "crashed")
    assert_same(state_of(tmp_path / "crashed"), unbroken(tmp_path / "whole"))


def test_a_process_that_was_killed_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, pathlib\n"
        "sys.modules['matplotlib.figure'] = None\n"
        "import dataclasses, test_loop as t\n"
        "kill = lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == 5 else None\n"
        "often = dataclasses.replace(t.RECIPE, checkpoint_every_s=-1.0)\n"
        "t.run(t.Line(kill), often, pathlib.Path(sys.argv[1]))\n"
    )
    here = Path(__file__).parent
    paths = [here, here.parent, here.parents[1]]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "killed"], env=env, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert state_of(tmp_path / "killed")["step"] == 5
    run(Line(), RECIPE, tmp_path / "killed")
    assert_same(state_of(tmp_path / "killed"), unbroken(tmp_path / "whole"))


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    unbroken(tmp_path)
    before = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    again = Line()
    run(again, RECIPE, tmp_path)
    assert again.seen == []
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == before


def test_a_checkpoint_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half of")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        run(Line(), dataclasses.replace(RECIPE, steps=14), tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_checkpoint_of_another_network_is_one_sentence(tmp_path: Path) -> None:
    unbroken(tmp_path)
    wider = Line()
    wider.model = nn.Linear(3, 1)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is of a network of another shape"):
        run(wider, RECIPE, tmp_path)


def test_signals_are_handled_as_before_afterwards(tmp_path: Path) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    unbroken(tmp_path)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_global_randomness_is_neither_used_nor_set(tmp_path: Path) -> None:
    task = Line()
    before = torch.random.get_rng_state()
    run(task, RECIPE, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


# ---- the steps --------------------------------------------------------------------------------


def test_the_rate_rises_then_falls_as_half_a_cosine_to_the_floor() -> None:
    recipe = dataclasses.replace(RECIPE, steps=1000, warmup=10)
    rates = [schedule(recipe, step) for step in range(1001)]
    assert rates[:3] == pytest.approx([0.001, 0.002, 0.003], rel=1e-4)
    assert max(rates) == pytest.approx(0.01, rel=1e-3)
    assert rates[500] == pytest.approx(0.005)
    assert rates[1000] == pytest.approx(0.001)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert schedule(dataclasses.replace(recipe, warmup=0), 0) == pytest.approx(0.01)


def test_the_loss_falls(tmp_path: Path) -> None:
    run(Line(), dataclasses.replace(RECIPE, steps=200, lr=0.03), tmp_path)
    losses = [row["loss"] for row in log_of(tmp_path) if "loss" in row]
    assert losses[-1] < 0.05 * losses[0]


def test_only_matrices_decay(tmp_path: Path) -> None:
    run(Line(), RECIPE, tmp_path)
    groups = state_of(tmp_path)["optimiser"]["param_groups"]
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(2, 0.1), (2, 0.0)]


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    task = Line()
    task.model[0].weight.requires_grad_(False)
    before = task.model[0].weight.clone()
    run(task, RECIPE, tmp_path)
    assert torch.equal(task.model[0].weight, before)
    assert torch.equal(averaged_weights(tmp_path)["0.weight"], before)


def test_a_gradient_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    class Broken(Line):
        def losses(self, step: int, draw: Draw) -> dict[str, Tensor]:
            scale = math.nan if step == 2 else 1.0
            return {name: value * scale for name, value in super().losses(step, draw).items()}

    with pytest.raises(TrainingError, match="step 2 is not finite"):
        run(Broken(), RECIPE, tmp_path)


def test_what_is_drawn_depends_on_seed_and_step_alone() -> None:
    def numbers(seed: int, step: int) -> list[float]:
        draw = Draw(seed, step)
        return [*draw.numpy.normal(size=3), *draw.normal(3).tolist(), *draw.uniform(3).tolist()]

    assert numbers(1, 2) == numbers(1, 2)
    assert len({tuple(numbers(seed, step)) for seed in range(3) for step in range(3)}) == 9
    uniform = Draw(0, 0).uniform(1000)
    assert bool(((uniform >= 0) & (uniform < 1)).all())
    assert abs(float(Draw(0, 0).normal(4000).std()) - 1) < 0.1


# ---- what is kept -----------------------------------------------------------------------------


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_log_has_means_and_held_out_figures(tmp_path: Path) -> None:
    reports: list[tuple[int, dict[str, float]]] = []
    task = Line()
    run(task, RECIPE, tmp_path, report=lambda step, figures: reports.append((step, figures)))
    rows = log_of(tmp_path)
    assert [(row["step"], "loss" in row, "held_out_error" in row) for row in rows] == [
        (4, True, False),
        (6, False, True),
        (8, True, False),
        (12, True, True),
    ]
    assert [step for step, _ in reports] == list(range(1, 13))
    assert task.modes == [(False, False)] * 2  # evaluated without dropout and gradients
    assert task.model.training


def test_logged_losses_are_means_since_the_last_line(tmp_path: Path) -> None:
    each = dataclasses.replace(RECIPE, log_every=1)
    run(Line(), each, tmp_path / "each")
    run(Line(), RECIPE, tmp_path / "some")
    single = [row["loss"] for row in log_of(tmp_path / "each") if "loss" in row]
    means = [row["loss"] for row in log_of(tmp_path / "some") if "loss" in row]
    assert means == pytest.approx([sum(single[n : n + 4]) / 4 for n in (0, 4, 8)])


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    run(Line(), RECIPE, tmp_path)
    state = state_of(tmp_path)
    averaged = averaged_weights(tmp_path)
    assert averaged.keys() == state["model"].keys()
    for name, value in averaged.items():
        assert torch.equal(value, state["average"][name])
        assert not torch.equal(value, state["model"][name])
        assert (value - state["model"][name]).abs().max() < 0.1


def test_without_an_average_the_last_weights_are_kept(tmp_path: Path) -> None:
    run(Line(), dataclasses.replace(RECIPE, average=0.0), tmp_path)
    for name, value in averaged_weights(tmp_path).items():
        assert torch.equal(value, state_of(tmp_path)["model"][name])


def test_buffers_are_kept_beside_the_average(tmp_path: Path) -> None:
    task = Line()
    task.model.register_buffer("count", torch.tensor([7.0]))
    run(task, RECIPE, tmp_path)
    assert averaged_weights(tmp_path)["count"].item() == 7


def test_a_part_that_was_not_trained_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is missing: train this part first"):
        averaged_weights(tmp_path)


# ---- the plot ---------------------------------------------------------------------------------


class Figure:
    """Stands in for matplotlib's, and notes what is drawn."""

    drawn: dict[str, tuple]

    def __init__(self, **told: object) -> None:
        Figure.drawn = {}

    def subplots(self, count: int, *, sharex: bool) -> list[Figure]:
        if count < 1:
            raise ValueError("Number of rows must be a positive integer, not 0")
        return [self] * count

    def plot(self, *points: tuple) -> None:
        self.points = points

    def set_ylabel(self, name: str) -> None:
        Figure.drawn[name] = self.points

    def savefig(self, path: Path) -> None:
        path.write_bytes(b"\x89PNG")


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("matplotlib.figure")
    module.Figure = Figure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "matplotlib", types.ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", module)


def test_every_figure_is_plotted_against_the_step(tmp_path: Path, figure: None) -> None:
    run(Line(), RECIPE, tmp_path)
    assert (tmp_path / "loss.png").is_file()
    assert set(Figure.drawn) == {"loss", "bias", "held_out_error"}
    assert Figure.drawn["held_out_error"] == ((6, 12), (1.0, 2.0))


def test_without_matplotlib_there_is_no_plot(tmp_path: Path) -> None:
    run(Line(), RECIPE, tmp_path)
    assert plot(tmp_path) is None
    assert not (tmp_path / "loss.png").exists()


def test_a_run_that_was_stopped_before_its_first_line_has_no_plot(
    tmp_path: Path, figure: None
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Line(lambda step: os.kill(os.getpid(), signal.SIGINT)), RECIPE, tmp_path)
    assert not (tmp_path / "loss.png").exists()


def test_mixed_training_multiplies_in_bf16_and_keeps_float32(tmp_path: Path) -> None:
    types: dict[str, list[torch.dtype]] = {"plain": [], "mixed": []}
    for name, seen in types.items():
        task = Line()
        task.model.register_forward_hook(lambda *a, seen=seen: seen.append(a[2].dtype))
        run(task, dataclasses.replace(RECIPE, steps=2), tmp_path / name, mixed=name == "mixed")
        assert {w.dtype for w in averaged_weights(tmp_path / name).values()} == {torch.float32}
    assert types == {"plain": [torch.float32] * 2, "mixed": [torch.bfloat16] * 2}
