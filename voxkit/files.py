"""Writes files so that they appear whole or not at all, and tells those that are cut short."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxkit.errors import OutputError


def at_home(path: str | Path) -> Path:
    """Return a path with ~ and ~USER made a folder; where there is no such user, as it is."""
    return Path(os.path.expanduser(path))


@contextmanager
def whole_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Give an empty temporary file beside `path`, and rename it to `path` when the block ends well.

    On any failure, Ctrl-C included, the temporary file goes and an earlier file at `path` stays.
    Raises `OutputError` if `path` exists without `force`, or if its folder cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link; what it points to is replaced
    _check_free(path, target, force=force)
    part = target.parent / f".voxkit-{secrets.token_hex(6)}.part"
    try:
        part.open("xb").close()
    except OSError as error:
        raise output_error(path, error) from None
    try:
        yield part
        _check_free(path, target, force=force)
        try:
            os.replace(part, target)
        except OSError as error:
            raise output_error(path, error) from None
    finally:
        part.unlink(missing_ok=True)


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the sentence for an operating system error met while writing `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"The disk is full: {path} was not written; make room and try again.")
    if error.errno == errno.ENOENT:
        return OutputError(f"The folder {path.parent} does not exist: create it first.")
    if error.errno == errno.ENOTDIR:
        return OutputError(
            f"{path.parent} is not a folder, so {path.name} cannot be written there."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"You may not write in {path.parent}: choose another folder.")
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(f"The file name {path.name[:40]}... is too long: choose a shorter one.")
    return OutputError(f"{path} could not be written: {error.strerror or error}.")


def _check_free(path: Path, target: Path, *, force: bool) -> None:
    """Raise `OutputError` unless `target` is free or an ordinary file that may be replaced."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise output_error(path, error) from None
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder: give a file name.")
    if not stat.S_ISREG(mode):  # a device such as /dev/null must never be replaced by a file
        raise OutputError(f"{path} is not an ordinary file: use - to write to standard output.")
    if not force:
        raise OutputError(f"{path} already exists: use --force to replace it.")


def misshapen(path: Path) -> str | None:
    """Say what is wrong with a file of which no checksum is known, or None."""
    if path.suffix == ".pt" and not zipfile.is_zipfile(path):
        return "is cut short or holds no weights"
    if path.suffix == ".json":
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return "is cut short or no JSON"
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy"):
                pass
        except SafetensorError:
            return "is cut short or holds no weights"
    return None
