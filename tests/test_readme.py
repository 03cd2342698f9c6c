"""The README is true: its map, its links, its commands and its set-up lines."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from voxkit.markup import HONOURED

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^##+ (.+)$", README, re.MULTILINE)
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = sorted(
    {
        line.split("#")[0].split("|")[-1].split("&&")[-1].strip()
        for language, block in BLOCKS
        if language == "sh"
        for line in block.splitlines()
        if re.search(r"\bvoxkit \w", line)
    }
)


def anchor(heading: str) -> str:
    """The link target of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "command",
    [
        'pip install . && voxkit speak "Hello from voxkit." -o hello.wav',
        'pip install ".[dev]" && pytest',
    ],
)
def test_the_two_set_up_commands_stand_there_alone(command: str) -> None:
    assert ("sh", f"{command}\n") in BLOCKS


def test_the_file_map_is_what_the_tree_says() -> None:
    program = [sys.executable, str(ROOT / "scripts" / "filemap")]
    table = subprocess.run(program, capture_output=True, check=True).stdout.decode()
    assert table in README, "run scripts/filemap --write"


def test_the_file_map_lists_every_file_once() -> None:
    listed = re.findall(r"^\| `(voxkit/\S+\.py)` \| \S", README, re.MULTILINE)
    files = [f.relative_to(ROOT).as_posix() for f in (ROOT / "voxkit").rglob("*.py")]
    assert sorted(listed) == sorted(files)


def test_the_table_of_markup_is_what_the_code_honours() -> None:
    rows = [
        [f"`{cell}`" if i == 0 else cell for i, cell in enumerate(dataclasses.astuple(row))]
        for row in HONOURED
    ]
    cells = [["Markup", "voxkit-en", "CosyVoice 2", "Fun-CosyVoice 3"], ["---"] * 4, *rows]
    table = "".join(f"| {' | '.join(row)} |\n" for row in cells)
    table = table.replace("| --- | --- | --- | --- |", "|---|---|---|---|")
    shown = README.partition("<!-- markup: checked by tests/test_readme.py -->\n")[2]
    assert shown.partition("<!-- end of markup -->")[0] == table


def test_the_contents_list_every_section_in_order() -> None:
    contents = re.findall(r"^- \[(.+)\]\(#(.+)\)$", README, re.MULTILINE)
    sections = [h for h in HEADINGS if h != "Contents"]
    assert contents == [(heading, anchor(heading)) for heading in sections]


def test_every_link_leads_somewhere() -> None:
    prose = re.sub(r"```.*?^```$|`[^`\n]*`", "", README, flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)#\s]+)\)", prose)
    assert len(targets) > 3
    for target in targets:
        if "://" not in target:
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_shown_exists_with_its_options(line: str) -> None:
    from voxkit.cli.app import app

    words = shlex.split(line.split(">")[0])
    command = typer.main.get_command(app)
    assert words.pop(0) == "voxkit"
    while hasattr(command, "get_command"):  # a group
        command = command.get_command(None, words.pop(0))
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if re.match(r"--?\w", word)} <= known


def test_the_python_shown_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = "\n".join(block for language, block in BLOCKS if language == "python")
    program = f"{shown}\nprint(voxkit.read_audio(Path('hello.wav')).seconds > 0.5)\n"
    command = [sys.executable, "-c", program]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *pieces, heard = done.stdout.splitlines()
    assert pieces and all(piece.endswith(" s") for piece in pieces)
    assert heard == "True"
