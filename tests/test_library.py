"""The library finds the voice that is meant, and is changed without losing one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_engine
import numpy as np
import pytest

from voxkit import library as library_module
from voxkit.errors import OutputError, VoiceError
from voxkit.library import (
    add_voice,
    find_voice,
    library_folder,
    library_path,
    list_voices,
    remove_voice,
    rename_voice,
    voice_files,
    voice_path,
)
from voxkit.voice import Voice, save_voice


def make_voice(name: str, **changes: Any) -> Voice:
    return dataclasses.replace(fake_engine.voice(name), **({"description": "bright"} | changes))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "ada.safetensors"
    save_voice(make_voice("ada"), path)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library with the built-in voices ada and max, and none of the user's."""
    builtin = tmp_path / "builtin"
    builtin.mkdir()
    for name in ("ada", "max"):
        save_voice(make_voice(name), builtin / f"{name}.safetensors")
    monkeypatch.setattr(library_module, "BUILTIN_FOLDER", builtin)
    monkeypatch.setenv("VOXKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "voices"


def test_voices_are_listed_by_name_with_the_built_in_ones(home: Path) -> None:
    add_voice(make_voice("Karl"))
    voices = list_voices()
    assert [(v.name, v.builtin) for v in voices] == [("ada", True), ("Karl", False), ("max", True)]


def test_without_a_library_the_built_in_voices_are_there(home: Path) -> None:
    assert [v.name for v in list_voices()] == ["ada", "max"]
    assert not home.exists()  # looking makes no folder


def test_a_voice_of_the_user_shadows_a_built_in_one_until_removed(home: Path) -> None:
    add_voice(make_voice("ada", description="mine"), force=True)
    assert find_voice("ada").description == "mine"
    assert [(v.name, v.builtin) for v in list_voices()] == [("ada", False), ("max", True)]
    assert remove_voice("ada") == home / "ada.safetensors"
    assert find_voice("ada").description == "bright"
    with pytest.raises(VoiceError, match="built in and cannot be removed"):
        remove_voice("ada")
    assert voice_path("ada").exists()


def test_a_voice_is_found_by_the_path_of_its_file(home: Path, saved: Path) -> None:
    assert find_voice(str(saved)).name == "ada"
    assert find_voice(saved).name == "ada"
    with pytest.raises(VoiceError, match="not in the library"):
        remove_voice(str(saved))
    assert saved.exists()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("asked", "meant"), [("adda", "ada"), ("ADA", "ada"), ("maks", "max")])
def test_an_unknown_voice_names_the_nearest(asked: str, meant: str) -> None:
    for look in (find_voice, remove_voice):
        with pytest.raises(VoiceError, match=f"did you mean {meant}.*voxkit voices list"):
            look(asked)


@pytest.mark.usefixtures("home")
def test_a_voice_like_no_other_names_only_the_list() -> None:
    with pytest.raises(VoiceError, match="no voice 'zzzzzz': `voxkit voices list`"):
        find_voice("zzzzzz")


def test_a_damaged_voice_is_listed_with_its_problem(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "broken.safetensors").write_text("nothing")
    (home / "notes.txt").write_text("not a voice")
    (home / ".voxkit-1234.part").write_text("half")
    by_name = {v.name: v for v in list_voices()}
    assert sorted(by_name) == ["ada", "broken", "max"]
    assert "not a voice file" in str(by_name["broken"].problem)
    with pytest.raises(VoiceError, match="not a voice file"):
        find_voice("broken")
    remove_voice("broken")
    assert "broken" not in {v.name for v in list_voices()}


@pytest.mark.parametrize("name", ["ada", "Grandma-2", "用户", "größe", "_x", "a" * 64])
def test_good_names_have_a_place_in_the_library(home: Path, name: str) -> None:
    path = library_path(name)
    assert path.parent == home
    add_voice(make_voice(name), force=True)
    assert find_voice(name).name == name


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "../up", "a/b", "a\\b", ".hidden", "a.b", "-x", "CON", "nul", "Com1", "x" * 65]
    + ["a\n", "a\0b", "\x1b[2J", "c:d", "a*"],
)
def test_names_that_are_no_plain_file_names_are_refused(name: str) -> None:
    with pytest.raises(VoiceError, match="cannot name a voice") as caught:
        library_path(name)
    assert str(caught.value).isprintable()


def test_one_name_in_two_unicode_forms_is_one_voice(home: Path) -> None:
    add_voice(make_voice("e\u0301"))
    assert find_voice("\u00e9").name == "é"
    assert find_voice("e\u0301").name == "é"


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "~/.local/share/voxkit/voices"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/voxkit/voices"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "~/.local/share/voxkit/voices"),
        ("darwin", {}, "~/Library/Application Support/voxkit/voices"),
        ("win32", {}, "~/AppData/Local/voxkit/voices"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/voxkit/voices"),
        ("linux", {"VOXKIT_HOME": "~/vox", "XDG_DATA_HOME": "/data"}, "~/vox/voices"),
    ],
)
def test_the_library_is_where_the_system_keeps_such_things(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], folder: str
) -> None:
    for name in ("VOXKIT_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert library_folder() == Path(folder).expanduser()


def test_a_library_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VOXKIT_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="voices"):
        add_voice(make_voice("eve"))


@pytest.mark.usefixtures("home")
def test_voices_are_listed_without_heavy_libraries() -> None:
    code = (
        "import sys, voxkit.library; voxkit.library.list_voices()\n"
        "print({'torch', 'soundfile', 'soxr', 'safetensors'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_renamed_voice_keeps_all_but_its_name(home: Path) -> None:
    add_voice(make_voice("eve", consent="yes"))
    assert rename_voice("eve", "lilith") == home / "lilith.safetensors"
    assert [p.name for p in home.iterdir()] == ["lilith.safetensors"]
    voice = find_voice("lilith")
    assert (voice.name, voice.consent) == ("lilith", "yes")


def test_no_name_that_is_taken_or_impossible_is_renamed_to(home: Path) -> None:
    add_voice(make_voice("eve"))
    for name, new, says in (
        ("eve", "max", "built-in voice already"),
        ("eve", "eve", "called 'eve' already"),
        ("eve", "../eve", "cannot name a voice"),
        ("ada", "eva", "built in and cannot be renamed"),
    ):
        with pytest.raises(VoiceError, match=says):
            rename_voice(name, new)
    assert [p.name for p in home.iterdir()] == ["eve.safetensors"]
    rename_voice("eve", "max", force=True)
    assert find_voice("max").name == "max"


@pytest.mark.usefixtures("home")
def test_a_mix_is_found_by_its_name() -> None:
    mix = find_voice("ada(3)+max(1)")
    assert mix.name == "ada(3)+max(1)"
    assert [weight for _, weight in voice_files("ada(3)+max(1)")] == [0.75, 0.25]
    assert np.allclose(mix.speaker, find_voice("ada").speaker)  # both are fakes of one pitch
    with pytest.raises(VoiceError, match="did you mean max"):
        find_voice("ada+maxx")


def test_a_path_with_a_plus_is_no_mix(tmp_path: Path) -> None:
    path = tmp_path / "a+b.safetensors"
    save_voice(make_voice("ada"), path)
    assert find_voice(str(path)).name == "ada"
