"""The `batch` command: one sound file per line of text, done again only where something changed."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated

import typer

from voxkit.cli import flags
from voxkit.cli.manifest import (
    Entry,
    Job,
    Manifest,
    content_hash,
    file_names,
    plan,
    read_lines,
    rename,
    sole_writer,
)
from voxkit.cli.order import LOADING, Order, told
from voxkit.cli.output import Output
from voxkit.cli.request import Reading, Request, finder, named_voices, taking, tell_style, unheard
from voxkit.cli.sound_out import tell_rate
from voxkit.cli.speak import perform
from voxkit.cli.text_in import wanted_text
from voxkit.company import Company, Stage
from voxkit.errors import Interrupted, OutputError, TextError, VoxkitError
from voxkit.files import output_error
from voxkit.instruct import render
from voxkit.interrupts import CriticalSection

if TYPE_CHECKING:
    from voxkit.audio import Audio
    from voxkit.engine import Engine
    from voxkit.speech import Speech
    from voxkit.voice import Voice


# ---- doing it ---------------------------------------------------------------------------------


class _Stopped(Exception):
    """Ends a line that is being spoken when the batch is interrupted."""


@dataclass(frozen=True)
class Studio:
    """What all lines of a batch share, and what is being spoken; many threads may use it."""

    engine: Engine
    voice: Voice
    find: Callable[[str], Voice]
    order: Order  # of every line but for its text and seed
    provenance: flags.Record
    request: Request
    folder: Path
    format: str
    company: Company | None = None  # whose tasks are the lines, unless each works on its own
    piece: Stage[Speech, Audio | None] | None = None  # where the next piece of a line is made
    stopped: threading.Event = dataclasses.field(default_factory=threading.Event)
    speeches: set[Speech] = dataclasses.field(default_factory=set)

    def stop(self) -> None:
        """End every line that is being spoken, at its next token."""
        self.stopped.set()
        for speech in self.speeches.copy():
            speech.close()

    def make(self, job: Job) -> Entry:
        """Speak one line into its file."""
        from voxkit.audio import AudioWriter

        path = self.folder / job.name
        options = dataclasses.replace(self.order.options, seed=job.line.seed)
        order = dataclasses.replace(self.order, text=job.line.text, options=options)
        script = self.engine.prepare(order.reading.pieces(order.text))
        stream = self.engine.stream(
            script, self.voice, options, style=order.style, voices=self.find
        )
        writer = AudioWriter(
            path,
            self.engine.sample_rate,
            format=self.format,
            output_rate=order.sample_rate,
            force=job.replaces,
            comment=told(
                order, self.engine, self.voice, self.find, self.provenance, request=self.request
            ),
        )
        self.speeches.add(stream)
        try:
            self._heard(0.0)  # the batch may have been stopped before this speech was known
            with writer:
                with stream:
                    take = perform(self._pieces(stream), [writer.write], self._heard)
                self._heard(take.seconds)  # a speech that was closed between two pieces just ends
        except Interrupted:
            raise _Stopped from None
        finally:
            self.speeches.discard(stream)
        return dataclasses.replace(
            self.entry(job, "done"),
            duration=round(take.seconds, 3),
            bytes=path.stat().st_size,
            unsaid=(
                *script.unsaid,
                *script.notes,
                *unheard(script, order.style, self.engine.spec.family),
            ),
        )

    def entry(self, job: Job, status: str) -> Entry:
        """Return the bare manifest entry of a line."""
        return Entry(
            id=job.line.id,
            text=job.line.text,
            voice=self.voice.name,
            seed=job.line.seed,
            status=status,
            hash=job.hash,
            path=job.name,
        )

    def _pieces(self, speech: Speech) -> Iterator[Audio]:
        """Yield the pieces of a speech, which the thread that runs the company makes if it can."""
        if self.piece is None:
            yield from speech
            return
        while (piece := self.piece.ask(speech)) is not None:
            yield piece

    def _heard(self, seconds: float) -> None:
        if self.stopped.is_set():
            raise _Stopped


def _next_pieces(speeches: Sequence[Speech]) -> list[Audio | None]:
    return [next(speech, None) for speech in speeches]


def make_all(
    studio: Studio,
    jobs: Sequence[Job],
    manifest: Manifest,
    *,
    workers: int,
    names: Collection[str],
    done: Callable[[Job, Entry], None],
) -> None:
    """Speak lines in threads and record each as it ends.  A failing line never stops the others.

    A bug met in a line lets the others finish too, and is raised after them.
    """
    bugs: list[BaseException] = []

    def record(index: int, future: Future[Entry]) -> None:
        job, error = jobs[index], future.exception()
        if isinstance(error, _Stopped):
            return
        former = manifest.entries.get(job.line.id)
        if error is None:
            entry = future.result()
        else:
            known = isinstance(error, VoxkitError)
            reason = str(error) if known else f"bug in voxkit: {type(error).__name__}: {error}"
            size = former.bytes if former and former.path == job.name else None
            entry = dataclasses.replace(studio.entry(job, "failed"), error=reason, bytes=size)
            if not known and not bugs:  # of one alone, since each holds what it worked on
                bugs.append(error)
        _tidy(former, entry, manifest, names)
        manifest.add(entry)
        done(job, entry)

    tasks = [partial(studio.make, job) for job in jobs]
    try:
        if studio.company is None:
            _run_apart(tasks, workers, record, studio.stop)
        else:
            studio.company.run(tasks, record)
    finally:
        studio.stop()
    if bugs:
        raise bugs[0]


def _run_apart(
    tasks: Sequence[Callable[[], Entry]],
    workers: int,
    ended: Callable[[int, Future[Entry]], None],
    stop: Callable[[], None],
) -> None:
    """Do tasks in threads, and tell the index of each as it ends; `stop` ends those at work."""
    futures: dict[Future[Entry], int] = {}  # of which nothing has been told
    ready = SimpleQueue[Future[Entry]]()
    with CriticalSection() as section, ThreadPoolExecutor(workers) as pool:
        try:
            for index, task in enumerate(tasks):
                future = pool.submit(task)
                futures[future] = index
                future.add_done_callback(ready.put)
            while futures:
                with section.interruptible():
                    future = ready.get()
                ended(futures.pop(future), future)
        finally:
            stop()
            pool.shutdown(cancel_futures=True)
            with ExitStack() as untold:  # all of it, even if one cannot be told
                for future, index in futures.items():
                    if not future.cancelled():
                        untold.callback(ended, index, future)


def _tidy(former: Entry | None, entry: Entry, manifest: Manifest, names: Collection[str]) -> None:
    """Remove what a new file outdates: the line's file of another name, others' entries of this."""
    if entry.status != "done":
        return
    folder = manifest.path.parent
    elsewhere = former and former.path != entry.path and former.path not in names
    if former and elsewhere and former.untouched(folder):
        (folder / former.path).unlink()
    for other in list(manifest.entries.values()):
        if other.path == entry.path and other.id != entry.id:
            del manifest.entries[other.id]


# ---- the command ------------------------------------------------------------------------------


@taking(Request)
def batch(
    lines_file: Annotated[
        str, typer.Argument(metavar="LINES.txt", help="Text with one utterance a line; - is stdin.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the sound files.")
    ],
    format: flags.FormatFlag = None,
    sample_rate: flags.SampleRateFlag = None,
    name_template: Annotated[
        str,
        typer.Option(
            "--name-template",
            metavar="TEMPLATE",
            help="File names from {index} {slug} {id} {seed}.",
        ),
    ] = "{index:04d}_{slug}",
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=64, help="Lines spoken at once, each by itself.")
    ] = 1,
    together: Annotated[
        int,
        typer.Option(
            "--together",
            min=0,
            max=64,
            help="Lines whose tokens are made in one pass over the model's weights: quicker with a "
            "large model, but a line may then differ from the same line alone.",
        ),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be done.")
    ] = False,
    force: flags.ForceFlag = False,
    provenance: flags.ProvenanceFlag = flags.Record.text,
    seed: flags.BatchSeedFlag = 0,
    request: Request = Request(),  # noqa: B008 (frozen)
) -> None:
    """Speak every line of a text into its own file; run again, only what is missing or changed.

    Each line has a seed of its own, made from --seed and its words, which manifest.jsonl tells:
    with it, `speak --seed` says the same line the same way.
    """
    from voxkit.audio import FORMATS

    out = Output(request.quiet, request.json)
    if together and jobs > 1:
        raise typer.BadParameter("cannot go with --together", param_hint="--jobs")
    options, reading, style = request.options(seed), request.reading(), request.wanted_style()
    text = wanted_text(["-"], None) if lines_file == "-" else wanted_text(None, Path(lines_file))
    lines = read_lines(text or "", seed)
    if not lines:
        raise TextError(f"{lines_file} holds no text: write one utterance on each line.")
    extension = format or flags.Format.wav
    names = file_names(lines, name_template, extension)
    wanted = request.wanted()
    if wanted.doubt:
        out.warn(wanted.doubt)
    _check_folder(output, make=not dry_run)
    Manifest(output)  # one that cannot be read is refused before anything is loaded
    engine = request.load(out, together=together)
    if sample_rate is not None:
        tell_rate(out, sample_rate, FORMATS[extension].legal_rate(sample_rate))
    order = Order("", reading, options, style, sample_rate).for_a_file(engine, request)
    with out.bar("Hearing the voice", None):
        wanted = wanted.on(engine)
    assert wanted.voice is not None  # Wanted.on always finds or makes one
    find = finder(engine)
    tell_style(out, style, render(style, engine.spec.family), engine.spec.name)
    facts = {
        "voice": wanted.content,
        "model": [engine.fingerprint, engine.spec.name, engine.spec.revision]
        + [f"{name}={getattr(request, name)}" for name in LOADING if _asked(request, name)]
        + ["together"] * (together > 0)
        + ["compile"] * request.compile,
        "options": dataclasses.asdict(dataclasses.replace(order.options, seed=0)),
        "style": [style.settings(), style.said, style.exact],
        "reading": [reading.ssml, {word: said.value for word, said in reading.lexicon.items()}],
        "format": extension,
        "sample_rate": sample_rate,
    }
    hashes = {
        line.id: content_hash(line, facts | _named(line.text, reading, find)) for line in lines
    }
    if dry_run:
        _show_plan(out, plan(lines, names, hashes, Manifest(output), force=force))
        return
    studio = Studio(engine, wanted.voice, find, order, provenance, request, output, extension)
    if engine.company is not None:
        studio = dataclasses.replace(studio, company=engine.company)
    elif jobs == 1:
        company = Company(1)
        studio = dataclasses.replace(studio, company=company, piece=company.stage(_next_pieces))
    with sole_writer(output):
        manifest = Manifest(output)
        todo = plan(lines, names, hashes, manifest, force=force)
        _run(out, studio, todo, manifest, workers=jobs, together=together)


def _asked(request: Request, name: str) -> bool:
    """Tell whether a flag was given that a request without flags has not."""
    return bool(getattr(request, name) != getattr(Request(), name))


def _named(text: str, reading: Reading, find: Callable[[str], Voice]) -> dict[str, object]:
    """Return what the voices that a line names are made of, for its hash."""
    from voxkit.provenance import digest

    try:
        names = named_voices(reading.pieces(text))
        return {"voices": {name: digest(find(name)) for name in names}} if names else {}
    except VoxkitError:
        return {}  # speaking the line will fail and say why


def _check_folder(folder: Path, *, make: bool) -> None:
    """Raise `OutputError` unless files can be written into `folder`."""
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{folder} is not a folder: give one with -o.") from None
    except OSError as error:
        raise output_error(folder / "file", error) from None
    if make:
        flags.check_place(folder / ".voxkit-trial", force=True)


def _show_plan(out: Output, jobs: Sequence[Job]) -> None:
    """Print what would be done, one line each."""
    if out.as_json:
        out.json(
            [
                {
                    "action": job.action,
                    "id": job.line.id,
                    "path": job.name,
                    "seed": job.line.seed,
                    "text": job.line.text,
                }
                for job in jobs
            ]
        )
        return
    rows = [(job.action, job.name, str(job.line.seed), job.line.text) for job in jobs]
    out.table(("ACTION", "FILE", "SEED", "TEXT"), rows)


def _run(
    out: Output,
    studio: Studio,
    jobs: Sequence[Job],
    manifest: Manifest,
    *,
    workers: int,
    together: int,
) -> None:
    """Do a plan, report it, and exit with 1 if any line failed."""
    to_make = [job for job in jobs if job.action == "make"]
    if together:  # lines of like length keep each other company to the end
        to_make.sort(key=lambda job: len(job.line.text), reverse=True)
    failures = [
        (job, f"{studio.folder / job.name} is in the way and not from this batch: use --force.")
        for job in jobs
        if job.action == "blocked"
    ]
    made: list[Entry] = []
    spoken = 0
    started = time.perf_counter()
    total = float(sum(len(job.line.text) for job in to_make))

    def done(job: Job, entry: Entry) -> None:
        nonlocal spoken
        spoken += len(job.line.text)
        if entry.status == "failed":
            failures.append((job, entry.error or ""))
        else:
            made.append(entry)
        if entry.unsaid:
            out.warn(f"Line {job.line.index}: not spoken: {', '.join(map(repr, entry.unsaid))}")
        bar.at(spoken, f"{len(made)} of {len(to_make)} lines")

    rename(jobs, manifest)
    _tell_edited(out, jobs, manifest)
    try:
        with out.bar(f"0 of {len(to_make)} lines", total) as bar:
            names = {job.name for job in jobs}
            make_all(studio, to_make, manifest, workers=workers, names=names, done=done)
    except KeyboardInterrupt:
        out.note(f"{len(made)} of {len(to_make)} lines were made: run again to go on.")
        raise
    finally:
        manifest.rewrite([job.line.id for job in jobs])
    elapsed, seconds = time.perf_counter() - started, sum(e.duration or 0.0 for e in made)
    report = {
        "folder": str(studio.folder),
        "manifest": str(manifest.path),
        "lines": len(jobs),
        "made": len(made),
        "kept": sum(job.action == "keep" for job in jobs),
        "renamed": sum(job.action == "rename" for job in jobs),
        "failed": len(failures),
        "left": sum(entry.status == "left" for entry in manifest.entries.values()),
        "seconds": round(seconds, 3),
        "rtf": round(elapsed / seconds, 4) if seconds else None,
    }
    out.note(_summary(report))
    for job, reason in failures[:10]:
        out.error(f"Line {job.line.index} ({job.line.text[:40]!r}): {reason}")
    if len(failures) > 10:
        out.error(f"{len(failures) - 10} more lines failed: see {manifest.path}.")
    if out.as_json:
        told = [{"index": j.line.index, "id": j.line.id, "error": r} for j, r in failures]
        out.json(report | {"failures": told})
    if failures:
        raise typer.Exit(1)


def _tell_edited(out: Output, jobs: Sequence[Job], manifest: Manifest) -> None:
    """Name files that are kept though they are no longer as the batch wrote them."""
    folder = manifest.path.parent
    kept = [job for job in jobs if job.action in ("keep", "rename")]
    edited = [job.name for job in kept if not manifest.entries[job.line.id].untouched(folder)]
    if edited:
        more = f" and {len(edited) - 3} more" if len(edited) > 3 else ""
        out.warn(
            f"Kept as somebody has changed them since: {', '.join(edited[:3])}{more}; "
            "--force makes all anew."
        )


def _summary(report: dict[str, object]) -> str:
    """Return one line that says how a batch went."""
    parts = [f"{report[key]} {key}" for key in ("made", "kept", "renamed", "failed") if report[key]]
    speed = f", RTF {report['rtf']:.2f}" if isinstance(report["rtf"], float) else ""
    left = f"; {report['left']} files of lines that are gone were left" if report["left"] else ""
    return (
        f"{report['folder']}: {report['lines']} lines, {', '.join(parts)} "
        f"({report['seconds']} s of speech{speed}){left}"
    )
