"""The commands that need no model start without torch, and soon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "torchaudio", "librosa", "vocos", "onnxruntime", "huggingface_hub", "scipy"}


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "speak --help",
        "batch --help",
        "clone --help",
        "voices list",
        "voices list --json",
        "models list",
        "models list --json",
    ],
)
def test_commands_without_a_model_import_nothing_heavy(words: str, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from voxkit.cli.app import run\n"
        f"status = run({words.split()!r})\n"
        f"found = sorted({HEAVY!r} & set(sys.modules))\n"
        "sys.exit(f'imported: {found}' if found else status)\n"
    )
    env = {"VOXKIT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert done.stderr.decode() == ""
    assert done.returncode == 0
    assert not list(tmp_path.iterdir()), "looking made files"
