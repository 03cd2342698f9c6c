"""Lets requests take their steps of a token generator together: one pass over the weights for all.

A step reads every weight once, whether for one request or for eight, and on most machines reading
is what it costs.  Requests that run in threads of their own have a seat in a company, which takes
the next step of all at once (continuous batching: Yu et al. 2022, "Orca", OSDI).

On a GPU shapes never change from step to step, so that a step is one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.company import Company
from voxkit.modules.rotary import rotary, rotate
from voxkit.modules.transformer import Cache, Layer, Memory, Transformer

_ROOM = 512  # positions that the memory of every row begins with


@dataclass(eq=False)
class Place:
    """The row that one request's past lies in, for as long as the request goes on."""

    row: int
    length: int  # positions in it


@dataclass(frozen=True)
class Held:
    """The cache of a request whose past lies in a row; only the newest one is valid."""

    place: Place
    length: int


class Rows:
    """A static cache of the past of many requests, and the step that reads one position of each."""

    def __init__(self, transformer: Transformer, count: int, room: int = _ROOM) -> None:
        self.transformer, self.count, self.room = transformer, count, room
        weight = transformer.norm.weight
        spec = transformer.spec
        shape = (spec.layers, 2, count, spec.kv_heads, room, spec.head_width)
        self._memory = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self._x = torch.zeros(count, spec.width, dtype=weight.dtype, device=weight.device)
        self._at = torch.zeros(count, dtype=torch.long, device=weight.device)
        self._all = torch.arange(count, device=weight.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._hidden = self._x

    @torch.inference_mode()
    def load(self, row: int, cache: Cache) -> None:
        """Put the past of one request (B = 1) into a row."""
        if cache.length >= self.room:
            self._grow(cache.length)
        past = cache.memory.tensor[:, :, 0, :, : cache.length]
        self._memory[:, :, row, :, : cache.length] = past

    @torch.inference_mode()
    def past(self, place: Place) -> Cache:
        """Copy the past of one request out of its row."""
        row = slice(place.row, place.row + 1)
        return Cache(
            Memory(self._memory[:, :, row, :, : place.length].clone(), place.length), place.length
        )

    @torch.inference_mode()
    def step(self, inputs: dict[int, Tensor], lengths: dict[int, int]) -> Tensor:
        """Inputs (D,) of some rows, at positions `lengths` → hidden (count, D), void for others."""
        if max(lengths.values()) >= self.room:
            self._grow(max(lengths.values()))
        order = sorted(inputs)
        rows = torch.tensor(order, device=self._x.device)
        self._x[rows] = torch.stack([inputs[row] for row in order]).to(self._x)
        self._at[rows] = torch.tensor([lengths[row] for row in order], device=rows.device)
        if self._x.device.type != "cuda":  # where shapes need not be the same every time
            hidden = torch.zeros_like(self._x)
            hidden[rows] = self._step(rows, max(lengths[row] for row in inputs) + 1)
            return hidden
        with torch.cuda.device(self._x.device):  # a thread's own may be another
            if self._graph is None:
                self._capture()
            assert self._graph is not None
            self._graph.replay()
            return self._hidden.clone()

    def _step(self, rows: Tensor, room: int) -> Tensor:
        """Rows (r,), in order, of which none has more than `room` positions → hidden (r, D)."""
        spec, every = self.transformer.spec, len(rows) == self.count
        x, at = (self._x, self._at) if every else (self._x[rows], self._at[rows])
        heads, shared = spec.heads, spec.kv_heads
        cosine, sine = rotary(at, spec.head_width, spec.rope_theta)
        seen = torch.arange(room, device=x.device) <= at[:, None]
        mask = seen[:, None, None]  # (r, 1, 1, room)
        layers = cast(Iterable[Layer], self.transformer.layers)
        for layer, kept in zip(layers, self._memory, strict=True):
            packed = layer.attention.qkv(layer.attention_norm(x))
            packed = packed.unflatten(1, (heads + 2 * shared, spec.head_width))
            turned = rotate(packed[:, : heads + shared], cosine[:, None], sine[:, None])
            kept[0, rows, :, at] = turned[:, heads:]
            kept[1, rows, :, at] = packed[:, heads + shared :]
            queries = turned[:, :heads].unflatten(1, (shared, heads // shared))
            keys, values = kept[:, :, :, :room] if every else kept[:, rows, :, :room]
            y = F.scaled_dot_product_attention(queries, keys, values, mask)
            x = layer.feed(x + layer.attention.merge(y.flatten(1)))
        return self.transformer.norm(x)

    def _grow(self, length: int) -> None:
        """Make room for twice as many positions as `length`."""
        old, room = self._memory, 2 * length
        new = old.new_zeros(*old.shape[:4], room, old.shape[5])  # for which there may be no memory
        new[:, :, :, :, : old.shape[4]] = old
        self._memory, self.room, self._graph = new, room, None

    def _capture(self) -> None:
        """Record a step as a CUDA graph, after one on a side stream has made what it needs.

        Other threads may use the GPU meanwhile: they decode what they have, or load a voice.
        """
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._step(self._all, self.room)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            hidden = self._step(self._all, self.room)
        self._graph, self._hidden = graph, hidden


class Together(nn.Module):
    """A transformer that threads with a seat run together; for all others it is as it was."""

    def __init__(self, transformer: Transformer, company: Company) -> None:
        super().__init__()
        self.transformer, self.spec = transformer, transformer.spec
        self._company = company
        self._rows = Rows(transformer, company.size)
        self._places: list[Place | None] = [None] * company.size
        self._beginnings = company.stage(self._begin)  # first, so that newcomers join the others
        self._steps = company.stage(self._step)

    def init_cache(self, batch: int) -> Cache:
        """Return an empty past."""
        return self.transformer.init_cache(batch)

    def forward(
        self, x: Tensor, cache: Cache | Held, mask: Tensor | None = None
    ) -> tuple[Tensor, Cache | Held]:
        """x (B, N, D) → hidden (B, N, D) and the cache, as `Transformer.forward`."""
        seat, single = self._company.here, x.shape[:2] == (1, 1) and mask is None
        if isinstance(cache, Cache):
            if seat is None:
                return self.transformer(x, cache, mask)
            if not single:
                return self._beginnings.ask((x, cache, mask))
            place, past = Place(seat.number, cache.length), cache
            self._places[seat.number] = place
        else:
            place, past = cache.place, None
            if seat is None or self._places[seat.number] is not place:
                raise ValueError("a past in a row is of the request that has the seat now")
            if cache.length != place.length:
                raise ValueError("a past in a row goes on from its newest position")
            if not single:
                return self._beginnings.ask((x, self._rows.past(place), mask))
        hidden = self._steps.ask((x[0, 0], place, past))
        return hidden[None, None], Held(place, place.length)

    @torch.inference_mode()
    def _begin(
        self, wishes: Sequence[tuple[Tensor, Cache, Tensor | None]]
    ) -> list[tuple[Tensor, Cache]]:
        """Read beginnings one by one: their lengths differ."""
        return [self.transformer(*wish) for wish in wishes]

    def _step(self, wishes: Sequence[tuple[Tensor, Place, Cache | None]]) -> list[Tensor]:
        """Take one step for all, a past that does not lie in its row yet being put there."""
        for _, place, past in wishes:
            if past is not None:
                self._rows.load(place.row, past)
        inputs = {place.row: x for x, place, _ in wishes}
        hidden = self._rows.step(inputs, {place.row: place.length for _, place, _ in wishes})
        for _, place, _ in wishes:
            place.length += 1
        return [hidden[place.row] for _, place, _ in wishes]


class Joined(nn.Module):
    """A layer over rows that threads with a seat run together; for all others it is as it was."""

    def __init__(self, layer: nn.Module, company: Company) -> None:
        super().__init__()
        self.layer, self._company = layer, company
        self._stage = company.stage(self._all)

    def forward(self, x: Tensor) -> Tensor:
        """x (1, D) → (1, D'), for who has a seat on CPU in float32."""
        return self.layer(x) if self._company.here is None else self._stage.ask(x)

    @torch.inference_mode()
    def _all(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return self.layer(torch.cat(list(rows))).float().cpu().split(1)
