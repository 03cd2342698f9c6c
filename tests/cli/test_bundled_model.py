"""The commands with the model that comes with voxkit, through a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import voxkit
from voxkit.audio import read_audio
from voxkit.library import BUILTIN_FOLDER

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "voxkit" / "assets" / "voxkit-en"
Done = subprocess.CompletedProcess[bytes]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run `python -m voxkit` in an empty folder with an empty library."""
    home = tmp_path / "home"
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("VOXKIT_HOME", str(home))
    monkeypatch.chdir(work)
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def command(*words: str, stdin: bytes = b"") -> Done:
        program = [sys.executable, "-m", "voxkit", *words]
        return subprocess.run(program, input=stdin, env=env, capture_output=True, check=False)

    return command


def good(done: Done) -> Done:
    """Return the process if it did what it should, and quietly."""
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done


def test_the_model_comes_with_voices_and_a_default() -> None:
    names = {path.stem for path in BUILTIN_FOLDER.glob("*.safetensors")}
    assert len(names) >= 2
    assert (MODEL / "default_voice.txt").read_text(encoding="utf-8").strip() in names


def test_it_speaks(run: Callable[..., Done]) -> None:
    good(run("speak", "Hello from voxkit.", "-o", "hello.wav", "--seed", "1"))
    audio = read_audio(Path("hello.wav"))
    assert audio.sample_rate == 24_000
    assert 0.6 < audio.seconds < 5  # three words, calm or hurried
    assert np.sqrt(np.square(audio.samples).mean()) > 0.005  # well above silence


def test_batch_speak_and_stream_say_a_line_alike(run: Callable[..., Done]) -> None:
    lines = b"The kettle is on.\nOne, two, three.\n"
    good(run("batch", "-", "-o", "out", "--seed", "7", "--jobs", "2", stdin=lines))
    rows = Path("out/manifest.jsonl").read_text(encoding="utf-8").splitlines()
    entry = json.loads(rows[0])
    seed = ("--seed", str(entry["seed"]))
    good(run("speak", entry["text"], "-o", "alone.wav", *seed))
    together = read_audio(Path("out") / entry["path"]).samples
    assert np.array_equal(together, read_audio(Path("alone.wav")).samples)
    raw = good(run("speak", "-", "-o", "-", "--raw", *seed, stdin=entry["text"].encode())).stdout
    streamed = np.frombuffer(raw, "<i2") / np.float32(32768)
    assert np.abs(streamed - together).max() <= 1 / 32768  # the rounding of 16-bit samples
    again = good(run("batch", "-", "-o", "out", "--seed", "7", "--json", stdin=lines))
    report = json.loads(again.stdout)
    assert (report["made"], report["kept"]) == (0, 2)


def test_a_voice_is_cloned_from_its_own_speech(run: Callable[..., Done]) -> None:
    text = "Please call Stella and ask her to bring these things from the store."
    good(run("speak", text, "-o", "ref.wav", "--seed", "1"))
    good(run("clone", "ref.wav", "--name", "ada", "--text", text))
    listed = json.loads(good(run("voices", "list", "--json")).stdout)
    assert "ada" in {v["name"] for v in listed}
    report = good(run("speak", "Hello there.", "-v", "ada", "-o", "ada.flac", "--json")).stdout
    assert json.loads(report)["voice"] == "ada"
    assert read_audio(Path("ada.flac")).seconds > 0.3


@pytest.mark.parametrize("text", ["", "?!", "🎉🎉", "\x07\x1b", "x" * 1_000_000])
def test_text_that_cannot_be_said_is_one_sentence(run: Callable[..., Done], text: str) -> None:
    done = run("speak", "-o", "a.wav", stdin=text.encode())
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert not list(Path().iterdir())


def test_the_readme_program_runs(run: Callable[..., Done], tmp_path: Path) -> None:
    engine = voxkit.load("voxkit-en", threads=1)
    voice = voxkit.find_voice(engine.default_voice)
    audio = engine.speak("Hello from Python.", voice, voxkit.Options(seed=7))
    pieces = list(engine.stream("Hello from Python.", voice, voxkit.Options(seed=7)))
    assert np.array_equal(np.concatenate([p.samples for p in pieces]), audio.samples)
    voxkit.write_audio(tmp_path / "hello.wav", audio)
    assert read_audio(tmp_path / "hello.wav").seconds == pytest.approx(audio.seconds)


def test_speaking_imports_only_what_it_needs(tmp_path: Path) -> None:
    program = (
        "import sys; from voxkit.cli.app import run; "
        "status = run(['speak', 'Hello.', '-o', 'out.wav', '--quiet', '--seed', '0']); "
        "heavy = {'torchaudio', 'librosa', 'vocos', 'onnxruntime', 'huggingface_hub', 'scipy'}; "
        "print(status, sorted(heavy & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT), "VOXKIT_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, check=False
    )
    assert done.stdout.decode().split("\n")[0] == "0 []", done.stderr.decode()
