"""Native token generator: phones and voice → speech tokens, drawn one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voxkit.company import Company
from voxkit.errors import TextError
from voxkit.modules.linears import linear, pack
from voxkit.modules.phone_lm import PhoneLm
from voxkit.modules.ras import Choice, Sampler, following, multinomial
from voxkit.modules.together import Together
from voxkit.options import Options
from voxkit.phonemes import GIVEN, SYMBOLS, LetterReader, Lexicon, phone_count, phones
from voxkit.precision import Kind
from voxkit.prosody import controls
from voxkit.spec import ModelSpec, PhoneTextSpec, SamplingSpec
from voxkit.text import Script, Sentence, TextStream, prepare
from voxkit.voice import Voice

Manner = tuple[Tensor, Tensor, Tensor]  # speaker (1, D), controls (1, 4), which are given (1, 4)
_MARKS = frozenset(SYMBOLS.index(mark) for mark in ",.?!;")


class PhoneFrontend:
    """Text → sentences → phone ids that end in a mark."""

    def __init__(self, spec: PhoneTextSpec, lexicon: Lexicon, letters: LetterReader) -> None:
        self.spec, self.lexicon, self.letters = spec, lexicon, letters
        self.language: str | None = spec.language
        self.marks = frozenset({GIVEN})

    def prepare(self, text: str) -> Script:
        """Normalise text and cut it into sentences of at most the spec's number of words."""
        script = prepare(text, language=self.spec.language, max_words=self.spec.max_words)
        return self.sayable(script)

    def sayable(self, script: Script) -> Script:
        """Report the words that nothing tells how to say, and drop sentences with no other.

        Raises `TextError` where no sentence is left.
        """
        kept, unknown = self.sort(script.sentences)
        unsaid = dict.fromkeys((*script.unsaid, *unknown))
        if not kept:
            words = " ".join(list(unsaid)[:3])
            raise TextError(
                f"There is nothing to say in this text: nothing tells how {words} sounds; "
                "write it in other letters."
            )
        return dataclasses.replace(script, sentences=tuple(kept), unsaid=tuple(unsaid))

    def sort(self, sentences: Iterable[Sentence]) -> tuple[list[Sentence], list[str]]:
        """Return the sentences that can be said, and the words that nothing tells how to say."""
        kept, unknown = list[Sentence](), list[str]()
        for sentence in sentences:
            said = phones(sentence.text, self.lexicon, self.letters)
            unknown += said.unknown
            if said.ids:
                kept.append(sentence)
        return kept, unknown

    def arriving(self) -> PhoneSource:
        """Return what takes a text in while it is being written."""
        return PhoneSource(self)

    def ids(self, sentence: str) -> tuple[int, ...]:
        """Return the symbol ids (N,) of one normalised sentence."""
        ids = phones(sentence, self.lexicon, self.letters).ids
        return ids if not ids or ids[-1] in _MARKS else (*ids, SYMBOLS.index(","))


class PhoneSource:
    """A text that is still being written, without what nothing tells how to say."""

    def __init__(self, frontend: PhoneFrontend) -> None:
        self._frontend, spec = frontend, frontend.spec
        self._text = TextStream(language=spec.language, max_words=spec.max_words, clauses=True)
        self._unknown: dict[str, None] = {}

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What has come in so far and cannot be spoken, each once."""
        return tuple(dict.fromkeys((*self._text.unsaid, *self._unknown)))

    def push(self, piece: str) -> list[Sentence]:
        """Take in more text and return the sentences that are now certain."""
        return self._sayable(self._text.push(piece))

    def finish(self) -> list[Sentence]:
        """Return what is left; the text is complete."""
        return self._sayable(self._text.finish())

    def _sayable(self, sentences: Sequence[Sentence]) -> list[Sentence]:
        kept, unknown = self._frontend.sort(sentences)
        self._unknown |= dict.fromkeys(unknown)
        return kept


class PhoneGenerator:
    """Samples from the token LM."""

    def __init__(
        self,
        spec: ModelSpec,
        model: PhoneLm,
        reader: Manner | None = None,
        kind: Kind = Kind.fp32,
    ) -> None:
        """With a `reader`, text is read in that manner whatever the voice; else in the voice's.

        `model` is the generator's from now on, and its weights are kept as `kind`.
        """
        self.spec, self.model, self.reader = spec, model, reader
        with torch.no_grad():
            self.heard, said = (table.contiguous() for table in model.tables())
        self.head = linear(said, kind)
        self._together: Together | None = None
        pack(model.transformer, kind)

    def join(self, company: Company) -> None:
        """Take the steps of all who have a seat at once."""
        self._together = Together(self.model.transformer, self.head, self._heard, company)

    def bounds(self, text_ids: tuple[int, ...]) -> tuple[int, int]:
        """Return the fewest and the most speech tokens that may say text ids (N,)."""
        spec = self.spec.generator
        least = max(2, int(phone_count(text_ids) * spec.min_tokens_per_phone))
        return least, 12 + int(len(text_ids) * spec.max_tokens_per_phone)

    def tokens(
        self,
        text_ids: tuple[int, ...],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens until the stop token, within the bounds of the text's length.

        There are no words that this model was told in training: `instruction` must be None.
        """
        _take_no(instruction)
        yield from self._say(text_ids, (), [], voice, self._sampler(options, generator))

    def tokens_streamed(
        self,
        pieces: Iterable[tuple[int, ...]],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens while the text's ids still arrive, clause by clause.

        Each clause is said as the rest of a sentence that began with the one before it.
        """
        _take_no(instruction)
        sampler = self._sampler(options, generator)
        before: tuple[int, ...] = ()
        heard: list[int] = []
        for ids in pieces:
            tokens: list[int] = []
            for token in self._say(ids, before, heard, voice, sampler):
                tokens.append(token)
                yield token
            before, heard = ids, tokens

    def _sampler(self, options: Options, generator: torch.Generator) -> Sampler:
        sampling = wanted_sampling(self.spec.generator.sampling, options)
        return Sampler(sampling, multinomial(generator))

    def _say(
        self,
        text_ids: tuple[int, ...],
        before: tuple[int, ...],
        heard: list[int],
        voice: Voice,
        sampler: Sampler,
    ) -> Iterator[int]:
        """Yield the tokens that say text ids (N,) after `before`, which has been `heard`."""
        least, most = self.bounds(text_ids)
        stop = self.model.stop
        said = list(heard)
        x, mask = self._beginning((*before, *text_ids), voice)
        cache: Any = self.model.transformer.init_cache(1)
        if heard:
            _, cache = self._follow(x, cache, sampler.certain(stop), mask)
            x, mask = self._heard(heard), None
        while len(said) - len(heard) < most:
            may_stop = len(said) - len(heard) >= least
            choice = sampler.choice(said, () if may_stop else (stop,))
            token, cache = self._follow(x, cache, choice, mask)
            if token == stop:
                return
            said.append(token)
            yield token
            x, mask = token, None

    @torch.inference_mode()
    def _beginning(
        self, text_ids: tuple[int, ...], voice: Voice
    ) -> tuple[Tensor | int, Tensor | None]:
        """Return what is read of voice and text (1, N, D), and who sees whom (N, N)."""
        device = self.heard.device
        speaker, values, given = self.reader or voice_tensors(voice, self.spec, device)
        return self.model.beginning(speaker, values, given, torch.tensor([text_ids], device=device))

    @torch.inference_mode()
    def _heard(self, tokens: Sequence[int]) -> Tensor:
        """Return what is read of tokens (1, T, D)."""
        ids = torch.tensor(tokens, dtype=torch.long, device=self.heard.device)
        return self.heard[ids][None]

    @torch.inference_mode()
    def _follow(
        self, x: Tensor | int, cache: Any, choice: Choice, mask: Tensor | None
    ) -> tuple[int, Any]:
        """Read x (1, N, D) or one token → the token that is chosen next, and the cache."""
        if self._together is not None and self._together.seated:
            return self._together.follow(x, cache, choice, mask)
        read = self._heard([x]) if isinstance(x, int) else x
        hidden, cache = self.model.transformer(read, cache, mask)
        return following(self.head(hidden[:, -1])[0].float().cpu(), choice), cache


def _take_no(instruction: str | None) -> None:
    if instruction is not None:
        raise ValueError("a model that reads phones takes no instruction")


def wanted_sampling(default: SamplingSpec, options: Options) -> SamplingSpec:
    """Return the model's sampling with what the call asks for."""
    return dataclasses.replace(
        default,
        temperature=(default.temperature if options.temperature is None else options.temperature),
        top_p=default.top_p if options.top_p is None else options.top_p,
        top_k=default.top_k if options.top_k is None else options.top_k,
    )


def voice_tensors(voice: Voice, spec: ModelSpec, device: torch.device) -> Manner:
    """Voice → speaker vector (1, D), controls (1, 4) and which of them are given (1, 4)."""
    values, given = controls(voice.attributes, spec.mel)
    rows: tuple[np.ndarray, ...] = (voice.speaker, values, given)
    speaker, value, known = (torch.from_numpy(row)[None].to(device) for row in rows)
    return speaker, value, known
