"""Starts the training of a part from the weights of a finished model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from voxkit import checkpoint
from voxkit.errors import TrainingError
from voxkit.families import read_spec
from voxkit.files import at_home
from voxkit.spec import ModelSpec

KEPT = {"tokenizer": "encoder.", "speaker": "encoder."}  # what a model holds of these networks


def find_model(model: str) -> Path:
    """Return the folder of a native model, given that folder or a name.  Raises `TrainingError`."""
    folder = at_home(model)
    if not folder.is_dir():
        known = {info.name: info.path for info in checkpoint.available()}
        if model not in known:
            raise TrainingError(f"There is no model {model!r}: give a model folder or voxkit-en.")
        folder = known[model]
    if not (folder / "config.json").is_file():
        raise TrainingError(f"{folder} holds no config.json: it is no model folder.")
    if not isinstance(read_spec(folder / "config.json"), ModelSpec):
        raise TrainingError(f"{folder} is of another family: only native models can be gone on.")
    return folder


def warm_start(net: nn.Module, part: str, folder: Path) -> list[str]:
    """Fill `net` with a model's weights of `part`; returns the names of what starts fresh.

    What only training needs, such as the tokenizer's teacher, is in no model.  Where `net` has more
    blocks than the model, the scale of their layers (ConvNeXt's gamma) starts at nothing, so that
    the deeper network starts as the shallower one.
    """
    path = folder / "model.safetensors"
    own, keep = net.state_dict(), KEPT.get(part, "")
    found = {
        keep + name.removeprefix(f"{part}."): weight.float()
        for name, weight in checkpoint.read_weights(path).items()
        if name.startswith(f"{part}.")
    }
    for name, weight in found.items():
        if name not in own or own[name].shape != weight.shape:
            asked = tuple(own[name].shape) if name in own else "nothing"
            raise TrainingError(
                f"{path}: {part}.{name.removeprefix(keep)} is {tuple(weight.shape)} where the "
                f"numbers to train ask for {asked}: give that model's config.json with --spec."
            )
    if not found:
        raise TrainingError(f"{path} has no weights of the {part} to start from.")
    fresh = [name for name in own if name not in found]
    with torch.no_grad():
        net.load_state_dict(own | found)
        for name in fresh:
            if name.endswith(".gamma"):
                net.get_parameter(name).zero_()
    return fresh
