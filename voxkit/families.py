"""Reads the numbers of a model of any family: the `config.json` that travels with its weights."""

from __future__ import annotations

from pathlib import Path

from voxkit.cosyvoice_spec import CosyVoiceSpec
from voxkit.spec import ModelSpec, from_dict, read_json

AnySpec = ModelSpec | CosyVoiceSpec


def read_spec(path: Path) -> AnySpec:
    """Read a `config.json`.  Raises `SpecError` naming the file and the entry that is wrong."""
    data = read_json(path)
    if isinstance(data, dict) and data.get("family") in ("cosyvoice2", "cosyvoice3"):
        return from_dict(CosyVoiceSpec, data, path.name)
    return from_dict(ModelSpec, data, path.name)
