"""Which models a name can stand for, which files they consist of, and where the hub cache has them.

A model is named by its short name (`cosyvoice2`), by hub id (`owner/name`, `owner/name@revision`)
or by a local folder.  Nothing here talks to the network.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from voxkit.errors import ModelError
from voxkit.files import at_home

_HUB_ID = re.compile(r"(\w[\w.-]*/\w[\w.-]*?)(?:@(\w[\w./-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
OWN_SPEC = "voxkit.json"  # numbers of a model whose sizes are not those of the released one
_NATIVE_SUFFIXES = {".json", ".safetensors", ".txt", ".tsv", ".toml"}


@dataclass(frozen=True)
class HubFile:
    """One file of a model: size in bytes and the start of its sha256, where they are known."""

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class HubModel:
    """A model that voxkit knows by name, with the files that speaking and cloning need."""

    name: str
    repo: str
    revision: str  # the commit that is fetched, so that a name always means the same weights
    family: str
    description: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size or 0 for file in self.files)


@dataclass(frozen=True)
class Source:
    """What a name stands for: a folder, or a revision of a hub repository."""

    name: str
    folder: Path | None = None
    repo: str = ""
    revision: str = ""
    model: HubModel | None = None

    @property
    def repo_folder(self) -> Path:
        """Return where the hub cache keeps this repository."""
        return cache_folder() / f"models--{self.repo.replace('/', '--')}"

    @property
    def commit(self) -> str | None:
        """Return the commit that the revision meant when it was last fetched."""
        if is_commit(self.revision):
            return self.revision
        ref = self.repo_folder / "refs" / self.revision
        return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None

    @property
    def snapshot(self) -> Path | None:
        """Return the folder with this model's files, complete or not; None if there is none."""
        if self.folder is not None:
            return self.folder
        folder = self.repo_folder / "snapshots" / self.commit if self.commit else None
        return folder if folder is not None and folder.is_dir() else None


@functools.cache
def known() -> tuple[HubModel, ...]:
    """Return the hub models that have a short name."""
    text = (resources.files("voxkit") / "specs" / "hub.json").read_text(encoding="utf-8")
    return tuple(
        HubModel(**{**entry, "files": tuple(HubFile(**file) for file in entry["files"])})
        for entry in json.loads(text)
    )


def is_commit(revision: str) -> bool:
    """Tell a full commit hash from the name of a branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


def home_folder() -> Path:
    """Return the folder of everything that comes from the hub, by the hub library's variables.

    They are read here because importing the library takes longer than `models list`.
    """
    above = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return _expanded(os.environ.get("HF_HOME", f"{above}/huggingface"))


def cache_folder() -> Path:
    """Return the hub cache, which other programs share."""
    older = os.environ.get("HUGGINGFACE_HUB_CACHE", str(home_folder() / "hub"))
    return _expanded(os.environ.get("HF_HUB_CACHE", older))


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(at_home(path)))


def resolve(name: str | Path) -> Source:
    """Find out what a name stands for: a known name first, then a folder, then a hub id."""
    text = str(name)
    for model in known():
        if text.lower() == model.name:
            return Source(model.name, repo=model.repo, revision=model.revision, model=model)
    folder = at_home(name)
    if text and os.path.isdir(folder):
        return Source(text, folder=folder)
    match = _HUB_ID.fullmatch(text)
    if match is None or ".." in text:
        names = [model.name for model in known()]
        near = " or ".join(difflib.get_close_matches(text.lower(), names))
        raise ModelError(
            f"There is no model called {text!r}: give {near or ', '.join(names)}, the OWNER/NAME "
            "of one on the hub, or a folder."
        )
    return Source(text, repo=match[1], revision=match[2] or "main")


def family_of(folder: Path) -> str | None:
    """Tell by its files which family of models a folder holds; None if voxkit reads none."""
    for model in known():
        if (folder / f"{model.family}.yaml").is_file():
            return model.family
    return config_family(folder) if any(folder.glob("*.safetensors")) else None


def unreadable(folder: Path) -> ModelError:
    """Return the error about a folder that holds no model of a family that voxkit reads."""
    if (folder / "cosyvoice.yaml").is_file():
        return ModelError(
            f"{folder / 'cosyvoice.yaml'} is of CosyVoice 1 or of an early CosyVoice 2, which "
            "voxkit does not read: use cosyvoice2 or cosyvoice3."
        )
    return ModelError(f"{folder} holds no model that voxkit can read.")


def config_family(folder: Path) -> str | None:
    """Return the family that a voxkit `config.json` names, or None."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    family = config.get("family") if isinstance(config, dict) else None
    return family if isinstance(family, str) else None


def files_of(source: Source, folder: Path | None) -> tuple[HubFile, ...]:
    """List what a model consists of: by its name, else by what its folder looks like."""
    if source.model is not None:
        return source.model.files
    family = family_of(folder) if folder is not None else None
    if folder is None or family is None:
        return ()
    for model in known():
        if model.family == family:
            own = [HubFile(OWN_SPEC)] if (folder / OWN_SPEC).is_file() else []
            return (*own, *(HubFile(file.path) for file in model.files))
    inside = (p for p in sorted(folder.rglob("*")) if p.suffix in _NATIVE_SUFFIXES and p.is_file())
    return tuple(HubFile(p.relative_to(folder).as_posix()) for p in inside)


def choose(repo: str, names: Mapping[str, int]) -> tuple[HubFile, ...]:
    """Pick the files that voxkit needs from a repository of which it knows only the file names."""
    for model in known():
        if f"{model.family}.yaml" in names:
            if absent := [file.path for file in model.files if file.path not in names]:
                raise ModelError(f"{repo} has no file {absent[0]}, so voxkit cannot use it.")
            wanted = [OWN_SPEC, *(file.path for file in model.files)]
            return tuple(HubFile(path, names[path]) for path in wanted if path in names)
    if "cosyvoice.yaml" in names:
        raise ModelError(f"{repo} is a CosyVoice of an older layout: use cosyvoice2 or cosyvoice3.")
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise ModelError(f"{repo} holds no model that voxkit can read.")
    wanted = [name for name in names if Path(name).suffix in _NATIVE_SUFFIXES]
    wanted.sort(key=lambda name: (name != "config.json", name))  # the file that tells comes first
    return tuple(HubFile(name, names[name]) for name in wanted)
