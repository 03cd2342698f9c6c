"""Makes networks without drawing initial weights, for those that are filled from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWING = {torch.nn.init.kaiming_uniform_, torch.nn.init.normal_, torch.nn.init.uniform_}


class Undrawn(TorchFunctionMode):
    """A context in which torch's own layers keep whatever their memory held.

    Drawing takes a third of the time to load `voxkit-en`.  On the meta device it takes none, but
    `normal_` there imports torch's compiler, for a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave a tensor that was to be filled with random numbers as it is."""
        given = dict(kwargs or {})
        if func in _DRAWING:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)
