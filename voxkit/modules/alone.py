"""Lets one request at a time take its steps in static memory: on a GPU, as one CUDA graph.

A step of a token generator is a few hundred small kernels, and starting them one by one takes a GPU
longer than running them.  Who finds the memory taken steps as before.
"""

from __future__ import annotations

import threading
import weakref

import torch
from torch import Tensor, nn

from voxkit.modules.together import Held, Place, Rows
from voxkit.modules.transformer import Cache, Transformer


class Alone(nn.Module):
    """A transformer that reads single positions of one request from static memory."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer, self.spec = transformer, transformer.spec
        self._rows = Rows(transformer, 1)
        self._turn = threading.Lock()
        self._taken: weakref.ref[Place] | None = None

    def init_cache(self, batch: int) -> Cache:
        """Return an empty past."""
        return self.transformer.init_cache(batch)

    def forward(
        self, x: Tensor, cache: Cache | Held, mask: Tensor | None = None
    ) -> tuple[Tensor, Cache | Held]:
        """x (B, N, D) → hidden (B, N, D) and the cache, as `Transformer.forward`."""
        single = x.shape[:2] == (1, 1) and mask is None
        if isinstance(cache, Held):
            if cache.length != cache.place.length:
                raise ValueError("a past in static memory goes on from its newest position")
            if single:
                return self._read(x, cache.place)
            cache = self._given_back(cache.place)
        elif single and cache.length and (place := self._claimed(cache)) is not None:
            return self._read(x, place)
        return self.transformer(x, cache, mask)

    def _claimed(self, cache: Cache) -> Place | None:
        """Move a past into the memory, if no other request has it."""
        with self._turn:
            if self._taken is not None and self._taken() is not None:
                return None
            place = Place(0, cache.length)
            self._taken = weakref.ref(place)
        self._rows.load(0, cache)
        return place

    def _read(self, x: Tensor, place: Place) -> tuple[Tensor, Held]:
        hidden = self._rows.step(x[0], [0], [place.length])
        place.length += 1
        return hidden[None], Held(place, place.length)

    @torch.inference_mode()
    def _given_back(self, place: Place) -> Cache:
        """Copy the past out of the memory, which is free then."""
        cache = self._rows.past(place)
        with self._turn:
            self._taken = None
        return cache
