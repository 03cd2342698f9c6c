"""The CosyVoice token LM: text ids and reference tokens in, speech tokens out, one after the other.

Text comes whole (`speak`) or while it is written (`speak_streamed`), a few text ids between runs of
speech tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from voxkit.company import Company
from voxkit.cosyvoice_spec import BpeGeneratorSpec
from voxkit.errors import ModelError
from voxkit.modules.ras import Choice, Sampler, following
from voxkit.modules.together import Together
from voxkit.modules.transformer import Cache, Transformer


class SpeechLm(nn.Module):
    """Embeddings, transformer and head.  A text head, which checkpoints have, is not part of it."""

    def __init__(self, spec: BpeGeneratorSpec) -> None:
        super().__init__()
        width = spec.transformer.width
        self.spec = spec
        self.text = nn.Embedding(spec.text_vocabulary, width)
        self.speech = nn.Embedding(spec.speech_vocabulary, width)
        self.marks = nn.Embedding(2, width) if spec.marks == "own" else None
        self.transformer: Any = Transformer(spec.transformer)  # or what runs one
        self.head: nn.Module = nn.Linear(width, spec.speech_vocabulary, bias=spec.head_bias)
        self._together: Together | None = None

    def join(self, company: Company) -> None:
        """Take the steps of all who have a seat at once."""
        self._together = Together(self.transformer, self.head, self.embed_speech, company)

    def embed_text(self, ids: Sequence[int]) -> Tensor:
        """Text ids → (1, N, D)."""
        return self.text(self._indices(ids))

    def embed_speech(self, tokens: Sequence[int]) -> Tensor:
        """Speech tokens → (1, T, D)."""
        return self.speech(self._indices(tokens))

    def embed_mark(self, mark: int) -> Tensor:
        """The id of the start or task mark → (1, 1, D)."""
        table = self.marks if self.marks is not None else self.speech
        return table(self._indices([mark]))

    def prompt(self, text: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Whole text and the reference's tokens → [start][text][task][tokens] (1, N + T + 2, D)."""
        return torch.cat(
            [
                self.embed_mark(self.spec.start_id),
                self.embed_text(text),
                self.embed_mark(self.spec.task_id),
                self.embed_speech(tokens),
            ],
            dim=1,
        )

    def step(self, x: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Read x (1, N, D) → logits (K,) of what follows, on CPU in float32, and the cache."""
        hidden, cache = self.transformer(x, cache)
        return self.head(hidden[:, -1])[0].float().cpu(), cache

    def follow(self, x: Tensor | int, cache: Any, choice: Choice) -> tuple[int, Any]:
        """Read x (1, N, D) or one speech token → the token that is chosen next, and the cache."""
        if self._together is not None and self._together.seated:
            return self._together.follow(x, cache, choice)
        logits, cache = self.step(self.embed_speech([x]) if isinstance(x, int) else x, cache)
        return following(logits, choice), cache

    def _indices(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(ids)], dtype=torch.long, device=self.speech.weight.device)


@torch.inference_mode()
def speak(
    lm: SpeechLm,
    text: Sequence[int],
    tokens: Sequence[int],
    sampler: Sampler,
    *,
    lengths: tuple[int, int],
) -> Iterator[int]:
    """Say `text` (the transcript of the reference `tokens` before it) in new speech tokens.

    `lengths` are the fewest and most tokens to say.
    """
    spec, (fewest, most) = lm.spec, lengths
    early = _forbid(spec, until=spec.first_stop_id + 1 if _masks_one(spec) else None)
    said: list[int] = []
    x: Tensor | int = lm.prompt(text, tokens)
    cache = lm.transformer.init_cache(1)
    while len(said) < most:
        choice = sampler.choice(said, early if len(said) < fewest else ())
        x, cache = lm.follow(x, cache, choice)
        if x >= spec.first_stop_id:
            return
        said.append(x)
        yield x


def _masks_one(spec: BpeGeneratorSpec) -> bool:
    return spec.quirks.mask_only_first_stop_id


def _forbid(
    spec: BpeGeneratorSpec, *, until: int | None = None, allowed: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """List the special ids, from the first stop id on, that must not be drawn."""
    ids = range(spec.first_stop_id, spec.speech_vocabulary if until is None else until)
    return tuple(i for i in ids if i not in allowed)


@torch.inference_mode()
def speak_streamed(
    lm: SpeechLm,
    pieces: Iterable[Sequence[int]],
    prompt_text: Sequence[int],
    tokens: Sequence[int],
    sampler: Sampler,
) -> Iterator[int]:
    """Say text whose ids arrive piece by piece; a token is yielded as soon as it can be said.

    The transcript `prompt_text` of the reference `tokens` is the beginning of the text.
    """
    yield from _StreamedSpeech(lm, prompt_text, tokens, sampler).speak(pieces)


class _StreamedSpeech:
    """One request of `speak_streamed`: what waits to be read, and what was said."""

    def __init__(
        self, lm: SpeechLm, prompt_text: Sequence[int], tokens: Sequence[int], sampler: Sampler
    ) -> None:
        spec = lm.spec
        self.lm, self.spec, self.sampler = lm, spec, sampler
        system, rest = _split_after(prompt_text, spec.prompt_end_id)
        self.text = list(rest)  # ids that wait
        self.tokens = list(tokens)  # of the reference, that wait
        self.feed = [lm.embed_mark(spec.start_id), lm.embed_text(system)]
        self.feed_is_bare = True  # neither text nor speech has been read or waits in `feed`
        if spec.quirks.text_stream_decodes_before_text and system:
            self.feed_is_bare = False
        self.cache = lm.transformer.init_cache(1)
        self.said: list[int] = []  # with the fill ids
        self.spoken = 0  # without
        self.received = 0  # text ids
        run = spec.interleaved_speech
        self.next_fill = (len(tokens) // run + 1) * run - len(tokens)

    def speak(self, pieces: Iterable[Sequence[int]]) -> Iterator[int]:
        """Yield the tokens of the whole request."""
        for piece in pieces:
            self.text.extend(piece)
            self.received += len(piece)
            self._read_reference()
            while not self.tokens and self._has_text_to_say():
                yield from self._burst()
                if self.spec.quirks.text_stream_one_burst_per_piece:
                    break
        yield from self._finish()

    def _read_reference(self) -> None:
        """Interleave the reference's tokens with the text ids there are."""
        while self.tokens and len(self.text) >= self.spec.interleaved_text:
            self._take_text()
            run = self.spec.interleaved_speech
            self.feed.append(self.lm.embed_speech(self.tokens[:run]))
            del self.tokens[:run]

    def _take_text(self) -> None:
        count = self.spec.interleaved_text
        self.feed.append(self.lm.embed_text(self.text[:count]))
        del self.text[:count]
        self.feed_is_bare = False

    def _has_text_to_say(self) -> bool:
        """Read the text ids that the next run needs; False if they have not come yet."""
        if self.said or self.feed_is_bare:
            if len(self.text) < self.spec.interleaved_text:
                return False
            if self.said:
                self.feed.clear()
            self._take_text()
        return True

    def _follow(self, choice: Choice) -> int:
        token, self.cache = self.lm.follow(torch.cat(self.feed, dim=1), self.cache, choice)
        return token

    def _burst(self) -> Iterator[int]:
        """Say tokens until the model asks for more text, or has to after a whole run."""
        spec = self.spec
        until = spec.first_stop_id + 1 if spec.quirks.mask_only_first_stop_id else None
        forbidden = _forbid(spec, until=until, allowed=(spec.fill_id,))
        while True:
            if len(self.said) == self.next_fill:
                token = self._follow(self.sampler.certain(spec.fill_id))
            else:
                token = self._follow(self.sampler.choice(self.said, forbidden))
            if token == spec.fill_id:
                self.next_fill = len(self.said) + spec.interleaved_speech + 1
                self.said.append(token)
                if not spec.quirks.text_stream_refeeds_last:
                    self.feed.clear()
                return
            yield self._say(token)

    def _say(self, token: int) -> int:
        if token >= self.spec.first_stop_id:
            raise ModelError(
                f"The model drew the special token {token} in the middle of streamed text: "
                "use another seed, or do without --compat."
            )
        self.said.append(token)
        self.spoken += 1
        self.feed = [self.lm.embed_speech([token])]
        return token

    def _finish(self) -> Iterator[int]:
        """Read the rest of the text and say everything up to the end of the utterance."""
        spec = self.spec
        self.feed.append(self.lm.embed_text(self.text))
        self.feed.append(self.lm.embed_mark(spec.task_id))
        if not spec.quirks.text_stream_drops_prompt:
            self.feed.append(self.lm.embed_speech(self.tokens))
        unlimited = spec.quirks.text_stream_unlimited
        fewest = 0 if unlimited else int(spec.min_tokens_per_text_id * self.received)
        most = int(spec.max_tokens_per_text_id * self.received)
        special = _forbid(spec)
        others = _forbid(spec, allowed=(spec.end_id,))
        while unlimited or self.spoken < most:
            forbidden = special if self.spoken < fewest else others
            token = self._follow(self.sampler.choice(self.said, () if unlimited else forbidden))
            if token == spec.end_id:
                return
            yield self._say(token)


def _split_after(ids: Sequence[int], end: int | None) -> tuple[Sequence[int], Sequence[int]]:
    """Split behind the first `end`; without one everything is in the second part."""
    cut = ids.index(end) + 1 if end is not None and end in ids else 0
    return ids[:cut], ids[cut:]


def shorten_silences(tokens: Iterable[int], spec: BpeGeneratorSpec) -> Iterator[int]:
    """Leave out what goes beyond `silent_run` silent tokens in a row."""
    silent, run = frozenset(spec.silent_tokens), 0
    for token in tokens:
        run = run + 1 if token in silent else 0
        if run <= spec.silent_run:
            yield token
