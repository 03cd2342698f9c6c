"""What networks that run chunk by chunk share: masks, growing keys and values, causal convolutions.

Every module that uses these follows one rule: it never keeps what it saw; after a call only the
returned state is valid, and `init_state(batch)` makes a fresh one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

GROWTH = 1.5  # spare room when keys and values move to larger memory: copying stays linear overall


@dataclass(frozen=True)
class ChunkMask:
    """Which keys from 0 on the queries from `start` to `stop` see: their chunk and all before it.

    Keys end where the queries do.
    """

    start: int
    stop: int
    chunk: int

    @property
    def is_clear(self) -> bool:
        """Whether every query sees every key."""
        return self.start >= self.stop or self.start // self.chunk == (self.stop - 1) // self.chunk

    def scaled(self, rate: int) -> ChunkMask:
        """Return the mask of the same stretch at a rate so many times as high."""
        return ChunkMask(self.start * rate, self.stop * rate, self.chunk * rate)

    def dense(self, device: torch.device) -> Tensor:
        """Return it as bool (queries, keys), to look at."""
        return _dense(self, device)

    def parts(self, chunks: int) -> Iterator[ChunkMask]:
        """Yield the masks of stretches of so many chunks, in order; keys end with each."""
        start = self.start
        while start < self.stop:
            stop = min((start // self.chunk + chunks) * self.chunk, self.stop)
            yield ChunkMask(start, stop, self.chunk)
            start = stop


Mask = ChunkMask | Tensor  # or bool (B, 1, T or 1, T'), which keys each row's queries see


def within(lengths: Sequence[int], start: int, frames: int, device: torch.device) -> Tensor:
    """Return the mask (B, 1, 1, start + frames) of rows that end after so many new frames each."""
    ends = torch.tensor(lengths, device=device)[:, None, None, None]
    return torch.arange(-start, frames, device=device) < ends


@functools.lru_cache(maxsize=4)  # every block of a network asks for the same one
def _dense(mask: ChunkMask, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        queries = torch.arange(mask.start, mask.stop, device=device)[:, None]
        keys = torch.arange(mask.stop, device=device)
        return keys < (queries // mask.chunk + 1) * mask.chunk


@dataclass
class KeyValues:
    """Keys and values of the frames seen so far, in memory that is larger than they are."""

    keys: Tensor  # (B, H, capacity, D)
    values: Tensor  # (B, H, capacity, D)
    length: int
    continued: bool = False  # the spare room belongs to what was appended first
    closes: bool = False  # nothing follows what is appended next: it is not kept

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, KeyValues]:
        """Add (B, H, F, D) of new frames → all keys, all values (B, H, T, D), the next state.

        The first continuation of a state takes its spare room, any other a copy.  A state that
        closes stays as it is.
        """
        if self.closes:
            if self.length:
                keys = torch.cat([self.keys[:, :, : self.length], keys], dim=2)
                values = torch.cat([self.values[:, :, : self.length], values], dim=2)
            return keys, values, self
        end = self.length + keys.shape[2]
        all_keys, all_values = self.keys, self.values
        if self.length == 0:
            fresh = torch.contiguous_format  # views would keep what they are views of
            all_keys, all_values = (x.clone(memory_format=fresh) for x in (keys, values))
        elif self.continued or end > all_keys.shape[2]:
            all_keys = _grown(all_keys, self.length, end)
            all_values = _grown(all_values, self.length, end)
        if self.length:
            all_keys[:, :, self.length : end] = keys
            all_values[:, :, self.length : end] = values
        self.continued = True
        state = KeyValues(all_keys, all_values, end)
        return all_keys[:, :, :end], all_values[:, :, :end], state

    def closing(self) -> KeyValues:
        """Return a state that keeps nothing of what comes next."""
        return replace(self, closes=True)

    def without(self, first: int, stop: int) -> KeyValues:
        """Forget the frames from `first` to `stop`."""
        if first >= stop:
            return self
        kept = [
            torch.cat([x[:, :, :first], x[:, :, stop : self.length]], dim=2)
            for x in (self.keys, self.values)
        ]
        return KeyValues(kept[0], kept[1], self.length - (stop - first))

    def first(self, count: int) -> KeyValues:
        """Return the state of the first rows of the batch, which goes on in place of this one."""
        return replace(self, keys=self.keys[:count], values=self.values[:count])

    def rows(self, first: int, stop: int) -> KeyValues:
        """Return what the rows of the batch from `first` to `stop` saw, without spare room."""
        keys, values = (x[first:stop, :, : self.length] for x in (self.keys, self.values))
        return KeyValues(keys, values, self.length)

    def shared(self) -> KeyValues:
        """Return a state from which any number of continuations can start.

        It has no spare room, so the first frames added to it go to larger memory of their own.
        """
        return KeyValues(
            self.keys[:, :, : self.length], self.values[:, :, : self.length], self.length
        )


def joined(states: Sequence[KeyValues], spare: int = 0) -> KeyValues:
    """Make one batch of several states that are equally long, with room for `spare` frames."""
    length = states[0].length

    def cat(parts: Sequence[Tensor]) -> Tensor:
        _, heads, _, width = parts[0].shape
        made = parts[0].new_empty(sum(len(x) for x in parts), heads, length + spare, width)
        torch.cat([x[:, :, :length] for x in parts], out=made[:, :, :length])
        return made

    keys, values = cat([state.keys for state in states]), cat([state.values for state in states])
    return KeyValues(keys, values, length, closes=states[0].closes)


def side_by_side(pasts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Make one batch of what the convolutions of several states remember."""
    return tuple(map(torch.cat, zip(*pasts, strict=True)))


def no_keys(batch: int, heads: int, width: int, like: Tensor) -> KeyValues:
    """Return empty keys and values for `heads` heads of `width`, in the type of `like`."""
    nothing = like.new_empty(batch, heads, 0, width)
    return KeyValues(nothing, nothing, 0)


def _grown(old: Tensor, length: int, wanted: int) -> Tensor:
    batch, heads, _, width = old.shape
    new = old.new_empty(batch, heads, int(wanted * GROWTH), width)
    new[:, :, :length] = old[:, :, :length]
    return new


class CausalConv(nn.Conv1d):
    """Convolution that sees the frame and `kernel - 1` before it, these passed in and out."""

    def init_state(self, batch: int) -> Tensor:
        """Return the zeros (B, C, kernel - 1) before the first frame."""
        return self.weight.new_zeros(batch, self.in_channels, self.kernel_size[0] - 1)

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T), past (B, C, kernel - 1) → (B, C', T) in the type of x, the next past.

        The past is in the type of the weights, which is that of the sums' terms.
        """
        seen = torch.cat([past, x.to(past.dtype)], dim=2)
        return self(seen).to(x.dtype), seen[:, :, seen.shape[2] - past.shape[2] :].clone()
