"""Runs the command line against a fake model and a library of voices in a temporary folder."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_checkpoint, voice

import voxkit
import voxkit.library
from voxkit.audio import write_audio
from voxkit.cli.app import run
from voxkit.voice import load_voice, save_voice

TESTS = Path(__file__).parents[1]
ASSETS = TESTS.parent / "voxkit" / "assets" / "voxkit-en"


@dataclass(frozen=True)
class Result:
    """What a command line gave back."""

    status: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        """stdout as text."""
        return self.data.decode()


class Terminal(io.TextIOWrapper):
    """Standard input that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake `voxkit.checkpoint`."""
    module = fake_checkpoint()
    monkeypatch.setitem(sys.modules, "voxkit.checkpoint", module)
    monkeypatch.setattr(voxkit, "checkpoint", module, raising=False)
    return module


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's library, empty, beside two built-in voices."""
    home, builtin = tmp_path / "home", tmp_path / "builtin"
    builtin.mkdir()
    for name, pitch in (("anna", 220.0), ("bert", 110.0)):
        save_voice(voice(name, pitch), builtin / f"{name}.safetensors")
    monkeypatch.setattr(voxkit.library, "BUILTIN_FOLDER", builtin)
    monkeypatch.setenv("VOXKIT_HOME", str(home))
    return home / "voices"


@pytest.fixture
def vox(
    checkpoint: Any,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Callable[..., Result]:
    """Run a command line in this process, in an empty folder, stdin a terminal unless given."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def command(*words: str, stdin: bytes | None = None, typed: bytes = b"") -> Result:
        source = Terminal(io.BytesIO(typed)) if stdin is None else None
        stream = source or io.TextIOWrapper(io.BytesIO(stdin or b""))
        monkeypatch.setattr(sys, "stdin", stream)
        capfdbinary.readouterr()
        status = run(words)
        data, err = capfdbinary.readouterr()
        return Result(status, data, err.decode())

    return command


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A recording to clone from: what a built-in voice keeps of Kathleen's, a few seconds."""
    path = tmp_path / "reference.wav"
    kept = load_voice(ASSETS / "voices" / "kathleen.safetensors").reference
    assert kept is not None
    write_audio(path, kept)
    return path


@pytest.fixture
def process(library: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the command line with the fake model in a process of its own."""

    def start(words: str, **options: Any) -> subprocess.Popen[bytes]:
        code = (
            "import fake_engine, pathlib, voxkit.library; fake_engine.install(); "
            f"voxkit.library.BUILTIN_FOLDER = pathlib.Path({str(tmp_path / 'builtin')!r}); "
            "from voxkit.cli.app import main; main()"
        )
        shell = words.replace("voxkit ", f'{sys.executable} -c "$CODE" ')
        env = os.environ | {
            "CODE": code,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        }
        return subprocess.Popen(
            ["bash", "-c", shell],
            env=env,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    return start
