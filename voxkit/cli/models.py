"""The `models` group: which models are on this machine."""

from __future__ import annotations

import typer

from voxkit.cli import flags, hub
from voxkit.cli.output import Output

app = typer.Typer(help="See the models on this machine.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """See the models on this machine."""


@app.command("list")
def list_models(json: flags.JsonFlag = False) -> None:
    """List the bundled model and the models in the cache."""
    from voxkit import checkpoint

    out = Output(as_json=json)
    found = checkpoint.available()
    if json:
        out.json(
            [
                {
                    "name": model.name,
                    "family": model.family,
                    "bundled": model.bundled,
                    "bytes": model.bytes,
                    "path": str(model.path),
                    "description": model.description,
                }
                for model in found
            ]
        )
        return
    out.table(
        ("NAME", "FAMILY", "SIZE", "WHERE", "DESCRIPTION"),
        [
            (
                model.name,
                model.family,
                f"{model.bytes / 1e6:.1f} MB",
                "bundled" if model.bundled else str(model.path),
                model.description,
            )
            for model in found
        ],
    )


app.command("pull")(hub.pull)
app.command("path")(hub.path)
app.command("verify")(hub.verify)
app.command("rm")(hub.rm)
app.command("info")(hub.info)
