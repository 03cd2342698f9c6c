"""Presets: strictly read, the user's own first, unknown names answered with the nearest."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxkit import presets
from voxkit.errors import VoiceError, VoxkitError
from voxkit.instruct import FAMILIES, NEUTRAL, render
from voxkit.presets import (
    preset_folder,
    style_preset,
    style_presets,
    voice_preset,
    voice_presets,
)

STYLE = 'name = "{name}"\ndescription = "Mine"\n'
VOICE = """\
name = "ann"
description = "Warm"
language = "en"
gender = "female"
age = "adult"
accent = "American"
source = "A corpus"
licence = "CC0-1.0"
credit = "Ann"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's presets in a temporary folder."""
    monkeypatch.setenv("VOXKIT_HOME", str(tmp_path))
    (tmp_path / "presets" / "styles").mkdir(parents=True)
    (tmp_path / "presets" / "voices").mkdir()
    return tmp_path / "presets"


def _style(home: Path, text: str, name: str = "mine") -> Path:
    path = home / "styles" / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_dozen_styles_come_with_voxkit() -> None:
    names = {preset.name for preset in style_presets()}
    assert len(names) >= 12
    assert names >= {"news", "story", "whisper", "cheerful", "calm", "sad", "angry", "excited"}
    assert names >= {"slow", "fast", "shout", "audiobook", "assistant"}


@pytest.mark.parametrize("preset", style_presets(), ids=lambda preset: preset.name)
def test_every_packaged_style_changes_something_and_can_be_rendered(
    preset: presets.StylePreset,
) -> None:
    assert preset.style.settings()
    assert not preset.own
    for family in FAMILIES:
        assert render(preset.style, family) != render(NEUTRAL, family)


def test_a_style_of_the_users_shadows_the_packaged_one(home: Path) -> None:
    _style(home, STYLE.format(name="news") + "[style]\nrate = 2\n", "news")
    preset = style_preset("news")
    assert (preset.style.rate, preset.own) == (2.0, True)
    assert [p.own for p in style_presets() if p.name == "news"] == [True]


def test_a_style_may_be_given_in_words_with_numbers_on_top(home: Path) -> None:
    _style(home, STYLE.format(name="mine") + 'words = "slowly, sad"\n[style]\nrate = 0.9\n')
    assert style_preset("mine").style.settings() == {"rate": 0.9, "emotion": "sad"}


def test_a_number_in_a_preset_is_exact(home: Path) -> None:
    _style(home, STYLE.format(name="mine") + "[style]\nrate = 0.7\n")
    for family in FAMILIES:
        assert render(style_preset("mine").style, family).controls.rate == 0.7


def test_a_name_is_found_in_any_case() -> None:
    assert style_preset(" News ").name == "news"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('name = "mine"\n', "description is missing"),
        (STYLE.format(name="other"), "name must be 'mine'"),
        (STYLE.format(name="mine") + "colour = 1\n", "colour is not a key"),
        (STYLE.format(name="mine") + "[style]\nrat = 1.2\n", "style.rat .* did you mean rate"),
        (STYLE.format(name="mine") + '[style]\nrate = "fast"\n', "style.rate must be a number"),
        (STYLE.format(name="mine") + "[style]\nrate = true\n", "style.rate must be a number"),
        (STYLE.format(name="mine") + "[style]\nrate = 9\n", "style.rate must be between"),
        (STYLE.format(name="mine") + "[style]\nrate = nan\n", "style.rate must be between"),
        (STYLE.format(name="mine") + f"[style]\nrate = {10**400}\n", "style.rate must be"),
        (STYLE.format(name="mine") + '[style]\nemotion = "mad"\n', "style.emotion must be one of"),
        (STYLE.format(name="mine") + "style = 3\n", "style must be a table"),
        (STYLE.format(name="mine") + 'words = "like a pirate"\n', "words: .*'pirate'"),
        ('name = "mine"\ndescription = " "\n', "description must not be empty"),
        ("name = mine", "not valid TOML.*line 1"),
    ],
)
def test_a_wrong_style_file_is_told_by_file_and_key(home: Path, text: str, what: str) -> None:
    path = _style(home, text)
    with pytest.raises(VoxkitError, match=what) as error:
        style_preset("mine")
    assert str(path) in str(error.value)


def test_a_file_that_is_not_text_is_refused(home: Path) -> None:
    (home / "styles" / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(VoxkitError, match="not valid TOML"):
        style_preset("mine")


def test_one_broken_file_does_not_break_the_other_styles(home: Path) -> None:
    _style(home, "broken")
    assert style_preset("news").name == "news"
    with pytest.raises(VoxkitError, match="mine.toml"):
        style_presets()


@pytest.mark.parametrize("name", ["chearful", "cheerfull", "Cherful"])
def test_an_unknown_style_is_answered_with_the_nearest_name(name: str) -> None:
    with pytest.raises(VoxkitError, match="did you mean cheerful"):
        style_preset(name)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("x = " + "[" * 9_999, "is not valid TOML"),
        ("x = " + "9" * 9_999, "is not valid TOML"),
        ("[style]\nrate = " + "9" * 400, "style.rate must be a smaller number"),
    ],
)
def test_what_python_cannot_hold_is_no_preset(home: Path, line: str, says: str) -> None:
    path = _style(home, STYLE.format(name="mine") + line)
    with pytest.raises(VoxkitError, match=says) as caught:
        style_preset("mine")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["", "../news", "/etc/passwd", "zzz" * 99])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(VoxkitError, match="no style called"):
        style_preset(name)


def test_a_voice_is_read_with_its_credit(home: Path) -> None:
    (home / "voices" / "ann.toml").write_text(VOICE + "pitch_hz = 210\n", encoding="utf-8")
    preset = voice_preset("ann")
    assert (preset.gender, preset.licence, preset.credit) == ("female", "CC0-1.0", "Ann")
    assert preset.pitch_hz == 210.0
    assert "ann" in {p.name for p in voice_presets()}


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('licence = "CC0-1.0"\n', "", "licence is missing"),
        ('gender = "female"', 'gender = "robot"', "gender must be one of female"),
        ('age = "adult"', 'age = "42"', "age must be one of child"),
        ('age = "adult"', "age = 42", "age must be text"),
        ('age = "adult"', 'age = "adult"\npitch_hz = 3', "pitch_hz must be between"),
    ],
)
def test_a_wrong_voice_file_is_told_by_its_key(home: Path, old: str, new: str, what: str) -> None:
    (home / "voices" / "ann.toml").write_text(VOICE.replace(old, new), encoding="utf-8")
    with pytest.raises(VoxkitError, match=what):
        voice_preset("ann")


def test_an_unknown_voice_is_a_voice_error(home: Path) -> None:
    (home / "voices" / "ann.toml").write_text(VOICE, encoding="utf-8")
    with pytest.raises(VoiceError, match="did you mean ann"):
        voice_preset("anne")


def test_the_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preset_folder() == tmp_path / "presets"
    monkeypatch.delenv("VOXKIT_HOME")
    monkeypatch.setattr(presets.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert preset_folder() == tmp_path / "config" / "voxkit" / "presets"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert preset_folder() == tmp_path / ".config" / "voxkit" / "presets"
