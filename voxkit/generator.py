"""Native token generator: phones and voice → speech tokens, drawn one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.errors import TextError
from voxkit.modules.phone_lm import PhoneLm
from voxkit.modules.ras import Draw, multinomial, repetition_aware
from voxkit.modules.transformer import Cache
from voxkit.options import Options
from voxkit.phonemes import GIVEN, SYMBOLS, LetterReader, Lexicon, phone_count, phones
from voxkit.prosody import controls
from voxkit.spec import ModelSpec, PhoneTextSpec, SamplingSpec
from voxkit.text import Script, prepare
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
        kept, unsaid = [], dict.fromkeys(script.unsaid)
        for sentence in script.sentences:
            said = phones(sentence.text, self.lexicon, self.letters)
            unsaid |= dict.fromkeys(said.unknown)
            if said.ids:
                kept.append(sentence)
        if not kept:
            words = " ".join(list(unsaid)[:3])
            raise TextError(
                f"There is nothing to say in this text: nothing tells how {words} sounds; "
                "write it in other letters."
            )
        return Script(tuple(kept), tuple(unsaid))

    def ids(self, sentence: str) -> tuple[int, ...]:
        """Return the symbol ids (N,) of one normalised sentence."""
        ids = phones(sentence, self.lexicon, self.letters).ids
        return ids if not ids or ids[-1] in _MARKS else (*ids, SYMBOLS.index(","))


class PhoneGenerator:
    """Samples from the token LM."""

    def __init__(self, spec: ModelSpec, model: PhoneLm, reader: Manner | None = None) -> None:
        """With a `reader`, text is read in that manner whatever the voice; else in the voice's."""
        self.spec, self.model, self.reader = spec, model, reader
        with torch.no_grad():
            self.heard, self.said = (table.contiguous() for table in model.tables())

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
    ) -> Iterator[int]:
        """Yield speech tokens until the stop token, within the bounds of the text's length."""
        least, most = self.bounds(text_ids)
        sampling = wanted_sampling(self.spec.generator.sampling, options)
        draw = multinomial(generator)
        said: list[int] = []
        logits, cache = self._start(text_ids, voice)
        while len(said) < most:
            token = self._draw(logits, said, sampling, draw, len(said) >= least)
            if token == self.model.stop:
                return
            said.append(token)
            yield token
            logits, cache = self._next(token, cache)

    @torch.inference_mode()
    def _start(self, text_ids: tuple[int, ...], voice: Voice) -> tuple[Tensor, Cache]:
        """Read voice and text → logits (K + 1,) on CPU of the first token, the cache."""
        device = self.heard.device
        speaker, values, given = self.reader or voice_tensors(voice, self.spec, device)
        symbols = torch.tensor([text_ids], device=device)
        hidden, cache = self.model.start(speaker, values, given, symbols)
        return F.linear(hidden[0], self.said).float().cpu(), cache

    @torch.inference_mode()
    def _next(self, token: int, cache: Cache) -> tuple[Tensor, Cache]:
        """Hear a token → logits (K + 1,) on CPU of the one after it, the cache."""
        hidden, cache = self.model.transformer(self.heard[token][None, None], cache)
        return F.linear(hidden[0, -1], self.said).float().cpu(), cache

    @torch.inference_mode()
    def _draw(
        self,
        logits: Tensor,
        said: list[int],
        sampling: SamplingSpec,
        draw: Draw,
        may_stop: bool,
    ) -> int:
        """Choose the next token; the stop token only if it may come."""
        if not may_stop:
            logits[self.model.stop] = -torch.inf
        return repetition_aware(logits, said, sampling, draw)


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
