"""The library of voices, the user's own and the built-in ones: found by name, changed, shared."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import sys
import unicodedata
from pathlib import Path

from voxkit.errors import VoiceError
from voxkit.files import output_error
from voxkit.mixing import is_mix, mixed, read_mix
from voxkit.voice import SUFFIX, Voice, VoiceInfo, load_voice, save_voice, voice_info

BUILTIN_FOLDER = Path(__file__).parent / "assets" / "voxkit-en" / "voices"

# Device names that Windows takes for files in every folder (Microsoft, "Naming Files").
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(10)}


def library_folder() -> Path:
    """Return the user's folder of voices, which may not exist yet.  Raises `VoiceError`."""
    try:
        if home := os.environ.get("VOXKIT_HOME"):
            return Path(home).expanduser() / "voices"
        return _data_folder() / "voxkit" / "voices"
    except RuntimeError:  # what pathlib raises for a user without a home
        raise VoiceError("No home folder is known: set VOXKIT_HOME to a folder of yours.") from None


def _data_folder() -> Path:
    """Return where programs of this system keep the user's data."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    xdg = Path(os.environ.get("XDG_DATA_HOME", ""))  # the standard says to ignore a relative one
    return xdg if xdg.is_absolute() else Path.home() / ".local" / "share"


def library_path(name: str) -> Path:
    """Return where the user's voice `name` is kept, there or not.  Raises `VoiceError`."""
    name = unicodedata.normalize("NFC", name)
    if not re.fullmatch(r"\w[\w-]{0,63}", name) or name.lower() in _RESERVED:
        raise VoiceError(
            f"{name[:80]!r} cannot name a voice: use up to 64 letters, digits, hyphens and "
            "underscores, with no hyphen first."
        )
    return library_folder() / f"{name}{SUFFIX}"


def list_voices() -> list[VoiceInfo]:
    """Return the user's voices and the built-in ones they do not shadow, by name.

    A damaged file is listed too, with its `problem`.
    """
    found: dict[str, VoiceInfo] = {}
    for folder in (BUILTIN_FOLDER, library_folder()):
        for path in _voice_files(folder):
            name = _listed_name(path)
            try:
                info = voice_info(path)
                found[name] = dataclasses.replace(info, name=name, builtin=folder == BUILTIN_FOLDER)
            except VoiceError as error:
                found[name] = VoiceInfo(
                    name=name,
                    made_by="unknown",
                    path=path,
                    token_count=0,
                    reference_s=None,
                    builtin=folder == BUILTIN_FOLDER,
                    problem=str(error),
                )
    return [found[name] for name in sorted(found, key=str.casefold)]


def _voice_files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    except OSError as error:
        raise VoiceError(f"{folder} cannot be read: {error.strerror or error}.") from None


def _listed_name(path: Path) -> str:
    """Return the name of a library file, in one Unicode form and safe to print."""
    name = unicodedata.normalize("NFC", path.name.removesuffix(SUFFIX))
    return "".join(c if c.isprintable() else "?" for c in name) or "?"


def voice_path(name_or_path: str | Path) -> Path:
    """Return the file of a voice: a path as it is, or a name in the user's or built-in library.

    Raises `VoiceError` with the nearest names where there is no such voice.
    """
    if (path := path_asked(name_or_path)) is not None:
        return path
    asked = str(name_or_path)
    voices = {info.name: info.path for info in list_voices()}
    name = unicodedata.normalize("NFC", asked)
    if name in voices:
        return voices[name]
    folded = {known.casefold(): known for known in voices}
    near = difflib.get_close_matches(name.casefold()[:80], folded, cutoff=0.5)
    hint = f"did you mean {' or '.join(folded[n] for n in near)}?  " if near else ""
    raise VoiceError(
        f"There is no voice {asked[:80]!r}: {hint}`voxkit voices list` shows all voices."
    )


def find_voice(name_or_path: str | Path) -> Voice:
    """Load a voice by name or path, or mix voices by a name like `ann(2)+bob(1)`.

    Raises `VoiceError`.
    """
    parts = [(load_voice(path), weight) for path, weight in voice_files(name_or_path)]
    if len(parts) == 1:
        return parts[0][0]
    return mixed(parts, name="".join(str(name_or_path).split()))


def voice_files(name_or_path: str | Path) -> tuple[tuple[Path, float], ...]:
    """Return the files that a name stands for, several for a mix, with weights that sum to 1.

    Raises `VoiceError`.
    """
    path = path_asked(name_or_path)
    if path is None and is_mix(str(name_or_path)):
        return tuple((voice_path(name), weight) for name, weight in read_mix(str(name_or_path)))
    return ((path or voice_path(name_or_path), 1.0),)


def path_asked(name_or_path: str | Path) -> Path | None:
    """Return the path if one is meant, None for a name."""
    asked = str(name_or_path)
    is_path = asked.endswith(SUFFIX) or "/" in asked or os.sep in asked
    return Path(name_or_path) if is_path or isinstance(name_or_path, Path) else None


def add_voice(voice: Voice, *, force: bool = False) -> Path:
    """Put a voice into the user's library under its own name and return its file.

    Raises `VoiceError` for a name that is taken or cannot be one, and `OutputError`.
    """
    path = free_path(voice.name, force=force)
    make_library()
    save_voice(dataclasses.replace(voice, name=path.stem), path, force=force)
    return path


def free_path(name: str, *, force: bool) -> Path:
    """Return where a new voice `name` will be.

    Raises `VoiceError` if a voice has the name already, built-in ones included, without `force`.
    """
    path = library_path(name)
    taken = next((info for info in list_voices() if info.name == path.stem), None)
    if taken is not None and not force:
        whose = "a built-in voice" if taken.builtin else "a voice of yours"
        raise VoiceError(f"{name!r} is {whose} already: choose another name, or use --force.")
    return path


def make_library() -> None:
    """Make the user's folder of voices if there is none.  Raises `OutputError`."""
    folder = library_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from None


def rename_voice(name: str, new: str, *, force: bool = False) -> Path:
    """Give a voice of the user's another name and return its file.  Raises `VoiceError`."""
    old = own_path(name, "renamed")
    if library_path(new) == old:
        raise VoiceError(f"The voice is called {name!r} already.")
    path = add_voice(dataclasses.replace(load_voice(old), name=new), force=force)
    _unlink(old)
    return path


def remove_voice(name: str) -> Path:
    """Delete a voice of the user's and return where it was.  Raises `VoiceError`."""
    path = own_path(name, "removed")
    _unlink(path)
    return path


def own_path(name: str, done: str) -> Path:
    """Return the file of a voice of the user's that is to be changed.  Raises `VoiceError`."""
    path = voice_path(name)
    if path.parent == BUILTIN_FOLDER:
        raise VoiceError(f"The voice {name!r} is built in and cannot be {done}.")
    if path.parent != library_folder():
        raise VoiceError(f"{name} is not in the library: give a name from `voxkit voices list`.")
    return path


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise VoiceError(f"{path} cannot be removed: {error.strerror or error}.") from None
