"""Lets torch compile what the blocks of a decoder do around their attention.

On a GPU, eager torch starts some twenty kernels a block, which takes longer than they run;
compiled, what lies between two products is one.  Attention and its growing past stay as they are:
they change shape at every hop.  All blocks of a kind share what is compiled, for any number of
frames.  The network as it was is the plain path that this is tested against.
"""

from __future__ import annotations

import torch
from torch import nn

from voxkit.modules.linears import Packed

COMPILES = "compiles"  # what a module calls its methods that take and return tensors alone


def compile_layers(network: nn.Module, backend: str = "inductor") -> None:
    """Compile the methods that the modules of a network name, each when it is first called."""
    for module in network.modules():
        if isinstance(module, Packed) and module.weight.device.type == "cpu":
            # Their weights are in oneDNN's order, which the compiler cannot read.
            for name in ("forward", "gelu"):
                if hasattr(module, name):
                    setattr(module, name, torch.compiler.disable(getattr(module, name)))
        for name in getattr(module, COMPILES, ()):
            method = getattr(module, name)
            setattr(module, name, torch.compile(method, dynamic=True, backend=backend))
