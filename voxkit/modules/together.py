"""Lets requests take their steps of a token generator together: one pass over the weights for all.

A step reads every weight once, whether for one request or for eight, and on most machines reading
is what it costs.  Requests that run in threads of their own have a seat in a company, which takes
the next step of all at once (continuous batching: Yu et al. 2022, "Orca", OSDI).

On a GPU shapes never change from step to step, so that a step is one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.company import Company
from voxkit.modules.ras import Choice, chosen, following
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
    def step(self, x: Tensor, rows: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """x (r, D), which some rows read next, at positions `lengths` → their hidden (r, D)."""
        last = max(lengths)
        if last >= self.room:
            self._grow(last)
        index, at = torch.tensor([rows, lengths], device=self._x.device)
        self._x[index], self._at[index] = x.to(self._x), at
        if self._x.device.type != "cuda":  # where shapes need not be the same every time
            if len(rows) == self.count:
                return self._step(self._all, last + 1)[index]
            return self._step(index, last + 1)
        with torch.cuda.device(self._x.device):  # a thread's own may be another
            if self._graph is None:
                self._capture()
            assert self._graph is not None
            self._graph.replay()
            return self._hidden[index]

    def _step(self, rows: Tensor, room: int) -> Tensor:
        """Rows (r,), or all in order, none with more than `room` positions → hidden (r, D)."""
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


Wish = tuple["Tensor | int", Place, Cache | None, Choice]  # a step: what is read, after what


class Together:
    """Reads on for all who have a seat in a company at once, and chooses the tokens that follow."""

    def __init__(
        self,
        transformer: Transformer,
        head: Callable[[Tensor], Tensor],
        embed: Callable[[Sequence[int]], Tensor],
        company: Company,
    ) -> None:
        """`head` makes logits (B, K) of hidden (B, D), `embed` what is read (1, T, D) of tokens."""
        self.transformer, self.head, self.embed = transformer, head, embed
        self._company = company
        self._rows = Rows(transformer, company.size)
        self._places: list[Place | None] = [None] * company.size
        # Beginnings come first, so that newcomers join the others.  Their lengths differ.
        self._beginnings = company.stage(self._begin, most=1)
        self._steps = company.stage(self._step)

    @property
    def seated(self) -> bool:
        """Whether the running thread has a seat."""
        return self._company.here is not None

    def follow(
        self, x: Tensor | int, cache: Cache | Held, choice: Choice, mask: Tensor | None = None
    ) -> tuple[int, Cache | Held]:
        """Read x (1, N, D) or one token, for who has a seat → the next token, and the cache."""
        seat = self._company.here
        assert seat is not None
        place, past = self._from(cache, seat.number)
        if isinstance(x, Tensor) and (x.shape[1] > 1 or mask is not None):
            begun = self._rows.past(place) if past is None else past
            return self._beginnings.ask((x, begun, mask, choice))
        self._places[seat.number] = place
        token = self._steps.ask((x, place, past, choice))
        if isinstance(token, Exception):
            raise token
        return token, Held(place, place.length)

    def _from(self, cache: Cache | Held, row: int) -> tuple[Place, Cache | None]:
        """Return the place of a past, and that itself unless it lies there already."""
        if isinstance(cache, Cache):
            return Place(row, cache.length), cache
        if self._places[row] is not cache.place:
            raise ValueError("a past in a row is of the request that has the seat now")
        if cache.length != cache.place.length:
            raise ValueError("a past in a row goes on from its newest position")
        return cache.place, None

    @torch.inference_mode()
    def _begin(
        self, wishes: Sequence[tuple[Tensor, Cache, Tensor | None, Choice]]
    ) -> list[tuple[int, Cache]]:
        """Read one beginning."""
        ((x, cache, mask, choice),) = wishes
        hidden, cache = self.transformer(x, cache, mask)
        return [(following(self.head(hidden[:, -1])[0].float(), choice), cache)]

    @torch.inference_mode()
    def _step(self, wishes: Sequence[Wish]) -> list[int | Exception]:
        """Take one step for all, a past that does not lie in its row yet being put there."""
        for _, place, past, _ in wishes:
            if past is not None:
                self._rows.load(place.row, past)
        tokens = iter(self.embed([x for x, *_ in wishes if isinstance(x, int)])[0])
        read = [next(tokens) if isinstance(x, int) else x[0, 0] for x, *_ in wishes]
        places = [place for _, place, *_ in wishes]
        rows, lengths = [place.row for place in places], [place.length for place in places]
        hidden = self._rows.step(torch.stack(read), rows, lengths)
        made = chosen(self.head(hidden).float(), [choice for *_, choice in wishes])
        for place in places:
            place.length += 1
        return made
