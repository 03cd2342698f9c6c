"""Lets requests take their steps of a token generator together: one pass over the weights for all.

A step reads every weight once, whether for one request or for eight, and on most machines reading
is what it costs.  Requests that run in threads of their own take a seat; the last of them to ask
for its next step does it for all (continuous batching: Yu et al. 2022, "Orca", OSDI).

On a GPU shapes never change from step to step, so that a step is one CUDA graph.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.rotary import rotary, rotate
from voxkit.modules.transformer import Cache, Layer, Transformer

_ROOM = 512  # positions that the memory of every row begins with


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

    def past(self, row: int, length: int) -> Tensor:
        """Copy the first positions of a row, as the memory of a cache (L, 2, 1, kv heads, N, d)."""
        return self._memory[:, :, row : row + 1, :, :length].clone()

    @torch.inference_mode()
    def step(self, inputs: dict[int, Tensor], lengths: dict[int, int]) -> Tensor:
        """Inputs (D,) of some rows, at positions `lengths` → hidden (count, D), void for others."""
        if max(lengths.values()) >= self.room:
            self._grow(max(lengths.values()))
        for row, x in inputs.items():
            self._x[row], self._at[row] = x, lengths[row]
        if self._x.device.type != "cuda":  # where shapes need not be the same every time
            rows = torch.tensor(sorted(inputs))
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
        old, self.room = self._memory, 2 * length
        shape = list(old.shape)
        shape[4] = self.room
        self._memory = old.new_zeros(shape)
        self._memory[:, :, :, :, : old.shape[4]] = old
        self._graph = None

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


@dataclass(eq=False)
class Seat:
    """One request at the table: what it wants read, and what came of it."""

    row: int
    length: int = -1  # positions in its row; -1 before its past is there
    x: Tensor | None = None  # (D,) while it waits
    hidden: Tensor | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Seated:
    """The cache of a request whose past lies in a row; only the newest one is valid."""

    seat: Seat
    length: int


@dataclass
class _Here(threading.local):
    """The seat of the running thread."""

    seat: Seat | None = field(default=None)


class Together(nn.Module):
    """A transformer that threads with a seat run together; for all others it is as it was."""

    def __init__(self, transformer: Transformer, rows: int) -> None:
        super().__init__()
        self.transformer, self.spec = transformer, transformer.spec
        self._rows = Rows(transformer, rows)
        self._free = list(range(rows))
        self._seated: list[Seat] = []
        self._turn = threading.Condition()
        self._here = _Here()

    def init_cache(self, batch: int) -> Cache:
        """Return an empty past."""
        return self.transformer.init_cache(batch)

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Let the running thread take its steps with the others, once there is room for it."""
        with self._turn:
            self._turn.wait_for(lambda: self._free)
            seat = Seat(self._free.pop())
            self._seated.append(seat)
        self._here.seat = seat
        try:
            yield
        finally:
            self._here.seat = None
            with self._turn:
                self._seated.remove(seat)
                self._free.append(seat.row)
                self._read_if_all_wait()
                self._turn.notify_all()

    def forward(
        self, x: Tensor, cache: Cache | Seated, mask: Tensor | None = None
    ) -> tuple[Tensor, Cache | Seated]:
        """x (B, N, D) → hidden (B, N, D) and the cache, as `Transformer.forward`."""
        seat = self._here.seat
        if isinstance(cache, Cache):
            if seat is None or mask is not None or x.shape[:2] != (1, 1):
                return self.transformer(x, cache, mask)
        elif cache.seat is not seat or seat is None or cache.length != seat.length:
            raise ValueError("a seat's past goes on from its newest position, in its own thread")
        if x.shape[:2] != (1, 1) or mask is not None:
            raise ValueError("a request with a seat reads one position at a time")
        with self._turn:
            if isinstance(cache, Cache):
                self._rows.load(seat.row, cache)
                seat.length = cache.length
            seat.x, seat.hidden, seat.error = x[0, 0], None, None
            self._read_if_all_wait()
            self._turn.wait_for(lambda: seat.x is None)
        if seat.error is not None:
            raise seat.error
        assert seat.hidden is not None
        return seat.hidden[None, None], Seated(seat, seat.length)

    def _read_if_all_wait(self) -> None:
        """Take everybody's step if nobody is still on the way."""
        if not self._seated or any(seat.x is None for seat in self._seated):
            return
        waiting = {seat.row: seat for seat in self._seated}
        inputs = {row: seat.x for row, seat in waiting.items() if seat.x is not None}
        try:
            hidden = self._rows.step(inputs, {row: s.length for row, s in waiting.items()})
            for row, seat in waiting.items():
                seat.hidden, seat.length = hidden[row], seat.length + 1
        except Exception as error:  # noqa: BLE001 (raised by every one who waits for the step)
            for seat in self._seated:
                seat.error = error
        for seat in self._seated:
            seat.x = None
        self._turn.notify_all()
