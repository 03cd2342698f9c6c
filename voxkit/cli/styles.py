"""The `styles` group and `describe`: ways of speaking, and what models make of them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from voxkit.cli import flags
from voxkit.cli.output import Output
from voxkit.instruct import (
    FAMILIES,
    NEUTRAL,
    Rendering,
    Style,
    is_about_speaker,
    render,
    understand,
)
from voxkit.markup import HONOURED
from voxkit.presets import StylePreset, style_preset, style_presets
from voxkit.style import tell, tell_all

app = typer.Typer(help="See ways of speaking and what models make of them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """See ways of speaking and what models make of them."""


@app.command("list")
def list_styles(json: flags.JsonFlag = False) -> None:
    """List the styles for --style, your own and voxkit's."""
    out = Output(as_json=json)
    found = style_presets(out.warn)
    if json:
        out.json([_preset(preset) for preset in found])
        return
    out.table(
        ("NAME", "WHERE", "DESCRIPTION"),
        [(p.name, "yours" if p.own else "voxkit", p.description) for p in found],
    )


@app.command("show")
def show_style(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of a style.", autocompletion=flags.complete_style
        ),
    ],
    json: flags.JsonFlag = False,
) -> None:
    """Show one style and what each model is told."""
    out, preset = Output(as_json=json), style_preset(name)
    if json:
        out.json(_preset(preset) | {"models": _models(preset.style)})
        return
    out.line(f"{preset.name}: {preset.description}")
    out.line(f"  {tell_all(preset.style)}")
    out.line(f"  {preset.path}")
    _print_models(out, preset.style)


@app.command("markup")
def list_markup(json: flags.JsonFlag = False) -> None:
    """List the markup that a text may hold, and what each family of models does with it."""
    out = Output(as_json=json)
    if json:
        out.json([dataclasses.asdict(row) for row in HONOURED])
        return
    rows = [dataclasses.astuple(row) for row in HONOURED]
    out.table(tuple(field.name.upper() for field in dataclasses.fields(HONOURED[0])), rows)


def describe(
    description: Annotated[
        str,
        typer.Argument(
            metavar="DESCRIPTION", help='How to speak, as in "a bit sad, slowly" or "开心地说".'
        ),
    ],
    json: flags.JsonFlag = False,
) -> None:
    """Show what voxkit understands of a description, and what each model is told."""
    out = Output(as_json=json)
    if not description.strip():
        raise typer.BadParameter("is empty", param_hint="DESCRIPTION")
    style = understand(description)
    if json:
        report = {
            "words": style.words,
            "style": style.settings(),
            "understood": [{"phrase": p, "effect": effect} for p, effect in style.understood],
            "ignored": list(style.ignored),
            "models": _models(style),
        }
        out.json(report)
        return
    for phrase, effect in style.understood:
        out.line(f"“{phrase}”: {effect}")
    for phrase in style.ignored:
        why = ": that is a matter of the voice, see --voice" if is_about_speaker(phrase) else ""
        out.line(f"“{phrase}”: not understood, and never read aloud{why}")
    out.line(f"style: {tell_all(style)}")
    _print_models(out, style)


def _preset(preset: StylePreset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "description": preset.description,
        "own": preset.own,
        "path": str(preset.path),
        "style": preset.style.settings(),
    }


def _models(style: Style) -> list[dict[str, Any]]:
    return [dataclasses.asdict(render(style, family)) for family in FAMILIES]


def _print_models(out: Output, style: Style) -> None:
    for family in FAMILIES:
        told = render(style, family)
        out.line(f"{family}:")
        if told.instruction is not None:
            out.line(f"  told in words: {told.instruction}")
        out.line(f"  set exactly: {_controls(told)}")
        if told.approximated:
            out.line(f"  brought near: {'; '.join(told.approximated)}")
        if told.unsupported:
            out.line(f"  cannot: {'; '.join(told.unsupported)}")


def _controls(told: Rendering) -> str:
    found = dataclasses.asdict(told.controls)
    whisper = found.pop("whisper")
    parts = [tell(name, v) for name, v in found.items() if v != getattr(NEUTRAL, name)]
    parts += ["whisper: breath in place of voice"] if whisper else []
    return ", ".join(parts) or "nothing"
