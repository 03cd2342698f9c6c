"""The programs in `examples/` are short, and do with the bundled model what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxkit.audio import Audio, read_audio, write_audio

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(p for p in (ROOT / "examples").iterdir() if p.suffix in (".py", ".sh"))


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Run one example in an empty folder and return its stdout."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "voxkit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m voxkit "$@"\n')
    (programs / "voxkit").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    env = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "VOXKIT_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }

    def run(name: str, *words: str) -> bytes:
        program = [sys.executable] if name.endswith(".py") else ["sh"]
        command = [*program, str(ROOT / "examples" / name), *words]
        done = subprocess.run(command, env=env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short_say_what_they_do_and_are_run_here(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert text.startswith('"""' if path.suffix == ".py" else "#!/bin/sh\n# ")
    assert f'example("{path.name}"' in Path(__file__).read_text(encoding="utf-8")


def test_python_speaks_into_a_file(example: Callable[..., bytes]) -> None:
    out = example("speak.py", "Good morning.", "morning.wav").decode()
    assert out == f"morning.wav: {read_audio(Path('morning.wav')).seconds:.1f} s\n"


def test_python_streams_samples(example: Callable[..., bytes]) -> None:
    samples = np.frombuffer(example("stream.py", "Good morning."), np.int16)
    assert len(samples) > 24_000 // 2
    assert np.abs(samples).max() > 1000


def test_python_speaks_what_is_still_being_written(example: Callable[..., bytes]) -> None:
    said = example("converse.py", "story.wav").decode()
    assert said.startswith("said until then: Once there was")
    assert read_audio(Path("story.wav")).seconds > 4.0


def test_python_clones_a_voice(example: Callable[..., bytes]) -> None:
    time = np.arange(3 * 24_000) / 24_000
    syllables = np.clip(np.sin(2 * np.pi * 2 * time), 0, 1)
    buzz = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 12))
    write_audio(Path("ref.wav"), Audio((0.2 * syllables * buzz).astype(np.float32), 24_000))
    example("clone.py", "ref.wav")
    assert Path("guest.safetensors").is_file()
    assert read_audio(Path("guest.wav")).seconds > 0.5


def test_python_lets_two_voices_talk(example: Callable[..., bytes]) -> None:
    (said,) = example("dialogue.py", "talk.wav").decode().splitlines()
    seconds = read_audio(Path("talk.wav")).seconds
    assert said == f"talk.wav: {seconds:.1f} s, 5 parts"


def test_the_shell_speaks_lines(example: Callable[..., bytes]) -> None:
    report = json.loads(example("batch.sh"))
    assert (report["lines"], report["made"], report["kept"]) == (3, 0, 3)
    assert len(list(Path("chapter").glob("*.wav"))) == 3


def test_the_shell_pipes(example: Callable[..., bytes]) -> None:
    assert int(example("pipe.sh")) > 24_000
    assert Path("speech.s16le").stat().st_size > 24_000


def test_the_shell_clones_a_voice(example: Callable[..., bytes]) -> None:
    assert b"guest" in example("clone.sh")
    assert read_audio(Path("guest.wav")).seconds > 0.5
