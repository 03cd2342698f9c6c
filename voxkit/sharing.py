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

    Wish = tuple[Tensor, Any, bool]  # what comes next, the state, whether it is the last
    Made = tuple[Tensor, Any]  # what became of it, and the state


class SharedDecoder:
    """A decoder that several sentences end in at once."""

    prefers_whole = True  # so that sentences come to it as they end

    def __init__(self, decoder: Decoder, company: Company) -> None:
        self._decoder, self._company, self.joins = decoder, company, decoder.joins
        serve = _serve(decoder.decode, decoder.complete)
        self._stage = company.stage(serve, most=None if decoder.joins else 1)

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

    def decode(self, tokens: Tensor, state: Any, last: bool) -> tuple[Tensor, Any]:
        """Do as the decoder does, with others if the running thread has a seat."""
        if self._company.here is None:
            return self._decoder.decode(tokens, state, last)
        return self._stage.ask((tokens, state, last))

    def complete(self, rest: Sequence[tuple[Tensor, Any]]) -> list[Tensor]:
        """Do as the decoder does."""
        return self._decoder.complete(rest)


class SharedVocoder:
    """A vocoder that several sentences end in at once."""

    def __init__(self, vocoder: Vocoder, company: Company) -> None:
        self._vocoder, self._company = vocoder, company
        self.stretches, self.joins = vocoder.stretches, vocoder.joins
        serve = _serve(vocoder.vocode, vocoder.complete)
        self._stage = company.stage(serve, most=None if vocoder.joins else 1)

    def init_state(self, generator: torch.Generator, prosody: Prosody) -> Any:
        """Do as the vocoder does."""
        return self._vocoder.init_state(generator, prosody)

    def vocode(self, mel: Tensor, state: Any, last: bool) -> tuple[Tensor, Any]:
        """Do as the vocoder does, with others if the running thread has a seat."""
        if self._company.here is None:
            return self._vocoder.vocode(mel, state, last)
        return self._stage.ask((mel, state, last))

    def complete(self, rest: Sequence[tuple[Tensor, Any]]) -> list[Tensor]:
        """Do as the vocoder does."""
        return self._vocoder.complete(rest)


def _serve(
    go_on: Callable[[Tensor, Any, bool], Made],
    complete: Callable[[Sequence[tuple[Tensor, Any]]], list[Tensor]],
) -> Serve[Wish, Made]:
    """Return what serves a stage: all ends at once, and then what is no end.

    Where that fails no noise has been drawn, so that who is served again sounds the same.
    """

    def serve(wishes: Sequence[Wish]) -> list[Made]:
        before = [(g, g.get_state()) for _, state, _ in wishes for g in _generators(state)]
        try:
            ends = iter(complete([(x, state) for x, state, last in wishes if last]))
            return [(next(ends), wish[1]) if wish[2] else go_on(*wish) for wish in wishes]
        except Exception:
            for generator, drawn in before:
                generator.set_state(drawn)
            raise

    return serve


def _generators(state: Any) -> Sequence[torch.Generator]:
    """Return what the parts that join draw noise from, if they draw any."""
    found: Sequence[torch.Generator] = getattr(getattr(state, "network", state), "generators", ())
    return found
