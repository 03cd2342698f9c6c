"""Decoders that torch compiles: the same mel, few compilations, Ctrl-C heard."""

from __future__ import annotations

import copy
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from tiny_cosyvoice import FAMILIES, networks, spec_of, voice
from torch import Tensor, nn
from torch._dynamo.utils import counters

from voxkit import checkpoint, cosyvoice
from voxkit.compiling import Apart
from voxkit.decoder import FlowDecoder
from voxkit.modules import linears
from voxkit.modules.compiled import COMPILES, compile_layers
from voxkit.options import Options
from voxkit.precision import Kind
from voxkit.spec import without_quirks
from voxkit.voice import load_voice


@pytest.fixture(autouse=True)
def forgotten() -> None:
    torch._dynamo.reset()
    counters.clear()


def decoder(family: str, blocks: int | None = None) -> tuple[Any, Any]:
    """A decoder of random weights, always the same ones, and a voice for it."""
    if family == "native":
        spec = tiny.SPEC
        if blocks:
            layers = dataclasses.replace(spec.decoder, layers=blocks)
            spec = dataclasses.replace(spec, decoder=layers)
        network = copy.deepcopy(tiny.engine(spec).parts.decoder.network)
        return FlowDecoder(spec, network), tiny.voice(spec=spec)
    spec = without_quirks(spec_of(family))
    if blocks:
        name = "layers" if family == "cosyvoice3" else "middle"
        estimator = dataclasses.replace(spec.decoder.estimator, **{name: blocks})
        flow = dataclasses.replace(spec.decoder, estimator=estimator)
        spec = dataclasses.replace(spec, decoder=flow)
    return cosyvoice.MelDecoder(spec, networks(spec)["decoder"]), voice(spec)


def mel_in_hops(decoder: Any, voice: Any, hop: int) -> Tensor:
    state = decoder.seed(decoder.init_state(voice, Options()), tiny.seeded(1))
    said, made = torch.arange(60) % 20, []
    for start in range(0, 60, hop):
        mel, state = decoder.decode(said[start : start + hop], state, start + hop >= 60)
        made.append(mel)
    return torch.cat(made, dim=2)


@pytest.mark.parametrize(
    ("family", "kind"),
    [*((family, Kind.fp32) for family in FAMILIES), ("cosyvoice3", Kind.bf16)],
)
def test_what_is_compiled_does_what_it_did(
    family: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    plain, speaker = decoder(family)
    other, _ = decoder(family)
    for one in (plain, other):
        linears.pack(one.network, kind, rows=linears.MANY)
    compile_layers(other.network, backend="eager")
    made, wanted = (mel_in_hops(one, speaker, 20) for one in (other, plain))
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=0)
    assert counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize("family", ["native", "cosyvoice2"])
def test_blocks_and_lengths_share_what_is_compiled(family: str) -> None:
    made = {}
    for blocks in (2, 5):
        torch._dynamo.reset()
        counters.clear()
        one, speaker = decoder(family, blocks)
        compile_layers(one.network, backend="eager")
        for hop in (60, 17):
            mel_in_hops(one, speaker, hop)
        made[blocks] = counters["stats"]["unique_graphs"]
    assert made[2] == made[5] > 0


@pytest.mark.parametrize("family", ["native", *FAMILIES])
def test_every_block_is_compiled(family: str) -> None:
    one, _ = decoder(family)
    blocks = [
        m for m in one.network.modules() if type(m).__name__ in ("DitBlock", "AttentionBlock")
    ]
    assert blocks and all(hasattr(block, COMPILES) for block in blocks)
    compile_layers(one.network, backend="eager")
    for block in blocks:
        assert {"before_attention", "after_attention"} <= set(vars(block))


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++ here")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_the_bundled_family_speaks_the_same_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    folder = tiny.folder(tmp_path / "model")
    said = []
    for compile in (False, True):
        engine = checkpoint.load(folder, device="cpu", dtype="fp32", compile=compile)
        anna = load_voice(folder / "voices" / "anna.safetensors")
        said.append(engine.speak("Seven old men walked by.", anna, Options(seed=3)).samples)
    np.testing.assert_allclose(said[0], said[1], atol=1e-3)
    assert any((tmp_path / "hub" / "voxkit" / "compiled").iterdir())


def test_without_a_compiler_it_says_so_in_one_sentence(tmp_path: Path) -> None:
    words = ["speak", "Hello.", "--compile", "-o", str(tmp_path / "a.wav")]
    missing = str(tmp_path / "no-such-compiler")
    kept = {k: v for k, v in os.environ.items() if k != "TORCHINDUCTOR_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-m", "voxkit", *words, "--device", "cpu"],
        env={**kept, "CXX": missing, "HF_HOME": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Nothing can be compiled here (")
    assert done.stderr.endswith("leave --compile out.\n") and done.stderr.count("\n") == 1
    assert not (tmp_path / "a.wav").exists()


def test_work_is_done_in_one_thread_of_its_own() -> None:
    class Telling(FlowDecoder):
        def init_state(self, *given: Any) -> Any:
            threads.add(threading.get_ident())
            return super().init_state(*given)

        def decode(self, *given: Any) -> Any:
            threads.add(threading.get_ident())
            return super().decode(*given)

    threads: set[int] = set()
    plain = tiny.engine().parts.decoder
    apart = Apart(Telling(plain.spec, plain.network))
    assert isinstance(apart.network, nn.Module) and apart.prefers_whole == plain.prefers_whole
    made = mel_in_hops(apart, tiny.voice(), 9)
    assert torch.equal(made, mel_in_hops(plain, tiny.voice(), 9))
    assert len(threads) == 1 and threading.get_ident() not in threads
    assert list(zip(range(4), apart.hops(tiny.voice()), strict=False)) == list(
        zip(range(4), plain.hops(tiny.voice()), strict=False)
    )
