"""Keeps the converted form of a foreign checkpoint, made once and used from then on.

The conversion of a hub snapshot lies in its repository's cache folder, so that it goes when the
download goes; that of a local folder, or of a shared cache that cannot be written, in HF_HOME.  A
conversion is renamed into place when it is finished: what has its final name is whole.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voxkit.catalogue import home_folder, is_commit
from voxkit.errors import ModelError
from voxkit.files import misshapen

_MADE = "made.json"  # in a conversion: the folder it is of, and the bytes of each file
_SOURCES = {".pt", ".onnx", ".json", ".yaml", ".safetensors"}


def converted(
    folder: Path, family: str, convert: Callable[[Path, Path], None], *, version: int = 1
) -> Path:
    """Return the converted form of `folder`; the first time `convert(folder, new_folder)` makes it.

    It is made again for another revision, changed files or another converter `version`, after a
    try that did not finish, and when a file of it is gone or cut short; two processes never convert
    at once.  Raises `ModelError` when the disk has no room for it, and whatever `convert` raises.
    """
    home, identity = _home(folder)
    final = home / f"{identity}-{family}-{_stamp(folder)}v{version}"
    if final.is_dir() and not _torn(final):
        return final
    from filelock import FileLock

    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / f".{identity}-{family}.lock").acquire()
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be converted, because {home} cannot be written "
            f"({error.strerror}): set HF_HOME to a folder of yours."
        ) from error
    with lock:
        if not final.is_dir() or _torn(final):  # another process may have finished it meanwhile
            shutil.rmtree(final, ignore_errors=True)
            _convert(folder, final, convert)
            stale = [p for p in existing(folder) if p.name.startswith(f"{identity}-{family}-")]
            for other in {*stale, *_orphans(home)} - {final}:
                shutil.rmtree(other, ignore_errors=True)
    return final


def existing(folder: Path) -> tuple[Path, ...]:
    """Return the finished conversions that were made of a folder, older ones included."""
    home, identity = _home(folder)
    return tuple(p for p in sorted(home.glob(f"{glob.escape(identity)}-*")) if p.suffix != ".part")


def damaged(folder: Path) -> list[tuple[str, str]]:
    """Name the files of a folder's conversions that cannot be read, and say what is wrong."""
    found = []
    for made in existing(folder):
        wrong = _torn(made)
        for path in sorted(made.glob("*.safetensors")):
            if path.name not in wrong and (sentence := misshapen(path)):
                wrong[path.name] = sentence
        found += [(str(made / name), sentence) for name, sentence in wrong.items()]
    return found


def drop(folder: Path) -> None:
    """Delete every conversion of a folder, because the folder changes or goes."""
    home, identity = _home(folder)
    for path in home.glob(f"{glob.escape(identity)}-*"):
        shutil.rmtree(path)


def _torn(made: Path) -> dict[str, str]:
    """Say which files of a conversion are gone or of another size than when it was made."""
    sizes = _record(made).get("bytes", {})
    found = {}
    for name, size in sizes.items():
        path = made / name
        if not path.is_file():
            found[name] = "is missing"
        elif path.stat().st_size != size:
            found[name] = f"has {path.stat().st_size:,} bytes instead of {size:,}"
    return found


def _record(made: Path) -> dict[str, Any]:
    """Return what a conversion says of itself; those of earlier versions say nothing."""
    try:
        record = json.loads((made / _MADE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {"bytes": {_MADE: -1}}
    return record if isinstance(record, dict) else {}


def _orphans(home: Path) -> list[Path]:
    """Return the conversions of local folders that are no more."""
    made = [path.parent for path in home.glob(f"*/{_MADE}")]
    return [m for m in made if (of := _record(m).get("of")) and not Path(of).is_dir()]


def _home(folder: Path) -> tuple[Path, str]:
    """Return where the conversions of a folder lie and what their names begin with."""
    if _is_snapshot(folder):
        return folder.parent.parent / "voxkit", folder.name
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return home_folder() / "voxkit", f"{folder.resolve().name}-{place}"


def _is_snapshot(folder: Path) -> bool:
    """Tell a folder of the hub cache, if its conversions can lie there, from any other."""
    repo = folder.parent.parent
    if folder.parent.name != "snapshots" or not repo.name.startswith("models--"):
        return False
    return (repo / "voxkit").is_dir() or os.access(repo, os.W_OK)


def revision(folder: Path) -> str:
    """Return what tells a folder's files from others: the commit, or a stamp of a local folder."""
    return folder.name if is_commit(folder.name) else _stamp(folder).rstrip("-")


def _stamp(folder: Path) -> str:
    """Return what changes when the files of a local folder do; a snapshot's files never change."""
    if _is_snapshot(folder):
        return ""
    sources = (p for p in sorted(folder.iterdir()) if p.suffix in _SOURCES and p.is_file())
    stats = [(path.name, path.stat()) for path in sources]
    text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    return hashlib.sha256(text.encode()).hexdigest()[:12] + "-"


def _convert(folder: Path, final: Path, convert: Callable[[Path, Path], None]) -> None:
    """Convert into a folder beside `final` and rename it when everything is on the disk."""
    need = sum(path.stat().st_size for path in folder.glob("*.pt"))
    if (free := shutil.disk_usage(final.parent).free) < need:
        raise ModelError(
            f"Converting {folder} once needs {need / 1e9:.2f} GB in {final.parent} and only "
            f"{free / 1e9:.2f} GB is free: make room and try again."
        )
    part = final.with_name(f"{final.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed: the lock is ours
    part.mkdir()
    try:
        convert(folder, part)
        sizes = {path.name: path.stat().st_size for path in part.iterdir()}
        record = {"of": str(folder.resolve()), "bytes": sizes}
        (part / _MADE).write_text(json.dumps(record), encoding="utf-8")
        for path in (p for p in part.rglob("*") if p.is_file()):
            with path.open("rb+") as file:
                os.fsync(file.fileno())  # even after a power cut, a final name means all bytes
        part.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
