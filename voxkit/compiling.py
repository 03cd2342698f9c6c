"""Lets torch's compiler at a decoder: where what it makes is kept, in which thread it works."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from voxkit.catalogue import home_folder
from voxkit.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from voxkit.engine import Decoder
    from voxkit.options import Options
    from voxkit.voice import Voice


def compiled(decoder: Decoder) -> Decoder:
    """Let torch compile the layers of a new decoder, when they are first asked for.

    What the compiler makes is kept for later processes in the user's own cache: the folder that it
    would take by itself is one where others may put something.
    Raises `ModelError` where there is no compiler.
    """
    from voxkit.modules.compiled import compile_layers

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home_folder() / "voxkit" / "compiled"))
    apart = Apart(decoder)
    try:
        apart.thread.submit(_tried, next(decoder.network.parameters()).device).result()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(f"Nothing can be compiled here ({reason}): leave --compile out.") from None
    compile_layers(decoder.network)
    return apart


def _tried(device: torch.device) -> Tensor:
    """Compile next to nothing."""
    import torch

    return torch.compile(torch.neg)(torch.zeros(1, device=device))


class Apart:
    """A decoder that does its work in a thread of its own, one call after another.

    In the main thread Ctrl-C might come while torch compiles, which takes it for a fault of what it
    reads there and goes on.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self.prefers_whole = decoder, decoder.prefers_whole
        self.thread = ThreadPoolExecutor(1, "decoder")

    @property
    def network(self) -> nn.Module:
        """The network whose layers do nearly all of the work."""
        return self._decoder.network

    def init_state(self, voice: Voice, options: Options) -> Any:
        """Do as the decoder does."""
        return self.thread.submit(self._decoder.init_state, voice, options).result()

    def hops(self, voice: Voice, earlier: Sequence[int] = ()) -> Iterator[int]:
        """Do as the decoder does."""
        return self._decoder.hops(voice, earlier)

    def seed(self, state: Any, generator: torch.Generator) -> Any:
        """Do as the decoder does."""
        return self._decoder.seed(state, generator)

    def decode(self, tokens: Tensor, state: Any, last: bool) -> tuple[Tensor, Any]:
        """Do as the decoder does."""
        return self.thread.submit(self._decoder.decode, tokens, state, last).result()
