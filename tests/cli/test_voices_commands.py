"""`voxkit clone` and `voxkit voices`: voices are made, listed, shown and removed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Vox = Callable[..., Any]


def test_a_cloned_voice_can_be_spoken_with(vox: Vox, reference: Path, library: Path) -> None:
    result = vox(
        "clone",
        str(reference),
        "--i-have-rights",
        "--name",
        "ada",
        "--text",
        "He turned sharply, and faced Gregson across the table.",
    )
    assert (result.status, result.data) == (0, b"")
    assert "-v ada" in result.err
    assert [p.name for p in library.iterdir()] == ["ada.safetensors"]
    spoken = vox("speak", "Hello.", "-v", "ada", "-o", "a.wav", "--json")
    assert json.loads(spoken.out)["voice"] == "ada"


def test_clone_reports_one_object(vox: Vox, reference: Path, library: Path) -> None:
    result = vox("clone", str(reference), "--i-have-rights", "--name", "ada", "--json", "-q")
    report = json.loads(result.out)
    assert result.err == ""
    assert (report["name"], report["path"]) == ("ada", str(library / "ada.safetensors"))
    assert (report["model"], report["transcript"]) == ("voxkit-en", "Once upon a time.")
    assert report["recordings"][0]["speech_s"] > 3


def test_a_voice_is_replaced_only_with_force(vox: Vox, reference: Path, checkpoint: Any) -> None:
    vox("clone", str(reference), "--i-have-rights", "--name", "ada")
    result = vox("clone", str(reference), "--i-have-rights", "--name", "ada")
    assert result.status == 1
    assert "--force" in result.err
    assert len(checkpoint.loads) == 1
    assert vox("clone", str(reference), "--i-have-rights", "--name", "ada", "-f").status == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [("anna", "built-in"), ("../ada", "cannot name a voice"), ("", "cannot name a voice")],
)
def test_a_name_that_cannot_be_had_is_refused_first(
    vox: Vox, reference: Path, checkpoint: Any, name: str, says: str
) -> None:
    result = vox("clone", str(reference), "--i-have-rights", "--name", name)
    assert result.status == 1
    assert says in result.err
    assert result.err.count("\n") == 1
    assert not checkpoint.loads


def test_a_useless_recording_makes_no_voice(vox: Vox, library: Path, checkpoint: Any) -> None:
    Path("ref.wav").write_bytes(b"not a sound")
    result = vox("clone", "ref.wav", "--name", "ada")
    assert result.status == 1
    assert re.fullmatch(r"Error: [^\n]+\.\n", result.err)
    assert not checkpoint.loads
    assert not library.exists()


def test_voices_are_listed_as_tab_separated_values_in_a_pipe(vox: Vox, reference: Path) -> None:
    vox("clone", str(reference), "--i-have-rights", "--name", "ada")
    rows = [row.split("\t") for row in vox("voices", "list").out.splitlines()]
    assert [row[:2] for row in rows] == [
        ["ada", "yours"],
        ["anna", "built-in"],
        ["bert", "built-in"],
    ]
    assert {len(row) for row in rows} == {4}


def test_voices_are_listed_as_a_table_on_a_terminal(vox: Vox, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    result = vox("voices", "list")
    assert re.search(r"NAME +KIND +LANGUAGE +DESCRIPTION", result.out)
    assert re.search(r"anna +built-in +en", result.out)


def test_voices_are_listed_as_json(vox: Vox) -> None:
    listed = json.loads(vox("voices", "list", "--json").out)
    assert [(v["name"], v["builtin"], v["attributes"]) for v in listed] == [
        ("anna", True, {"pitch_hz": 220.0}),
        ("bert", True, {"pitch_hz": 110.0}),
    ]


def test_a_damaged_voice_is_listed_with_its_problem(vox: Vox, library: Path) -> None:
    library.mkdir(parents=True)
    (library / "odd.safetensors").write_bytes(b"x" * 100)
    listed = {v["name"]: v for v in json.loads(vox("voices", "list", "--json").out)}
    assert "not a voice file" in listed["odd"]["problem"]
    assert "not a voice file" in vox("voices", "list").out
    result = vox("speak", "Hello.", "-v", "odd", "-o", "a.wav")
    assert (result.status, "not a voice file" in result.err) == (1, True)


def test_one_voice_is_shown_with_all_that_is_known(vox: Vox) -> None:
    facts = dict(row.split("\t", 1) for row in vox("voices", "show", "anna").out.splitlines())
    assert facts["name"] == "anna"
    assert facts["made_by"] == "fake:0001"
    assert facts["transcript"] == "Once upon a time."
    assert facts["attributes"] == "pitch_hz 220"
    assert json.loads(vox("voices", "show", "anna", "--json").out)["token_count"] == 4


def test_a_removed_voice_is_gone(vox: Vox, reference: Path, library: Path) -> None:
    vox("clone", str(reference), "--i-have-rights", "--name", "ada")
    assert vox("voices", "rm", "ada", stdin=b"").status == 0
    assert list(library.iterdir()) == []


@pytest.mark.parametrize(("answer", "stays"), [(b"n\n", True), (b"", True), (b"y\n", False)])
def test_on_a_terminal_removal_is_asked_about(
    vox: Vox, reference: Path, library: Path, answer: bytes, stays: bool
) -> None:
    vox("clone", str(reference), "--i-have-rights", "--name", "ada")
    result = vox("voices", "rm", "ada", typed=answer)
    assert "Remove the voice 'ada'" in result.err
    assert result.status == int(stays)
    assert (library / "ada.safetensors").exists() is stays


def test_yes_spares_the_question(vox: Vox, reference: Path, library: Path) -> None:
    vox("clone", str(reference), "--i-have-rights", "--name", "ada")
    result = vox("voices", "rm", "ada", "-y", typed=b"")
    assert "?" not in result.err
    assert list(library.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rm", "anna", "-y"), "built in"),
        (("rm", "ana", "-y"), "anna"),
        (("show", "ana"), "anna"),
        (("rm", "../../etc", "-y"), "cannot name"),
    ],
)
def test_voices_that_are_not_there_or_stay_are_one_sentence(
    vox: Vox, words: tuple[str, ...], says: str
) -> None:
    result = vox("voices", *words)
    assert result.status == 1
    assert says in result.err
    assert result.err.count("\n") == 1


def test_models_are_listed_with_size_and_place(vox: Vox) -> None:
    row = vox("models", "list").out.rstrip("\n").split("\t")
    assert row == ["voxkit-en", "native", "21.0 MB", "bundled", "Small English model"]
    listed = json.loads(vox("models", "list", "--json").out)
    assert listed[0]["path"] == "/models/voxkit-en"
