"""The commands that need no model start without torch, and soon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "torchaudio", "librosa", "vocos", "onnxruntime", "huggingface_hub", "scipy"}
HEAVY |= {"soundfile", "safetensors", "voxkit.train", "voxkit.cli.train"}


COMMANDS = [
    ["--help"],
    ["--version"],
    ["voices", "list"],
    ["voices", "list", "--json"],
    ["models", "list"],
    ["models", "list", "--json"],
    ["speak", "--help"],
    ["batch", "--help"],
    ["bench", "--help"],
    ["clone", "--help"],
    ["describe", "slowly, a bit sad"],
    ["styles", "list"],
    ["styles", "markup"],
    ["verify", "--help"],
]
PROGRAM = """
import sys
from voxkit.cli.app import run
for words in {commands}:
    status = run(words)
    found = sorted({heavy} & set(sys.modules))
    if status or found:
        sys.exit(f"{{words}}: status {{status}}, imported {{found}}")
"""


def test_commands_without_a_model_import_nothing_heavy(tmp_path: Path) -> None:
    code = PROGRAM.format(commands=COMMANDS, heavy=HEAVY)
    env = {"VOXKIT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert done.stderr.decode() == ""
    assert done.returncode == 0
    assert not list(tmp_path.iterdir()), "looking made files"


def test_the_guard_sees_a_heavy_import(tmp_path: Path) -> None:
    code = "import soundfile\n" + PROGRAM.format(commands=[["--version"]], heavy={"soundfile"})
    env = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert "imported ['soundfile']" in done.stderr.decode()
