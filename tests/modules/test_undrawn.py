"""Networks made without initial weights."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from voxkit.modules.undrawn import Undrawn


def test_nothing_is_drawn_and_everything_else_happens() -> None:
    before = torch.random.get_rng_state()
    with Undrawn():
        layers = nn.ModuleList(
            [nn.Linear(3, 4), nn.Embedding(5, 3), nn.Conv1d(2, 3, 3), nn.LayerNorm(4)]
        )
        assert torch.arange(4).sum() == 6
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [tuple(p.shape) for p in layers.parameters()] == [
        (4, 3),
        (4,),
        (5, 3),
        (3, 2, 3),
        (3,),
        (4,),
        (4,),
    ]


def test_afterwards_weights_are_drawn_again() -> None:
    with Undrawn():
        nn.Linear(3, 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = nn.Linear(3, 4).weight, nn.Linear(3, 4).weight
    assert not torch.equal(first, second)


def test_the_networks_of_the_hub_models_need_no_compiler_of_torch() -> None:
    code = (
        "import sys; from voxkit.cosyvoice import networks; from voxkit.families import read_spec;"
        "from importlib import resources;"
        "[networks(read_spec(resources.files('voxkit') / 'specs' / f'cosyvoice{n}.json'))"
        " for n in (2, 3)];"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
