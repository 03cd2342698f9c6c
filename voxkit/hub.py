"""Hub models on this machine: find, fetch, check, describe and remove them.

Only `pull` talks to the network.  How a model is named is told in `catalogue.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from voxkit import catalogue, conversion, download
from voxkit.catalogue import HubFile, HubModel, Source, cache_folder, family_of, resolve
from voxkit.conversion import converted as converted
from voxkit.download import Unwatched, Watcher
from voxkit.errors import ModelError

_UNWATCHED = Unwatched()
_FETCHING = ".fetching"  # ends the name of a mark


@dataclass(frozen=True)
class Problem:
    """A file that is not as it should be, and a sentence about it."""

    path: str
    message: str


@dataclass(frozen=True)
class HubInfo:
    """What this machine has of a model.  `folder` is None until every file is there."""

    name: str
    repo: str | None  # None for a local folder
    revision: str | None
    family: str | None
    description: str
    folder: Path | None
    files: tuple[HubFile, ...]
    present: Mapping[str, int]  # path → bytes here
    converted: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole model."""
        return sum(file.size or 0 for file in self.files)


def known() -> tuple[HubModel, ...]:
    """Return the hub models that have a short name."""
    return catalogue.known()


def locate(name: str | Path) -> Path | None:
    """Return the folder of a model that is whole on this machine, or None; never uses the network.

    Raises `ModelError` for a name that can be no model.
    """
    source = resolve(name)
    folder = source.snapshot
    if folder is None or source.folder is not None:
        return folder
    files = catalogue.files_of(source, folder)
    return folder if files and all(_is_whole(folder / f.path, f.size) for f in files) else None


def pull(name: str | Path, *, offline: bool = False, watcher: Watcher = _UNWATCHED) -> Path:
    """Fetch what is missing of a model, check it, and return its folder.

    Files that are there are checked too, and fetched again if damaged.  Offline (or with
    HF_HUB_OFFLINE) nothing is fetched.  Raises `ModelError`.
    """
    from huggingface_hub import constants

    source = resolve(name)
    if source.folder is not None:
        return source.folder
    if offline or constants.HF_HUB_OFFLINE:
        folder = locate(name)
        if folder is None:
            raise ModelError(
                f"{source.name} is {_extent(source)} on this machine and voxkit is offline: "
                f"run `voxkit models pull {source.name}` once while online."
            )
        return folder
    try:
        return _fetch_missing(source, watcher)
    except FileNotFoundError:
        raise ModelError(
            f"{source.name} was removed while it was fetched: run the same command again."
        ) from None
    except OSError as error:
        raise ModelError(
            f"{cache_folder()} cannot take {source.name} ({error.strerror or error}): make room or "
            "set HF_HOME to another folder; what has arrived is kept."
        ) from error


def verify(name: str | Path, *, watcher: Watcher = _UNWATCHED) -> list[Problem]:
    """Check every file of a model on this machine; an empty list is good.

    Size and checksum are compared where they are known; else the file must be whole by its kind.
    Weights must be finite.
    What was converted from them is checked too.  Raises `ModelError` if nothing of it is here.
    """
    source = resolve(name)
    folder = source.snapshot
    if folder is None:
        raise _absent(source)
    files = catalogue.files_of(source, folder)
    if not files:
        raise catalogue.unreadable(folder)
    found = [(f.path, _wrong(folder, f, watcher) or _spoilt(folder / f.path)) for f in files]
    found += conversion.damaged(folder)
    return [Problem(path, f"{path} {wrong}.") for path, wrong in found if wrong]


def remove(name: str | Path) -> int:
    """Delete a model from the cache, its conversion included, and return the bytes freed.

    What a broken pull has left goes too; other revisions stay, and what other programs fetched.  Of
    a local folder only what was converted from it goes.  Raises `ModelError` if nothing is there.
    """
    source = resolve(name)
    if source.folder is not None:
        made = conversion.existing(source.folder)
        if not made:
            raise ModelError(
                f"{source.folder} is a folder of yours: voxkit removes only its downloads."
            )
        freed = sum(map(_bytes_below, made))
        conversion.drop(source.folder)
        return freed
    repo = source.repo_folder
    gone = {mark.stem for mark in (repo / "voxkit").glob(f"*{_FETCHING}")}
    if source.snapshot is not None:
        gone.add(source.snapshot.name)
    if not gone and not any(repo.glob("blobs/*.incomplete")):
        raise ModelError(f"{source.name} is not on this machine: there is nothing to remove.")
    try:
        return _delete(repo, gone)
    except OSError as error:
        raise ModelError(f"{repo} cannot be removed ({error.strerror or error}).") from error


def info(name: str | Path) -> HubInfo:
    """Tell what a model is and how much of it is here.  Raises `ModelError` for an unknown one."""
    source = resolve(name)
    folder = source.snapshot
    if folder is None and source.model is None:
        raise _absent(source)
    files = catalogue.files_of(source, folder)
    sizes = {} if folder is None else {f.path: _size(folder / f.path) for f in files}
    model = source.model
    return HubInfo(
        name=source.name,
        repo=source.repo or None,
        revision=source.commit or source.revision or None,
        family=model.family if model else family_of(folder) if folder else None,
        description=model.description if model else "",
        folder=locate(name),
        files=tuple(
            replace(f, size=sizes.get(f.path) if f.size is None else f.size) for f in files
        ),
        present={path: size for path, size in sizes.items() if size is not None},
        converted=conversion.existing(folder) if folder is not None else (),
    )


def cached() -> tuple[HubInfo, ...]:
    """Return the models in the hub cache that are whole and that voxkit can read."""
    found = []
    for snapshot in sorted(cache_folder().glob("models--*--*/snapshots/*")):
        repo = snapshot.parent.parent.name.removeprefix("models--").replace("--", "/")
        names = [m.name for m in known() if (m.repo, m.revision) == (repo, snapshot.name)]
        if not names and family_of(snapshot) is not None:
            is_main = Source(repo, repo=repo, revision="main").commit == snapshot.name
            names = [repo if is_main else f"{repo}@{snapshot.name}"]
        found += [info(name) for name in names if locate(name) is not None]
    return tuple(found)


def human(size: int) -> str:
    """Write a number of bytes as people read it: `3.09 GB`."""
    amount, unit = float(size), "bytes"
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.{0 if unit == 'bytes' else 2 if unit == 'GB' else 1}f} {unit}"


def _absent(source: Source) -> ModelError:
    return ModelError(
        f"{source.name} is {_extent(source)} on this machine: "
        f"run `voxkit models pull {source.name}`."
    )


def _extent(source: Source) -> str:
    """Say how much of a model that is not whole here is here."""
    return "only partly" if source.repo_folder.is_dir() else "not"


def _fetch_missing(source: Source, watcher: Watcher) -> Path:
    """Fetch the files that are absent or damaged and return the folder of the snapshot."""
    repo, cache = source.repo, source.repo_folder
    if source.model is not None:
        commit, files = source.revision, source.model.files
    else:
        commit, names = download.listing(repo, source.revision)
        files = catalogue.choose(repo, names)
    folder = cache / "snapshots" / commit
    mark = _mark(cache, commit)
    missing = [file for file in files if _wrong(folder, file, watcher)]
    remotes = [download.head(repo, commit, file.path) for file in missing]
    for file, remote in zip(missing, remotes, strict=True):
        _check_offer(repo, file, remote)
    if missing:
        need = sum(
            remote.size - download.present(cache, remote, damaged=(folder / remote.path).exists())
            for remote in remotes
        )
        _check_space(source.name, need)
        watcher.begin(source.name, len(missing), need, cache_folder())
        conversion.drop(folder)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    elif conversion.damaged(folder):
        conversion.drop(folder)  # it is made again when the model is next used
    for file, remote in zip(missing, remotes, strict=True):
        download.fetch(repo, commit, remote, cache, file.sha256, watcher)
        if (
            source.model is None
            and file.path == "config.json"
            and catalogue.config_family(folder) is None
        ):
            raise ModelError(f"{repo} holds no model that voxkit can read.")
    mark.unlink(missing_ok=True)
    if not catalogue.is_commit(source.revision):
        ref = cache / "refs" / source.revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit, encoding="utf-8")
    return folder


def _mark(repo: Path, commit: str) -> Path:
    """Return the file that is there while voxkit fetches a commit, and after it broke off."""
    return repo / "voxkit" / f"{commit}{_FETCHING}"


def _delete(repo: Path, commits: set[str]) -> int:
    """Delete what only these revisions use, and broken downloads; return the bytes freed."""
    before = _bytes_below(repo)
    for ref in [r for r in (repo / "refs").rglob("*") if r.is_file()]:
        if ref.read_text(encoding="utf-8").strip() in commits:
            ref.unlink()
    for commit in commits:
        _mark(repo, commit).unlink(missing_ok=True)
        if (snapshot := repo / "snapshots" / commit).is_dir():
            conversion.drop(snapshot)
            shutil.rmtree(snapshot)
    links = [p for p in (repo / "snapshots").rglob("*") if p.is_symlink()]
    kept = {os.path.basename(os.readlink(link)) for link in links}
    for blob in list((repo / "blobs").glob("*")):
        if blob.name not in kept:
            blob.unlink()
    freed = before - _bytes_below(repo)
    if not any((repo / "snapshots").glob("*")):
        shutil.rmtree(repo)
        shutil.rmtree(cache_folder() / ".locks" / repo.name, ignore_errors=True)
    return freed


def _check_offer(repo: str, file: HubFile, remote: download.Remote) -> None:
    """Refuse, before gigabytes are fetched, a file that is not the one voxkit knows."""
    is_sha256 = len(remote.etag) == 64
    if (file.size is not None and file.size != remote.size) or (
        file.sha256 and is_sha256 and not remote.etag.startswith(file.sha256)
    ):
        raise ModelError(
            f"The hub offers another {file.path} in {repo} than the one voxkit knows: "
            "see HF_ENDPOINT, or update voxkit."
        )


def _check_space(name: str, need: int) -> None:
    folder = cache_folder()
    while not folder.is_dir():
        folder = folder.parent
    if (free := shutil.disk_usage(folder).free) < need:
        raise ModelError(
            f"{name} needs {human(need)} more in {cache_folder()} and {human(free)} is free: "
            "make room, or set HF_HOME to a larger disk."
        )


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _is_whole(path: Path, size: int | None) -> bool:
    have = _size(path)
    return bool(have) if size is None else have == size


def _wrong(folder: Path, file: HubFile, watcher: Watcher) -> str | None:
    """Say what is wrong with a file here; the cache's own name for it may be its checksum."""
    path = folder / file.path
    size = _size(path)
    if size is None or (size == 0 and file.size is None):
        return "is missing" if size is None else "is empty"
    etag = os.path.basename(os.readlink(path)) if path.is_symlink() else None
    watcher.step(f"checking {file.path}", size, 0)
    return download.damage(path, file.size, [file.sha256, etag], watcher)


def _spoilt(path: Path) -> str | None:
    """Say whether weights in a format of plain numbers hold what is no number."""
    if path.suffix != ".safetensors":
        return None
    import torch
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            weight = file.get_tensor(name)
            if weight.is_floating_point() and not torch.isfinite(weight).all():
                return f"holds weights that are not finite ({name})"
    return None


def _bytes_below(folder: Path) -> int:
    """Add up the files below a folder; links count nothing."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
