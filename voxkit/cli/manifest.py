"""What a batch has to do: its lines, their names, and the manifest of what was done before."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxkit.errors import OutputError, VoxkitError
from voxkit.files import output_error, whole_file

NAME = "manifest.jsonl"
_SLUG_LENGTH = 40


@dataclass(frozen=True)
class Line:
    """One line to be spoken.

    `id` comes from the words and how often they stood before, not from the line number: inserting
    or removing other lines leaves ids, and with them seeds and finished files, as they were.
    """

    id: str
    index: int  # counts the lines that are not empty, from 1
    text: str
    seed: int

    @property
    def slug(self) -> str:
        """The first words of the text, fit for a file name."""
        plain = unicodedata.normalize("NFKD", self.text).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")
        if len(slug) > _SLUG_LENGTH:
            slug = slug[: _SLUG_LENGTH + 1].rpartition("-")[0] or slug[:_SLUG_LENGTH]
        return slug or "line"


def read_lines(text: str, seed: int) -> list[Line]:
    """Return the lines of `text` that are not empty, each with its own id and seed."""
    lines: list[Line] = []
    seen: Counter[str] = Counter()
    for raw in filter(str.strip, re.split(r"\r\n|\r|\n", text)):
        words = " ".join(raw.split())
        seen[words] += 1
        again = f"-{seen[words]}" if seen[words] > 1 else ""
        line_id = hashlib.sha256(words.encode()).hexdigest()[:16] + again
        lines.append(Line(line_id, len(lines) + 1, raw.strip(), line_seed(seed, line_id)))
    return lines


def line_seed(seed: int, line_id: str) -> int:
    """Return the seed of one line: 32 bits that depend on the batch's seed and the line's id."""
    return int.from_bytes(hashlib.sha256(f"{seed} {line_id}".encode()).digest()[:4], "big")


def content_hash(line: Line, facts: dict[str, Any]) -> str:
    """Return the hash of all that decides how a line sounds; another hash means: speak it anew."""
    everything = {"text": line.text, "seed": line.seed, **facts}
    packed = json.dumps(everything, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(packed.encode()).hexdigest()[:32]


def file_names(lines: Sequence[Line], template: str, extension: str) -> dict[str, str]:
    """Return a file name for each line's id.  Raises `OutputError` for a useless template."""
    names: dict[str, str] = {}
    taken: dict[str, int] = {}
    for line in lines:
        fields = {"index": line.index, "id": line.id, "slug": line.slug, "seed": line.seed}
        try:
            stem = string.Formatter().vformat(template, (), fields)
        except (LookupError, ValueError, AttributeError, TypeError, MemoryError) as error:
            raise OutputError(
                f"The name template {template!r} cannot be used ({error}): "
                f"its fields are {', '.join(f'{{{f}}}' for f in fields)}."
            ) from None
        name = f"{stem}.{extension}"
        if not stem.strip(". ") or not is_plain_name(name):
            raise OutputError(
                f"The name template {template!r} gives {name[:60]!r}: use a plain, short file name."
            )
        first = taken.setdefault(name.casefold(), line.index)
        if first != line.index:
            raise OutputError(
                f"Lines {first} and {line.index} would both be {name}: "
                "put {index} or {id} into the name template."
            )
        names[line.id] = name
    return names


def is_plain_name(name: str) -> bool:
    """Tell whether a name is of a file in the folder itself, short and without odd characters."""
    plain = name.isprintable() and not re.search(r"[/\\]", name) and name not in ("", ".", "..")
    return plain and len(name.encode()) <= 200


# ---- the file ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one line became."""

    id: str
    text: str
    voice: str
    seed: int
    status: str  # done, failed, or left: its line is no longer in the input
    hash: str
    path: str  # name in the batch's folder
    duration: float | None = None  # seconds
    bytes: int | None = None  # size of the file as it was written
    unsaid: tuple[str, ...] = ()
    error: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no batch writes: no file elsewhere is touched.  Raises `ValueError`."""
        texts = (self.id, self.text, self.voice, self.status, self.hash, self.path, *self.unsaid)
        if not all(isinstance(text, str) for text in texts) or not is_plain_name(self.path):
            raise ValueError("an entry that is none")
        if not is_plain_name(self.id) or not isinstance(self.bytes, int | None):
            raise ValueError("an entry that is none")

    def untouched(self, folder: Path) -> bool:
        """Whether its file is there as the batch wrote it, so that it may be replaced.

        An empty one is nobody's work: a disk without room leaves such.
        """
        file = folder / self.path
        return file.is_file() and file.stat().st_size in (self.bytes, 0)

    def moving(self, folder: Path) -> Path:
        """Return where its file is while it changes names, and after a kill in between."""
        return folder / f".voxkit-{self.id}{Path(self.path).suffix}"


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Keep other batches out of a folder.  Raises `OutputError` while another is at work there.

    Where the system or its disk knows no such locks, nobody is kept out.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            handle = os.open(folder, os.O_RDONLY)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"Another batch is writing into {folder}: wait for its end or use another folder."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF):
                raise output_error(folder / NAME, error) from None
        yield


class Manifest:
    """The manifest of one folder.  A kill at any moment leaves a file that can be read again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.entries: dict[str, Entry] = {}
        self._read()

    def _read(self) -> None:
        """Read entries, later ones replacing earlier ones; a torn last line is dropped."""
        try:
            rows = self.path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise VoxkitError(f"{self.path} cannot be read ({error}): move it away.") from None
        for number, row in enumerate(rows, 1):
            if not row:
                continue
            try:
                data = json.loads(row)
                entry = Entry(**{**data, "unsaid": tuple(data.get("unsaid", ()))})
                _row(entry)  # which half a character would not let
            except (ValueError, TypeError, AttributeError, RecursionError):
                if number == len(rows):  # no newline after it: its writing was cut short
                    return
                raise VoxkitError(
                    f"{self.path}, line {number}, is not of a voxkit batch: "
                    "move the file away or use another folder."
                ) from None
            self.entries[entry.id] = entry

    def add(self, entry: Entry) -> None:
        """Record one entry at once, by appending."""
        self.entries[entry.id] = entry
        row = _row(entry)
        try:
            # A descriptor, since Ctrl-C may come before a file object is in anybody's hands.
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                end = os.lseek(file, 0, os.SEEK_END)
                if os.write(file, row) < len(row):  # the disk is full: leave no torn line behind
                    os.ftruncate(file, end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(file)
        except OSError as error:
            raise output_error(self.path, error) from None

    def rewrite(self, order: Iterable[str]) -> None:
        """Write the whole file anew: the entries of `order` first, then those of former lines."""
        first = [self.entries[i] for i in order if i in self.entries]
        ids = {entry.id for entry in first}
        rest = [entry for entry in self.entries.values() if entry.id not in ids]
        with whole_file(self.path, force=True) as part:
            try:
                part.write_bytes(b"".join(map(_row, [*first, *rest])))
            except OSError as error:
                raise output_error(self.path, error) from None


def _row(entry: Entry) -> bytes:
    return json.dumps(dataclasses.asdict(entry), ensure_ascii=False).encode() + b"\n"


# ---- what is to be done -----------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What is to be done for one line."""

    line: Line
    name: str  # of its file
    hash: str
    action: str  # make, keep, rename, or blocked: a file that is not ours stands in the way
    replaces: bool  # whether the file of that name may be replaced


def plan(
    lines: Sequence[Line],
    names: dict[str, str],
    hashes: dict[str, str],
    manifest: Manifest,
    *,
    force: bool,
) -> list[Job]:
    """Decide for each line whether to make, keep or rename its file."""
    folder = manifest.path.parent
    kept = {line.id: _kept(line, hashes[line.id], manifest) for line in lines if not force}
    leaving = {old.path for i, old in kept.items() if old and old.path != names[i]}
    ours = {e.path for e in manifest.entries.values() if e.untouched(folder)}
    jobs = []
    for line in lines:
        name, old = names[line.id], kept.get(line.id)
        if old:
            action = "keep" if old.path == name and (folder / name).is_file() else "rename"
        else:
            action = "make"
        replaces = force or name in ours
        free = replaces or name in leaving or not (folder / name).exists()
        if action != "keep" and (not free or (folder / name).is_dir()):
            action = "blocked"
        jobs.append(Job(line, name, hashes[line.id], action, replaces))
    return jobs


def _kept(line: Line, hash: str, manifest: Manifest) -> Entry | None:
    """Return the entry of a line that need not be spoken again."""
    entry = manifest.entries.get(line.id)
    if entry is None or entry.hash != hash or entry.status == "failed":
        return None
    folder = manifest.path.parent
    there = any(map(_holds_something, (folder / entry.path, entry.moving(folder))))
    return entry if there else None


def _holds_something(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def rename(jobs: Sequence[Job], manifest: Manifest) -> None:
    """Give kept files their new names and bring the manifest up to date.

    Files step aside, then the manifest is written, then they take their names: a kill anywhere in
    between leaves each file where its old or new entry, or `Entry.moving`, says it is.
    """
    folder = manifest.path.parent
    wanted = {job.line.id: job for job in jobs}
    moves = [manifest.entries[job.line.id] for job in jobs if job.action == "rename"]
    try:
        for entry in moves:
            if (folder / entry.path).is_file():
                os.replace(folder / entry.path, entry.moving(folder))
        taken = {job.name for job in jobs if job.action == "rename"}
        for entry in list(manifest.entries.values()):
            job = wanted.get(entry.id)
            if job is not None and job.action in ("keep", "rename"):
                changed = dataclasses.replace(entry, path=job.name, status="done")
                manifest.entries[entry.id] = changed
            elif entry.path in taken or (job is None and not (folder / entry.path).is_file()):
                del manifest.entries[entry.id]
            elif job is None:
                manifest.entries[entry.id] = dataclasses.replace(entry, status="left")
        manifest.rewrite(wanted)
        for entry in moves:
            os.replace(entry.moving(folder), folder / wanted[entry.id].name)
    except OSError as error:
        raise output_error(manifest.path, error) from None
