"""Decoder and vocoder of an engine whose requests, from several threads, are worked on together.

Who has a seat in a company has its sentences finished with those of the others; all else goes on as
it did.  The token generator takes its steps together in `voxkit/modules/together.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from voxkit.company import Company, Serve

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from voxkit.engine import Decoder, Vocoder
    from voxkit.options import Options
    from voxkit.prosody import Prosody
    from voxkit.voice import Voice

    Piece = tuple[Tensor, Any]  # what comes next or what became of it, and the state


class SharedDecoder:
    """A decoder that several sentences end in at once."""

    prefers_whole = True  # so that sentences come to it as they end

    def __init__(self, decoder: Decoder, company: Company) -> None:
        self._decoder, self._company, self.joins = decoder, company, decoder.joins
        self._hops = company.stage(_going_on(decoder.decode), most=1)
        self._ends = company.stage(decoder.complete, most=None if decoder.joins else 1)

    @property
    def network(self) -> nn.Module:
        """The network whose layers do nearly all of the work."""
        return self._decoder.network

    def init_state(self, voice: Voice, options: Options) -> Any:
        """Do as the decoder does."""
        return self._decoder.init_state(voice, options)

    def hops(self, voice: Voice, earlier: Sequence[int] = ()) -> Iterator[int]:
        """Do as the decoder does."""
        return self._decoder.hops(voice, earlier)

    def seed(self, state: Any, generator: torch.Generator) -> Any:
        """Do as the decoder does."""
        return self._decoder.seed(state, generator)

    def decode(self, tokens: Tensor, state: Any, last: bool) -> Piece:
        """Do as the decoder does, with others if the running thread has a seat."""
        if self._company.here is None:
            return self._decoder.decode(tokens, state, last)
        if last:
            return self._ends.ask((tokens, state)), state
        return self._hops.ask((tokens, state))

    def complete(self, rest: Sequence[Piece]) -> list[Tensor]:
        """Do as the decoder does."""
        return self._decoder.complete(rest)


class SharedVocoder:
    """A vocoder that several sentences end in at once."""

    def __init__(self, vocoder: Vocoder, company: Company) -> None:
        self._vocoder, self._company = vocoder, company
        self.stretches, self.joins = vocoder.stretches, vocoder.joins
        self._hops = company.stage(_going_on(vocoder.vocode), most=1)
        self._ends = company.stage(vocoder.complete, most=None if vocoder.joins else 1)

    def init_state(self, generator: torch.Generator, prosody: Prosody) -> Any:
        """Do as the vocoder does."""
        return self._vocoder.init_state(generator, prosody)

    def vocode(self, mel: Tensor, state: Any, last: bool) -> Piece:
        """Do as the vocoder does, with others if the running thread has a seat."""
        if self._company.here is None:
            return self._vocoder.vocode(mel, state, last)
        if last:
            return self._ends.ask((mel, state)), state
        return self._hops.ask((mel, state))

    def complete(self, rest: Sequence[Piece]) -> list[Tensor]:
        """Do as the vocoder does."""
        return self._vocoder.complete(rest)


def _going_on(part: Callable[[Tensor, Any, bool], Piece]) -> Serve[Piece, Piece]:
    """Return what serves pieces that are not the last of their sentence."""

    def serve(pieces: Sequence[Piece]) -> list[Piece]:
        return [part(x, state, False) for x, state in pieces]

    return serve
