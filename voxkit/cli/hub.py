"""The commands about hub models: fetch one, find it, check it, describe it, delete it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from voxkit.cli import flags
from voxkit.cli.output import Bar, Output
from voxkit.errors import ModelError

if TYPE_CHECKING:
    from voxkit.engine import Engine
    from voxkit.hub import HubInfo


_WORTH_A_BAR = 1_000_000  # bytes; smaller files would only flicker


def _complete_name(incomplete: str) -> list[str]:
    """Offer the models that have a name to the shell."""
    from voxkit import hub

    return [model.name for model in hub.known() if model.name.startswith(incomplete)]


def _bundled(name: str) -> Path | None:
    """Return the folder of a model that comes with voxkit, or None."""
    from voxkit import checkpoint

    return next((m.path for m in checkpoint.bundled() if m.name == name), None)


NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="cosyvoice2, cosyvoice3, OWNER/NAME on the hub, or a folder.",
        autocompletion=_complete_name,
    ),
]


class Watch:
    """Shows a download or a conversion: one sentence before it starts, then a bar for each file."""

    def __init__(self, out: Output, words: str = "") -> None:
        """With `words`, show them until there is something to watch."""
        self._out, self._words = out, words
        self._open = contextlib.ExitStack()  # the bar on show
        self._bar = Bar()
        self._done = 0

    def __enter__(self) -> Self:
        if self._words:
            self._open.enter_context(self._out.bar(self._words, None))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def begin(self, model: str, files: int, size: int, folder: Path) -> None:
        """Say how much will be fetched, and where to."""
        from voxkit.hub import human

        self._open.close()
        count = "1 file" if files == 1 else f"{files} files"
        self._out.note(f"Fetching {model}: {human(size)} in {count} into {folder}.")

    def convert(self, model: str, size: int, folder: Path) -> None:
        """Say how much is converted, and where to."""
        from voxkit.hub import human

        self._open.close()
        self._out.note(f"Converting {model} once: {human(size)} into {folder}.")
        self.step(f"converting {model}", size, 0)

    def step(self, words: str, size: int, done: int) -> None:
        """Start the bar of the next piece of work."""
        self._open.close()
        self._done, self._bar = done, Bar()
        if size >= _WORTH_A_BAR:
            self._bar = self._open.enter_context(self._out.bar(words, size, in_bytes=True))
        self._bar.at(done)

    def advance(self, count: int) -> None:
        """Move the bar by `count` bytes."""
        self._done += count
        self._bar.at(self._done)


Loading = tuple[str, str, str, str | None, bool]  # model, device, dtype, quantize, compat
_kept: dict[Loading, Engine] = {}  # filled in a warm worker only, before it forks for a request


def keep(asked: Mapping[str, str]) -> Engine:
    """Load what the given flags ask for, and hand it out whenever it is asked for again.

    Nothing is fetched for it, since nobody would see that.
    """
    from voxkit import checkpoint

    loading = (
        asked.get("model", flags.DEFAULT_MODEL),
        asked.get("device", "auto"),
        asked.get("dtype", "auto"),
        asked.get("quantize"),
        "compat" in asked,
    )
    model, device, dtype, quantize, compat = loading
    _kept[loading] = checkpoint.load(
        model, device=device, dtype=dtype, quantize=quantize, compat=compat, offline=True
    )
    return _kept[loading]


def load_model(
    out: Output,
    model: str,
    *,
    device: str,
    threads: int | None,
    offline: bool,
    compat: bool = False,
    dtype: str = "auto",
    quantize: str | None = None,
    together: int = 0,
    compile: bool = False,
) -> Engine:
    """Load a model and show what takes time: the fetching and converting of a hub model, once."""
    kept = _kept.get((model, device, dtype, quantize, compat))
    if kept and not together and not compile:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        return kept
    from voxkit import checkpoint

    with Watch(out, "Loading the model") as watch:
        return checkpoint.load(
            model,
            device=device,
            threads=threads,
            offline=offline,
            compat=compat,
            dtype=dtype,
            quantize=quantize,
            together=together,
            compile=compile,
            watcher=watch,
        )


def pull(
    name: NameArgument,
    offline: flags.OfflineFlag = False,
    json: flags.JsonFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Fetch a model from the hub, or what is missing or damaged of it, and print its folder."""
    from voxkit import hub

    out = Output(quiet=quiet, as_json=json)
    with Watch(out) as watch:
        folder = hub.pull(_bundled(name) or name, offline=offline, watcher=watch)
    if json:
        out.json(_report(_described(name)))
    else:
        out.line(str(folder))


def path(name: NameArgument, json: flags.JsonFlag = False) -> None:
    """Print the folder of a model that is on this machine."""
    from voxkit import hub

    folder = hub.locate(_bundled(name) or name)
    if folder is None:
        raise ModelError(
            f"{name} is not whole on this machine: run `voxkit models pull {name}` first."
        )
    out = Output(as_json=json)
    if json:
        out.json({"name": name, "path": str(folder)})
    else:
        out.line(str(folder))


def verify(
    name: NameArgument, json: flags.JsonFlag = False, quiet: flags.QuietFlag = False
) -> None:
    """Check size and checksum of every file of a model; exit with 1 if something is wrong."""
    from voxkit import hub

    out = Output(quiet=quiet, as_json=json)
    with Watch(out) as watch:
        problems = hub.verify(_bundled(name) or name, watcher=watch)
    if json:
        listed = [{"file": problem.path, "message": problem.message} for problem in problems]
        out.json({"name": name, "ok": not problems, "problems": listed})
    for problem in problems:
        out.warn(problem.message)
    model = _described(name)
    if problems and model.repo is None:
        raise ModelError(f"{name} is damaged: put back the files named above.")
    if problems:
        raise ModelError(f"{name} is damaged: run `voxkit models pull {name}` to repair it.")
    out.note(f"{name} is whole: {len(model.files)} files are as they should be.")


def rm(name: NameArgument, json: flags.JsonFlag = False, quiet: flags.QuietFlag = False) -> None:
    """Delete a fetched model with its conversion; of a folder of yours, the conversion alone."""
    from voxkit import catalogue, hub

    if _bundled(name):
        raise ModelError(f"{name} is a part of voxkit and cannot be removed.")
    freed = hub.remove(name)
    out = Output(quiet=quiet, as_json=json)
    if json:
        out.json({"name": name, "freed": freed})
    own = catalogue.resolve(name).folder is not None
    what = f"what was converted from {name}" if own else name
    out.note(f"Removed {what}: {hub.human(freed)} freed.")


def info(name: NameArgument, json: flags.JsonFlag = False) -> None:
    """Describe a model: where it comes from, its files, and what of it is on this machine."""
    from voxkit import hub

    found = _described(name)
    out = Output(as_json=json)
    if json:
        out.json(_report(found))
        return
    here = sum(found.present.values())
    rows = [
        ("name", found.name),
        ("description", found.description),
        ("family", found.family or "unknown"),
        ("hub", f"{found.repo}@{found.revision}" if found.repo else "a local folder"),
        ("size", f"{hub.human(found.size)}, {hub.human(here)} on this machine"),
        ("folder", str(found.folder or "not whole on this machine")),
        *(("converted", str(folder)) for folder in found.converted),
        *(
            (file.path, f"{hub.human(file.size or 0)}{_state(found, file.path, file.size)}")
            for file in found.files
        ),
    ]
    out.table(("", ""), [row for row in rows if row[1]])


def _described(name: str) -> HubInfo:
    from voxkit import hub

    return dataclasses.replace(hub.info(_bundled(name) or name), name=name)


def _state(found: HubInfo, name: str, size: int | None) -> str:
    if name not in found.present:
        return ", missing"
    return "" if size in (None, found.present[name]) else ", incomplete"


def _report(found: HubInfo) -> dict[str, object]:
    """Return what `--json` prints about a model."""
    return {
        "name": found.name,
        "family": found.family,
        "repo": found.repo,
        "revision": found.revision,
        "description": found.description,
        "path": str(found.folder) if found.folder else None,
        "bytes": found.size,
        "files": [
            {"path": file.path, "bytes": file.size, "present": found.present.get(file.path, 0)}
            for file in found.files
        ],
        "converted": [str(folder) for folder in found.converted],
    }
