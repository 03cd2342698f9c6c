"""`voxkit describe` and `voxkit styles`: what was understood, what each model is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from voxkit.cli import styles
from voxkit.errors import VoxkitError
from voxkit.instruct import FAMILIES
from voxkit.markup import HONOURED
from voxkit.presets import style_presets

APP = typer.Typer()
APP.add_typer(styles.app, name="styles")
APP.command("describe")(styles.describe)


@pytest.fixture(autouse=True)
def no_presets_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXKIT_HOME", str(tmp_path))


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(APP, list(arguments))


def _json(*arguments: str) -> Any:
    result = _run(*arguments, "--json")
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_describe_tells_what_was_understood_and_what_was_not() -> None:
    out = _run("describe", "slowly, like a pirate").stdout
    assert "“slowly”: rate ×0.80" in out
    assert "“pirate”: not understood, and never read aloud" in out
    assert all(f"\n{family}:" in out for family in FAMILIES)


def test_describe_sends_wishes_about_the_speaker_to_the_voice() -> None:
    assert "“old man”: not understood, and never read aloud: that is a matter of the voice" in (
        _run("describe", "an old man").stdout
    )


def test_describe_says_what_a_model_cannot_do() -> None:
    out = _run("describe", "用四川话").stdout
    assert "cannot: dialect sichuan" in out
    assert "told in words: 用四川话说这句话" in out


def test_describe_reports_the_same_as_json() -> None:
    report = _json("describe", "very sad, 20% faster, sarcastic")
    assert report["style"] == {"rate": 1.2, "emotion": "sad", "emotion_strength": 1.5}
    assert report["ignored"] == ["sarcastic"]
    assert [model["family"] for model in report["models"]] == list(FAMILIES)
    assert all(model["controls"]["rate"] == 1.2 for model in report["models"])


def test_an_empty_description_is_wrong_usage() -> None:
    assert _run("describe", " ").exit_code == 2


def test_the_list_shows_every_style() -> None:
    lines = _run("styles", "list").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [preset.name for preset in style_presets()]
    assert [row["name"] for row in _json("styles", "list")] == [p.name for p in style_presets()]


def test_a_bad_file_of_the_users_is_told_and_hides_no_other(tmp_path: Path) -> None:
    whole = [preset.name for preset in style_presets()]
    folder = tmp_path / "presets" / "styles"
    folder.mkdir(parents=True)
    (folder / "broken.toml").write_text("name = ")
    result = _run("styles", "list")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == whole
    assert result.exit_code == 0
    assert "broken.toml is not valid TOML" in result.stderr


def test_one_style_is_shown_with_its_numbers_and_its_file() -> None:
    out = _run("styles", "show", "slow").stdout
    assert "rate ×0.80" in out
    assert "slow.toml" in out
    assert _json("styles", "show", "slow")["style"]["rate"] == 0.8


def test_an_unknown_style_is_an_error_with_the_nearest_name() -> None:
    result = _run("styles", "show", "chearful")
    assert isinstance(result.exception, VoxkitError)
    assert "cheerful" in str(result.exception)


def test_the_table_of_markup_is_printed_whole() -> None:
    assert len(_run("styles", "markup").stdout.splitlines()) == len(HONOURED)
    assert _json("styles", "markup")[0]["native"] == HONOURED[0].native
