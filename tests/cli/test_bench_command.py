"""The bench command: figures of a model on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import tiny_cosyvoice
import torch

import voxkit
from voxkit import checkpoint, library, measuring, random_model
from voxkit.cli.app import run
from voxkit.cli.warm import python_of
from voxkit.engine import Engine
from voxkit.modules import linears
from voxkit.options import Options
from voxkit.precision import Kind, Precision
from voxkit.voice import Voice

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take made-up ceilings and no library of the user's."""
    found = measuring.Ceilings(read_gb_s=20.0, fp32_gflop_s=100.0, bf16_gflop_s=200.0)
    monkeypatch.setattr(measuring, "ceilings", lambda device: found)
    monkeypatch.setenv("VOXKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny model whose voices are in the library."""
    path = tiny.folder(tmp_path / "model")
    monkeypatch.setattr(library, "BUILTIN_FOLDER", path / "voices")
    return str(path)


def test_it_reports_every_stage_of_a_model(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--model", folder, "--runs", "1", "--no-cold", "--device", "cpu", "--json"]
    assert run(words) == 0
    found = json.loads(capsys.readouterr().out)
    warm = found["warm"]
    parts = [warm[f"{name}_rtf"] for name in ("generator", "decoder", "vocoder")]
    assert min(parts) > 0
    assert sum(parts) <= warm["rtf"] * 1.01
    assert warm["first_audio_ms"] > 0
    assert warm["tokens_per_s"] == pytest.approx(1000 / warm["token_ms"])
    assert found["peak_mib"] > 50
    assert found["shares"]["generator_of_read"] > 0
    assert found["estimate"]["busy_s"] == pytest.approx(found["estimate"]["speech_s"] * warm["rtf"])


def test_without_json_it_is_a_table(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--model", folder, "--runs", "1", "--no-cold", "--characters", "900"]) == 0
    rows = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert {"load", "RTF, warm", "generator", "decoder", "vocoder", "peak memory"} <= set(rows)
    assert "900 characters" in rows
    assert "cold `voxkit speak`" not in rows


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_products_are_held_against_those_of_the_decoders_weights(
    kind: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "--model", folder, "--runs", "1", "--no-cold", "--device", "cpu"]
    assert run([*words, "--dtype", kind]) == 0
    rows = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert rows["weights"] == f"generator {kind}, decoder {kind}"
    assert rows["matrix product"].endswith(f"% of {kind} reached")


@pytest.mark.skipif(not linears.has_products8(), reason="no products of int8 for many rows here")
def test_int8_after_norms_is_told(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--model", folder, "--runs", "1", "--no-cold", "--device", "cpu"]
    assert run([*words, "--quantize", "int8"]) == 0
    rows = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert rows["weights"].startswith("generator int8, decoder ")
    assert rows["weights"].endswith(" with int8 after norms")


def test_random_weights_are_for_hub_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--random-weights"]) == 1
    assert "voxkit-en is no hub model" in capsys.readouterr().err


def test_a_model_that_cannot_speak_cannot_be_measured(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--model", "cosyvoice2", "--offline"]) == 1
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "itself failed" in err


@pytest.mark.parametrize("family", tiny_cosyvoice.FAMILIES)
@pytest.mark.parametrize("kind", [Kind.fp32, Kind.int8])
def test_random_weights_fill_a_model_that_speaks_as_long_as_the_text(
    family: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    spec = tiny_cosyvoice.spec_of(family)
    monkeypatch.setattr(random_model, "read_spec", lambda path: spec)
    engine, voice = random_model.load(family, CPU, Precision(generator=kind))
    found = measuring.take(engine, voice, measuring.SENTENCE, seed=0)
    spoken = engine.speak(measuring.SENTENCE, voice, Options(seed=0))
    assert found.audio_s == pytest.approx(spoken.seconds)
    # at most four characters less than a whole number of text ids, at 1.7 tokens a character
    expected = len(measuring.SENTENCE) * 1.7 / spec.token_rate
    assert spoken.seconds == pytest.approx(expected, abs=4 * 1.7 / spec.token_rate)
    assert set(found.parts_s) == set(measuring.PARTS)
    read = measuring.work(engine).token_bytes
    assert read > 0


def test_smaller_weights_are_counted_as_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    spec = tiny_cosyvoice.spec_of("cosyvoice2")
    monkeypatch.setattr(random_model, "read_spec", lambda path: spec)
    read = {
        kind: measuring.work(random_model.load("cosyvoice2", CPU, Precision(kind))[0]).token_bytes
        for kind in (Kind.fp32, Kind.bf16, Kind.int8)
    }
    assert read[Kind.fp32] == 2 * read[Kind.bf16] == 4 * read[Kind.int8]


@pytest.mark.parametrize("family", tiny_cosyvoice.FAMILIES)
def test_what_is_reckoned_for_a_frame_is_told_by_shapes_alone(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    spec = tiny_cosyvoice.spec_of(family)
    monkeypatch.setattr(random_model, "read_spec", lambda path: spec)
    engines = [random_model.load(family, CPU, Precision(k, k))[0] for k in (Kind.fp32, Kind.bf16)]
    plain, packed = (measuring.work(engine).frame_flop for engine in engines)
    assert plain == packed > 0
    net = engines[0].parts.decoder.decoder.net  # type: ignore[attr-defined]
    twice = 2 * 2 * spec.decoder.flow.steps  # a product and a sum, rows, steps
    once = sum(p.numel() for n, p in net.named_parameters() if n.startswith("encoder."))
    every = sum(p.numel() for p in net.estimator.parameters())
    assert twice * net.estimator.out.weight.numel() < plain < twice * every + 2 * once


@pytest.mark.skipif(not measuring.forget_peak(), reason="this system forgets no peak")
def test_the_peak_is_of_loading_and_speaking_alone(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def peak(*flags: str) -> float:
        words = ["bench", "--model", folder, "--runs", "1", "--no-cold", "--device", "cpu"]
        assert run([*words, "--json", *flags]) == 0
        return float(json.loads(capsys.readouterr().out)["peak_mib"])

    def filled(
        model: str, place: torch.device, precision: Precision, **flags: bool
    ) -> tuple[Engine, Voice]:
        torch.ones(1 << 27)
        engine = checkpoint.load(model, device="cpu")
        return engine, library.find_voice(engine.default_voice)

    def measured(device: str) -> measuring.Ceilings:
        torch.ones(1 << 27)  # 512 MiB
        return measuring.Ceilings(20.0, 100.0, 200.0)

    without = peak()
    monkeypatch.setattr(measuring, "ceilings", measured)
    assert peak() < without + 256
    monkeypatch.setattr(random_model, "load", filled)
    assert peak("--random-weights") < without + 256
    monkeypatch.setattr(measuring, "forget_peak", lambda device="cpu": False)
    words = ["bench", "--model", folder, "--runs", "1", "--no-cold", "--random-weights"]
    assert run(words) == 0  # rather no figure than one that holds the random numbers
    assert "peak memory" not in capsys.readouterr().out


def test_cold_figures_tell_the_first_sound_from_the_end(
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    speaker = tmp_path / "python"
    speaker.write_text('#!/bin/sh\nsleep 0.2; printf "ab"; sleep 0.5; printf "cd"; exit 0\n')
    speaker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(speaker))
    assert run(["bench", "--model", folder, "--runs", "1", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0.2 <= found["cold"]["first_audio_s"] <= found["cold"]["wall_s"] - 0.4
    assert found["import_s"] >= 0
    assert found["load_s"] > 0


def test_a_gpu_has_finished_when_the_clock_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("waited"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: done.append("forgot"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 << 20)
    clock = measuring.clock_of("cuda")
    assert clock() <= clock()
    measuring.forget_peak("cuda")
    assert done == ["waited", "waited", "forgot"]
    assert measuring.device_peak_mib("cuda") == 3.0
    assert measuring.device_peak_mib("cpu") is None


def test_ceilings_are_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = measuring.ceilings("cpu")
    assert min(found.read_gb_s, found.fp32_gflop_s, found.bf16_gflop_s) > 0


def test_another_process_takes_no_module_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inspect.py").write_text("raise SystemExit('taken for the library')")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([*python_of("voxkit"), "--version"], capture_output=True, check=True)
    assert done.stdout.decode() == f"voxkit {voxkit.__version__}\n"
