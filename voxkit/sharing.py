"""A token generator whose requests, from several threads, take their steps together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from voxkit.options import Options
from voxkit.voice import Voice

if TYPE_CHECKING:
    import torch

    from voxkit.modules.together import Together


class Generator(Protocol):
    """What is shared: a generator whose network's transformer is a `Together`."""

    def tokens(
        self,
        text_ids: tuple[int, ...],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens until the text is said."""

    def tokens_streamed(
        self,
        pieces: Iterable[tuple[int, ...]],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens while the text's ids still arrive."""


class SharedGenerator:
    """Makes all tokens of a sentence with a seat at the table, and hands them out then.

    For many lines at once, where nobody listens yet.  Rounding differs with the company that a
    request has, so its tokens may differ from those that it gets alone.
    """

    def __init__(self, generator: Generator, table: Together) -> None:
        self._generator, self._table = generator, table

    def tokens(
        self,
        text_ids: tuple[int, ...],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens, all of which are there when the first one comes."""
        with self._table.seat():
            said = self._generator.tokens(
                text_ids, voice, options, generator, instruction=instruction
            )
            made = list(said)
        yield from made

    def tokens_streamed(
        self,
        pieces: Iterable[tuple[int, ...]],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens while the text's ids still arrive, without company."""
        return self._generator.tokens_streamed(
            pieces, voice, options, generator, instruction=instruction
        )
