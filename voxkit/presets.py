"""Finds and reads presets: styles and voices in TOML files, the user's own before the packaged.

The user's presets live in `styles/` and `voices/` under `preset_folder()`; one with the name of a
packaged preset takes its place.  Reading is strict: a wrong key or value is an error that names the
file and the key, because a silently ignored wish is a broken promise.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from voxkit.errors import VoiceError, VoxkitError
from voxkit.instruct import understand
from voxkit.style import CHOICES, LIMITS, NEUTRAL, Style

Kind = Literal["styles", "voices"]
Gender = Literal["female", "male", "neutral"]
Age = Literal["child", "young", "adult", "old"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_GENDERS: tuple[Gender, ...] = ("female", "male", "neutral")
_AGES: tuple[Age, ...] = ("child", "young", "adult", "old")
_STYLE_KEYS = {"name": str, "description": str}
_STYLE_EXTRAS = {"words": str, "style": dict}
_VOICE_KEYS = dict.fromkeys(
    "name description language gender age accent source licence credit".split(), str
)
_VOICE_EXTRAS = {"pitch_hz": float, "style": str}
_TYPES = {
    str: "text",
    float: "a number",
    int: "a number",
    dict: "a table",
    list: "a list",
    bool: "true or false",
}


@dataclass(frozen=True)
class StylePreset:
    """A named way of speaking, for `--style`."""

    name: str
    description: str
    style: Style
    path: Path
    own: bool  # the user's, not voxkit's


@dataclass(frozen=True)
class VoicePreset:
    """What is known about a built-in voice: who it is, where it comes from, who is owed credit."""

    name: str
    description: str
    language: str
    gender: Gender
    age: Age
    accent: str
    source: str
    licence: str
    credit: str
    path: Path
    own: bool
    pitch_hz: float | None = None  # median f0
    style: str | None = None  # the style preset it speaks in unless another is asked for


def preset_folder() -> Path:
    """Return the user's folder of presets, which may not exist.  Raises `VoxkitError`."""
    try:
        if home := os.environ.get("VOXKIT_HOME"):
            return Path(home).expanduser() / "presets"
        return _config_folder() / "voxkit" / "presets"
    except RuntimeError:  # what pathlib raises for a user without a home
        raise VoxkitError(
            "No home folder is known: set VOXKIT_HOME to a folder of yours."
        ) from None


def style_presets(tell: Callable[[str], None] | None = None) -> tuple[StylePreset, ...]:
    """Read every style, by name.

    Raises `VoxkitError` naming the file and key of a bad one, or calls `tell` with that.
    """
    found = []
    for path, own in _files("styles").values():
        try:
            found.append(_style(path, own))
        except VoxkitError as error:
            if tell is None:
                raise
            tell(str(error))
    return tuple(found)


def style_preset(name: str) -> StylePreset:
    """Read one style.  Raises `VoxkitError` with the nearest names if there is none."""
    files = _files("styles")
    if (found := files.get(name.strip().lower())) is None:
        raise VoxkitError(_unknown("style", name, list(files), "voxkit styles list"))
    return _style(*found)


def voice_presets() -> tuple[VoicePreset, ...]:
    """Read every voice description, by name.  Raises `VoxkitError` for a bad one."""
    return tuple(_voice(path, own) for path, own in _files("voices").values())


def voice_preset(name: str) -> VoicePreset:
    """Read one voice description.  Raises `VoiceError` with the nearest names if there is none."""
    files = _files("voices")
    if (found := files.get(name.strip().lower())) is None:
        raise VoiceError(_unknown("built-in voice", name, list(files), "voxkit voices list"))
    return _voice(*found)


def voice_style(name: str) -> Style:
    """Return the style that a voice speaks in by its preset: neutral where nothing is said."""
    found = _files("voices").get(name.strip().lower())
    style = None if found is None else _voice(*found).style
    return NEUTRAL if style is None else style_preset(style).style


def _config_folder() -> Path:
    """Return where programs of this system keep the user's settings."""
    if sys.platform == "win32":
        roaming = os.environ.get("APPDATA")
        return Path(roaming) if roaming else Path.home() / "AppData" / "Roaming"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    xdg = Path(os.environ.get("XDG_CONFIG_HOME", ""))  # the standard says to ignore a relative one
    return xdg if xdg.is_absolute() else Path.home() / ".config"


def _packaged_folder() -> Path:
    """Return the presets that came with voxkit: inside the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_presets", package.parent / "presets"):
        if (folder / "styles").is_dir():
            return folder
    raise VoxkitError("The presets that belong to voxkit are missing: install voxkit again.")


def _files(kind: Kind) -> dict[str, tuple[Path, bool]]:
    """Map names to (file, whether it is the user's own), sorted by name."""
    found = {path.stem: (path, False) for path in (_packaged_folder() / kind).glob("*.toml")}
    folder = preset_folder() / kind
    try:
        if folder.is_dir():
            found |= {path.stem: (path, True) for path in folder.glob("*.toml")}
    except OSError as error:
        raise VoxkitError(f"{folder} cannot be read: {error.strerror or error}.") from None
    return dict(sorted(found.items()))


def _unknown(what: str, name: str, known: list[str], listing: str) -> str:
    near = difflib.get_close_matches(name.strip().lower(), known, n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}?  " if near else ""
    return f"There is no {what} called {name[:80]!r}: {advice}`{listing}` shows all."


def _style(path: Path, own: bool) -> StylePreset:
    data = _read(path, _STYLE_KEYS, _STYLE_EXTRAS)
    style = understand(data.get("words", ""))
    if style.ignored:
        raise VoxkitError(f"{path}: words: voxkit does not understand {style.ignored[0]!r}.")
    fields = dict.fromkeys(LIMITS, float) | dict.fromkeys(CHOICES, str)
    table = _checked(data.get("style", {}), f"{path}: style.", {}, fields)
    try:
        given = tuple(sorted(table))
        numbers = Style(**table, said=given, exact=given)
    except VoxkitError as error:
        raise VoxkitError(f"{path}: style.{error}") from None
    return StylePreset(data["name"], data["description"], style.merge(numbers), path, own)


def _voice(path: Path, own: bool) -> VoicePreset:
    data = _read(path, _VOICE_KEYS, _VOICE_EXTRAS)
    choices: tuple[tuple[str, tuple[str, ...]], ...] = (("gender", _GENDERS), ("age", _AGES))
    for key, allowed in choices:
        if data[key] not in allowed:
            raise VoxkitError(f"{path}: {key} must be one of {', '.join(allowed)}.")
    if not 20.0 <= data.get("pitch_hz", 100.0) <= 1000.0:
        raise VoxkitError(f"{path}: pitch_hz must be between 20 and 1000.")
    return VoicePreset(**data, path=path, own=own)


def _read(path: Path, required: Mapping[str, type], optional: Mapping[str, type]) -> dict[str, Any]:
    """Read one preset file whose `name` is its file name."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # a number or a nest too large for Python too
        raise VoxkitError(f"{path} is not valid TOML: {error}.") from None
    except OSError as error:
        raise VoxkitError(f"{path} cannot be read: {error.strerror or error}.") from None
    found = _checked(data, f"{path}: ", required, optional)
    if not _NAME.fullmatch(found["name"]):
        raise VoxkitError(
            f"{path}: name must be made of lower-case letters, digits, hyphens and underscores."
        )
    if found["name"] != path.stem:
        raise VoxkitError(f"{path}: name must be {path.stem!r} as the file is called.")
    return found


def _checked(
    data: Mapping[str, Any],
    where: str,
    required: Mapping[str, type],
    optional: Mapping[str, type],
) -> dict[str, Any]:
    """Check the keys and types of a table; whole numbers become floats."""
    known = {**required, **optional}
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            advice = f": did you mean {near[0]}?" if near else f": use {', '.join(known)}."
            raise VoxkitError(f"{where}{key} is not a key that voxkit knows{advice}")
    for key in required:
        if key not in data:
            raise VoxkitError(f"{where}{key} is missing.")
    return {key: _typed(value, known[key], f"{where}{key}") for key, value in data.items()}


def _typed(value: Any, wanted: type, where: str) -> Any:
    given = type(value)
    if wanted is float and given is int and abs(value) < 2**53:
        return float(value)
    if wanted is float and given is int:
        raise VoxkitError(f"{where} must be a smaller number.")
    if given is not wanted:
        got = _TYPES.get(given, "something else")
        raise VoxkitError(f"{where} must be {_TYPES[wanted]}, not {got}.")
    if given is str and not value.strip():
        raise VoxkitError(f"{where} must not be empty.")
    return value
