"""Brings files from the hub: resumed where they broke off, checked before they count as there.

The hub's own library throws a broken file away, and one file here is 2 GB.  So the bytes are
fetched here, with the library's session (proxies, certificates, tokens) and into its cache layout:
`blobs/ETAG` and a link in `snapshots/COMMIT/`.  Other programs find them, and voxkit finds theirs.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from voxkit.catalogue import is_commit
from voxkit.errors import ModelError
from voxkit.files import misshapen

_CHUNK = 1 << 20  # bytes checked at a time: small enough that Ctrl-C and the bar are prompt
_ETAG = re.compile(r"[0-9A-Za-z_.-]{1,200}")


class Watcher(Protocol):
    """Who is told how a download goes; the command line draws a bar with it."""

    def begin(self, model: str, files: int, size: int, folder: Path) -> None:
        """Hear, before the first byte, that `size` bytes in `files` files go below `folder`."""

    def convert(self, model: str, size: int, folder: Path) -> None:
        """Hear that `size` bytes are about to be converted, once, into `folder`."""

    def step(self, words: str, size: int, done: int) -> None:
        """Hear that work on `size` bytes starts, or starts over, with `done` of them behind it."""

    def advance(self, count: int) -> None:
        """Hear that `count` more bytes of this step are done."""


class Unwatched:
    """A watcher that does nothing."""

    def begin(self, model: str, files: int, size: int, folder: Path) -> None:
        """Ignore the start."""

    def convert(self, model: str, size: int, folder: Path) -> None:
        """Ignore a conversion."""

    def step(self, words: str, size: int, done: int) -> None:
        """Ignore a step."""

    def advance(self, count: int) -> None:
        """Ignore progress."""


@dataclass(frozen=True)
class Remote:
    """One file as the hub offers it; `etag` is its sha256, or the git hash of a small file."""

    path: str
    etag: str
    size: int


def listing(repo: str, revision: str) -> tuple[str, dict[str, int]]:
    """Ask the hub which commit `revision` means and for its files: path → bytes."""
    from huggingface_hub import HfApi, constants

    with hub_errors(repo, revision):
        api = HfApi(endpoint=constants.ENDPOINT)
        found = api.model_info(
            repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    names = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    if found.sha is None or not is_commit(found.sha) or not all(map(_is_inside, names)):
        raise ModelError(f"{constants.ENDPOINT} does not answer like a model hub: see HF_ENDPOINT.")
    return found.sha, names


def head(repo: str, commit: str, path: str) -> Remote:
    """Ask the hub for size and checksum of one file."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    with hub_errors(repo, commit, path):
        url = hf_hub_url(repo, path, revision=commit)
        found = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    if found.etag is None or found.size is None or not _ETAG.fullmatch(found.etag):
        raise ModelError(f"{constants.ENDPOINT} does not answer like a model hub: see HF_ENDPOINT.")
    return Remote(path, found.etag, found.size)


def partial(repo_folder: Path, remote: Remote) -> Path:
    """Return where the bytes of an unfinished download lie."""
    return repo_folder / "blobs" / f"{remote.etag}.incomplete"


def present(repo_folder: Path, remote: Remote, *, damaged: bool) -> int:
    """Return how many bytes of a file are here already, whole or from a broken download.

    What is `damaged` counts nothing: it is fetched anew.
    """
    paths = [partial(repo_folder, remote)]
    if not damaged:
        paths.append(repo_folder / "blobs" / remote.etag)
    sizes = [path.stat().st_size for path in paths if path.exists()]
    return min(max(sizes, default=0), remote.size)


def fetch(
    repo: str, commit: str, remote: Remote, repo_folder: Path, sha256: str | None, watcher: Watcher
) -> None:
    """Bring one file into the cache; what an earlier try left is continued.

    `sha256` is a prefix that the content must have, beside what the hub's own checksum says.
    Raises `ModelError` for a file that ends early or does not match.
    """
    from filelock import FileLock, Timeout

    blob, part = repo_folder / "blobs" / remote.etag, partial(repo_folder, remote)
    link = repo_folder / "snapshots" / commit / remote.path
    locks = repo_folder.parent / ".locks" / repo_folder.name
    for folder in (blob.parent, link.parent, locks):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{remote.etag}.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        watcher.step(f"waiting for who fetches {remote.path}", remote.size, 0)
        held = lock.acquire()
    with held:
        if blob.exists() and damage(blob, remote.size, [sha256, remote.etag]) is not None:
            blob.unlink()
        if not blob.exists():
            with hub_errors(repo, commit, remote.path):
                _stream(repo, commit, remote, part, watcher)
            watcher.step(f"checking {remote.path}", remote.size, 0)
            wrong = damage(part, remote.size, [sha256, remote.etag], watcher)
            if wrong is not None:
                part.unlink()
                raise ModelError(
                    f"{remote.path} of {repo} arrived damaged (it {wrong}): "
                    "run the same command again."
                )
            os.replace(part, blob)
        _link(blob, link)


def damage(
    path: Path, size: int | None, sums: list[str | None], watcher: Watcher | None = None
) -> str | None:
    """Say what is wrong with a file, or None: its size, then its checksums.

    A checksum is the start of a sha256, or the 40 digits of a git blob; other etags say nothing.
    """
    have = path.stat().st_size
    if size is not None and have < size:
        return f"ends after {have:,} of {size:,} bytes"
    if size is not None and have > size:
        return f"has {have:,} bytes instead of {size:,}"
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {have}\0".encode(), usedforsecurity=False)
    wanted = [s for s in sums if s and re.fullmatch(r"[0-9a-f]{8,64}", s)]
    if not wanted:
        return misshapen(path)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            if any(len(s) == 40 for s in wanted):
                git.update(chunk)
            if watcher is not None:
                watcher.advance(len(chunk))
    for expected in wanted:
        found = (git if len(expected) == 40 else sha256).hexdigest()
        if not found.startswith(expected):
            return f"has the checksum {found[:16]} instead of {expected[:16]}"
    return None


def _stream(repo: str, commit: str, remote: Remote, part: Path, watcher: Watcher) -> None:
    """Append to `part` until it has all bytes, through as many broken connections as bring some."""
    import httpx2
    from huggingface_hub import constants, get_session, hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
    )

    url = hf_hub_url(repo, remote.path, revision=commit)
    have = part.stat().st_size if part.exists() else 0
    if have > remote.size:
        part.unlink()
        have = 0
    part.touch()
    watcher.step(remote.path, remote.size, have)
    while have < remote.size:
        # Compressed answers cannot be continued in the middle.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        before, broken = have, None
        try:
            with get_session().stream(
                "GET",
                url,
                headers=headers,
                follow_redirects=True,
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            ) as answer:
                if have and answer.status_code == 416:  # the hub has no byte beyond these
                    raise _cut_short(repo, remote, have)
                hf_raise_for_status(answer)
                if have and answer.status_code != 206:  # the whole file again, not the rest
                    have = 0
                    watcher.step(remote.path, remote.size, 0)
                with part.open("ab" if have else "wb") as file:
                    for chunk in answer.iter_bytes():  # as they come, so that a break loses none
                        file.write(chunk)
                        have += len(chunk)
                        watcher.advance(len(chunk))
        except httpx2.TransportError as error:
            broken = error
        if have <= before:
            if broken is not None:
                raise broken
            raise _cut_short(repo, remote, have)


def _cut_short(repo: str, remote: Remote, have: int) -> ModelError:
    return ModelError(
        f"{remote.path} of {repo} is cut short: the hub sends only {have:,} of "
        f"{remote.size:,} bytes; try again later."
    )


def _link(blob: Path, link: Path) -> None:
    """Make `link` lead to `blob`; where there are no symbolic links, move the blob there."""
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(os.path.relpath(blob, link.parent))
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.replace(blob, link)


def _is_inside(path: str) -> bool:
    """Refuse names that would leave the snapshot's folder."""
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and not {"\\", ":"} & set(path)


@contextmanager
def hub_errors(repo: str, revision: str, path: str = "") -> Iterator[None]:
    """Turn what can go wrong between here and the hub into one sentence each."""
    import httpx2
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    file = f"{path} of {repo}" if path else repo
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise ModelError(f"{file} cannot be fetched offline: unset HF_HUB_OFFLINE.") from None
    except errors.GatedRepoError:
        raise ModelError(
            f"{repo} is gated: accept its terms at {hub}/{repo}, run `hf auth login`, try again."
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"{hub} has no model {repo}: check its name, or run `hf auth login` if it is private."
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"{repo} has no revision {revision} on {hub}.") from None
    except errors.EntryNotFoundError:
        raise ModelError(
            f"{repo} has no file {path} at revision {revision}, so voxkit cannot use it."
        ) from None
    except errors.HFValidationError:
        raise ModelError(f"{repo} is not the name of a model: hub names are OWNER/NAME.") from None
    except errors.FileMetadataError:
        raise ModelError(f"{hub} does not answer like a model hub: see HF_ENDPOINT.") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise ModelError(f"{hub} answered {status} for {file}: try again later.") from None
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{hub} cannot be reached ({why}): check the network and run the same command again; "
            "what has arrived is kept."
        ) from None
