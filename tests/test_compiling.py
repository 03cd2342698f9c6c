"""Decoders that torch compiles: the same mel, few compilations, Ctrl-C heard."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from tiny_cosyvoice import FAMILIES, networks, spec_of, voice
from torch import Tensor
from torch._dynamo.utils import counters

from voxkit import checkpoint, cosyvoice
from voxkit.compiling import CACHE, Apart
from voxkit.decoder import FlowDecoder
from voxkit.errors import ModelError
from voxkit.modules import linears
from voxkit.modules.compiled import COMPILES, compile_layers
from voxkit.options import Options
from voxkit.precision import Kind
from voxkit.spec import without_quirks
from voxkit.voice import load_voice


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


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


def test_lines_together_share_what_is_compiled_for_one(tmp_path: Path) -> None:
    """Nothing reads or decodes on another number of cores, for which all would be compiled anew."""
    folder, made, threads = tiny.folder(tmp_path / "m"), [], torch.get_num_threads()
    voice = load_voice(folder / "voices" / "anna.safetensors")
    lines = ["One line of text here.", "Two. And three.", "What a day it was."]
    try:
        torch.set_num_threads(2)
        for together in (0, 3):
            torch._dynamo.reset()
            counters.clear()
            engine = checkpoint.load(folder, device="cpu", dtype="fp32", together=together)
            compile_layers(engine.parts.decoder.network, backend="eager")
            tasks = [partial(engine.speak, line, voice, Options(seed=1)) for line in lines]
            if engine.company is None:
                assert all(task().seconds > 0.1 for task in tasks)
            else:
                engine.company.run(tasks, lambda index, future: future.result())
            made.append(counters["stats"]["unique_graphs"])
    finally:
        torch.set_num_threads(threads)
    assert made[0] == made[1] > 0


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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(CACHE, "")  # and so restored after
    folder = tiny.folder(tmp_path / "model")
    said = []
    for compile in (False, True):
        engine = checkpoint.load(folder, device="cpu", dtype="fp32", compile=compile)
        anna = load_voice(folder / "voices" / "anna.safetensors")
        said.append(engine.speak("Seven old men walked by.", anna, Options(seed=3)).samples)
    np.testing.assert_allclose(said[0], said[1], atol=1e-3)
    code = tmp_path / "cache" / "voxkit" / "compiled"
    assert any(code.iterdir()) and code.stat().st_mode & 0o777 == 0o700
    code.chmod(0o777)
    monkeypatch.setenv(CACHE, "")
    with pytest.raises(ModelError, match="is not for you alone"):
        checkpoint.load(folder, device="cpu", compile=True)


def spoken_compiled(tmp_path: Path, **env: str) -> subprocess.Popen[str]:
    """`voxkit speak --compile` in a process of its own, that never compiled anything before."""
    kept = {k: v for k, v in os.environ.items() if k != CACHE}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "voxkit"),
            *"speak Hello. --compile --device cpu -o".split(),
            str(tmp_path / "a.wav"),
        ],
        env={**kept, "XDG_CACHE_HOME": str(tmp_path / "cache"), **env},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_without_a_compiler_it_says_so_in_one_sentence(tmp_path: Path) -> None:
    process = spoken_compiled(tmp_path, CXX=str(tmp_path / "no-such-compiler"))
    _, said = process.communicate(timeout=100)
    assert process.returncode == 1
    assert said.startswith("Error: Nothing can be compiled here (")
    assert said.endswith("leave --compile out.\n") and said.count("\n") == 1
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++ here")
def test_ctrl_c_while_it_compiles_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    process = spoken_compiled(tmp_path)
    code = tmp_path / "cache" / "voxkit" / "compiled"
    while len(list(code.glob("**/*.so"))) < 1:  # the trial is over, or nearly
        time.sleep(0.1)
        assert process.poll() is None
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert (process.returncode, said) == (130, "Error: Interrupted.\n")
    assert not list(tmp_path.glob("a.wav*"))


class Telling(FlowDecoder):
    """A decoder that tells in which thread it works, with how many threads."""

    def decode(self, tokens: Tensor, state: Any, last: bool) -> Any:
        told.add((threading.get_ident(), torch.get_num_threads()))
        if not len(tokens):
            raise ValueError("nothing to decode")
        return super().decode(tokens, state, last)


told: set[tuple[int, int]] = set()


def test_work_is_done_in_one_thread_of_its_own() -> None:
    plain, speaker = tiny.engine().parts.decoder, tiny.voice()
    apart = Apart(Telling(plain.spec, plain.network))
    assert apart.network is plain.network and apart.prefers_whole == plain.prefers_whole
    wanted, before = mel_in_hops(plain, speaker, 9), torch.get_num_threads()
    told.clear()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            torch.testing.assert_close(mel_in_hops(apart, speaker, 9), wanted)
        with ThreadPoolExecutor(3) as pool:  # as requests of a batch do
            many = list(pool.map(lambda _: mel_in_hops(apart, speaker, 9), range(6)))
    finally:
        torch.set_num_threads(before)
    for made in many:
        torch.testing.assert_close(made, wanted)
    assert len({thread for thread, _ in told} - {threading.get_ident()}) == 1
    assert {count for _, count in told} == {1, 2}
    some, every = (list(itertools.islice(d.hops(speaker), 4)) for d in (apart, plain))
    assert some == every


def test_what_goes_wrong_there_is_raised_here() -> None:
    plain = tiny.engine().parts.decoder
    apart = Apart(Telling(plain.spec, plain.network))
    state = apart.seed(apart.init_state(tiny.voice(), Options()), tiny.seeded(1))
    with pytest.raises(ValueError, match="nothing to decode"):
        apart.decode(torch.zeros(0), state, True)
    assert apart.decode(torch.arange(5), state, True)[0].shape[2] == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_a_thread_of_its_own() -> None:
    code = """
import os, sys, tiny
from voxkit.compiling import CACHE, Apart
from voxkit.options import Options
import torch
torch.set_num_threads(1)
apart = Apart(tiny.engine().parts.decoder)
for _ in range(2):
    state = apart.seed(apart.init_state(tiny.voice(), Options()), tiny.seeded(1))
    assert apart.decode(torch.arange(5), state, True)[0].shape[2] == 10
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=100)
