"""The programs in benchmarks/ load a model as they are told to."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
import tiny_cosyvoice
import torch

import voxkit
from voxkit import random_model
from voxkit.modules import linears
from voxkit.precision import Kind

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
Program = Callable[..., ModuleType]


class Loaded(Exception):
    """A model was asked for."""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Import one of the programs with its command line."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def imported(name: str, *words: str) -> ModuleType:
        monkeypatch.setattr(sys, "argv", [name, *words])
        return importlib.import_module(name)

    return imported


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `voxkit.load` is asked for before it raises `Loaded`."""
    found: dict[str, Any] = {}

    def load(model: str, **wishes: Any) -> NoReturn:
        found.update(wishes)
        raise Loaded

    monkeypatch.setattr(voxkit, "load", load)
    return found


def test_streaming_takes_the_precision_without_random_weights(
    program: Program, asked: dict[str, Any]
) -> None:
    with pytest.raises(Loaded):
        program("streaming", "--dtype", "fp32", "--quantize", "int8").main()
    assert (asked["device"], asked["dtype"], asked["quantize"]) == ("cpu", "fp32", "int8")


def test_quality_takes_a_precision(
    program: Program, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    quality = program("quality", "--judge", ".", "--dtype", "bf16", "--quantize", "int4")
    monkeypatch.setattr(quality, "Judge", lambda folder: None)
    with pytest.raises(Loaded):
        quality.main()
    assert (asked["dtype"], asked["quantize"]) == ("bf16", "int4")


def test_hub_models_are_measured_where_they_are_told_to_run(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = program("hub_fullsize", "cosyvoice2", "--device", "cuda")
    given: list[Any] = []

    def measure(family: str, place: Path, flags: list[str], *told: Any) -> NoReturn:
        given.extend((flags[:2], told[0]["device"]))
        raise Loaded

    monkeypatch.setattr(hub, "measure", measure)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(Loaded):
        hub.main()
    assert given == [["--device", "cuda"], "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        hub.main()
    assert "There is no CUDA device here" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["hub_fullsize", "streaming"])
def test_processor_time_is_not_for_a_gpu(
    name: str, program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit):
        program(name, "--device", "cuda", "--cpu-time").main()
    assert "--cpu-time tells nothing of a GPU" in capsys.readouterr().err


def test_steps_together_are_taken_on_the_device_that_is_asked_for(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    spec = tiny_cosyvoice.spec_of("cosyvoice2")
    monkeypatch.setattr(random_model, "read_spec", lambda path: spec)
    together = program("together", "--dtype", "bf16", "--rows", "2", "--steps", "1")
    devices: list[str] = []

    def speech_lm(family: str, kind: Kind, device: str) -> Any:
        devices.append(device)
        return random_model.speech_lm(family, kind, device)

    monkeypatch.setattr(together, "speech_lm", speech_lm)
    together.main()
    assert devices == ["cpu"]
    assert "| 2 |" in capsys.readouterr().out
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    program("together", "--device", "cuda", "--dtype", "int8")
    with pytest.raises(SystemExit):
        together.main()
    assert "int8 weights are for a CPU" in capsys.readouterr().err


def test_streaming_tells_the_first_sound_the_gaps_and_what_is_used(program: Program) -> None:
    streaming = program("streaming")
    times = iter([0.0, 1.0, 1.2, 2.0, 2.1])

    class Engine:
        def stream(self, text: str, voice: Any, options: Any) -> Any:
            sound = voxkit.Audio(torch.zeros(12_000).numpy(), 24_000)
            return iter([sound, sound, sound])

    found = streaming.heard(Engine(), None, 0, lambda: next(times))
    assert found["first_audio_ms"] == pytest.approx(1000.0)
    assert found["first_audio_of_all"] == pytest.approx(1 / 2.1)
    assert found["longest_gap_ms"] == pytest.approx(800.0)
    assert found["least_slack_ms"] == pytest.approx(0.0)  # 1.0 s in hand after 1.0 s
    assert found["most_used"] == pytest.approx(1.0)
    assert found["rtf"] == pytest.approx(1.4)


LOG = """import time: self [us] | cumulative | imported package
import time:      1000 |       1000 |     json
import time:      2000 |       2000 |       torch._C
import time:      5000 |       7000 |     torch
something said meanwhile
import time:      3000 |      11000 |   voxkit.engine
import time:      4000 |      15000 | voxkit
"""


def test_imports_are_read_as_the_tree_that_they_are(program: Program) -> None:
    imports = program("imports")
    found = {one.name: one for one in imports.parsed(LOG)}
    assert list(found) == ["json", "torch._C", "torch", "voxkit.engine", "voxkit"]
    assert found["torch._C"].within == ("voxkit", "voxkit.engine", "torch")
    assert found["json"].within == ("voxkit", "voxkit.engine")
    own = imports.packages(imports.parsed(LOG))
    assert own == {"Python itself": 1.0, "torch": 7.0, "voxkit": 7.0}
    roots = imports.roots(imports.parsed(LOG))
    assert roots == {"json": 1.0, "torch": 7.0, "voxkit.engine": 11.0, "voxkit": 15.0}
