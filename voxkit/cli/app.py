"""The `voxkit` command: its groups, its exit codes, and what becomes of errors."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from voxkit import __version__, interrupts
from voxkit.cli import (
    batch,
    bench,
    clone,
    convert,
    design,
    models,
    speak,
    styles,
    verify,
    voices,
)
from voxkit.cli.output import Output, close_quietly, flush
from voxkit.errors import VoxkitError

FAILED, WRONG_USAGE, INTERRUPTED, CLOSED_PIPE = 1, 2, 130, 141
FULL_DISK = {errno.ENOSPC: "The disk is full", errno.EDQUOT: "Your disk quota is used up"}


class Front(TyperGroup):
    """The top command.  What a user can put right becomes one sentence; bugs pass untouched."""

    def make_context(self, *given: Any, **named: Any) -> Any:
        """Read the flags; those that only tell something do so here."""
        with _told():
            return super().make_context(*given, **named)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        with _told():
            return super().invoke(ctx)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn foreseeable errors into a sentence and an exit code."""
    try:
        try:
            yield
        finally:
            flush()
    except VoxkitError as error:
        Output().error(str(error))
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        Output().error("Interrupted.")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        close_quietly()
        raise typer.Exit(CLOSED_PIPE) from error
    except OSError as error:
        Output().error(_refusal(error))
        raise typer.Exit(FAILED) from error
    except Exception as error:
        if (status := interrupts.status()) is None:
            raise
        if status == INTERRUPTED:
            Output().error("Interrupted.")  # what was torn up complains, as an import does
        raise typer.Exit(status) from error


def _refusal(error: OSError) -> str:
    """Return the sentence for what the operating system would not do, foreseen by no command."""
    where = f" ({_shortened(error.filename)})" if error.filename else ""
    if error.errno in FULL_DISK:
        return f"{FULL_DISK[error.errno]}{where}: free some space and try again."
    if error.errno == errno.ENOENT and not _is_somewhere():
        return "The folder that you work in is gone: change to one that is there."
    reason = (error.strerror or str(error)).lower()
    return f"The operating system refuses{where}: {reason}."


def _shortened(name: object) -> str:
    text = os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else str(name)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _is_somewhere() -> bool:
    """Tell whether the working folder exists."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


class LazyTrain(TyperGroup):
    """The `train` group, whose commands are imported when one of them is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the training commands."""
        return list(self._load())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find one training command."""
        return self._load().get(cmd_name)

    def _load(self) -> Any:
        from voxkit.cli import train

        self.commands.update(typer.main.get_command(train.app).commands)  # type: ignore[attr-defined]
        return self.commands


app = typer.Typer(
    cls=Front,
    help="Speak text and clone voices, on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        Output().line(f"voxkit {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Speak text and clone voices, on your own machine."""


app.command("speak")(speak.speak)
app.command("batch")(batch.batch)
app.command("clone")(clone.clone)
voices.app.command("check")(clone.check)
voices.app.command("describe")(design.describe)
app.command("design")(design.design)
app.command("convert")(convert.convert)
app.command("describe")(styles.describe)
app.command("bench")(bench.bench)
app.command("verify")(verify.verify)
app.add_typer(voices.app, name="voices")
app.add_typer(styles.app, name="styles")
app.add_typer(models.app, name="models")
app.add_typer(
    typer.Typer(cls=LazyTrain, no_args_is_help=True),
    name="train",
    help="Train the parts of a model from recipes.",
)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status: 0, 1 could not, 2 wrong usage, 130 …"""
    try:
        status = app(list(arguments), prog_name="voxkit", standalone_mode=False)
    except (
        typer.TyperException
    ) as error:  # wrong usage; without a message it was a request for help
        if message := error.format_message():
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "voxkit"
            Output().error(f"{message.rstrip('.')}. See '{command} --help'.")
        return error.exit_code
    return status if isinstance(status, int) else 0


def main() -> NoReturn:
    """Run the command line of this process; a request to stop cleans up first, and only once."""
    interrupts.heed()
    for name in ("stdout", "stderr"):  # closed by the caller: talk goes nowhere
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        sys.exit(run(sys.argv[1:]))
    finally:
        interrupts.finish()
