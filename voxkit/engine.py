"""The whole product in one loop: text → sentences → speech tokens → mel → waveform.

The four parts are Protocols declared here; a family brings a class for each.  An `Engine` is never
written to after it is built, so one engine serves many requests at once.
"""

from __future__ import annotations

import dataclasses
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from voxkit.arriving import TextSource, Utterance, arriving, known
from voxkit.audio import Audio
from voxkit.company import Company
from voxkit.delivery import Cast, Delivery, Wishes, deliver
from voxkit.errors import ModelError, TextError, VoiceError
from voxkit.families import AnySpec
from voxkit.library import find_voice
from voxkit.likeness import likened
from voxkit.live_score import Marked, MarkedText
from voxkit.markup import Piece
from voxkit.modules.formants import coloured, move_formants
from voxkit.modules.stretch import init_stretch
from voxkit.options import Options
from voxkit.prosody import Prosody
from voxkit.readings import Readings
from voxkit.reference import Clip
from voxkit.revoice import Revoicer
from voxkit.score import write_script
from voxkit.speech import Progress, Speech
from voxkit.style import NEUTRAL, Style
from voxkit.text import Script, Sentence
from voxkit.voice import Description, Voice

State = Any  # each part's own small dataclass; only the part that made it looks inside


class Frontend(Protocol):
    """Text → sentences → the model's text ids."""

    language: str | None  # the one language that it reads; None if there are several
    marks: frozenset[str]  # what it reads beside words: [breath], or / for phones between slashes

    def prepare(self, text: str) -> Script:
        """Normalise text and cut it into sentences that the model can take."""

    def arriving(self) -> TextSource:
        """Return what takes a text in while it is being written."""

    def ids(self, sentence: str) -> tuple[int, ...]:
        """Return the ids (N,) of one normalised sentence."""


class Tokenizer(Protocol):
    """Speech → what a voice is made of."""

    def clip(self, audio: Audio, *, whole: bool) -> Audio:
        """Return what of a recording a voice is made of; all of its speech where `whole`."""

    def encode(self, audio: Audio) -> np.ndarray:
        """Return the speech tokens (T,) of a recording."""

    def describe(self, audio: Audio, text_ids: tuple[int, ...] | None) -> Description:
        """Return tokens, mel, speaker vector and measured attributes of a reference."""


class Generator(Protocol):
    """Text and voice → speech tokens, one by one."""

    def join(self, company: Company) -> None:
        """Take the steps of all who have a seat in a company at once."""

    def tokens(
        self,
        text_ids: tuple[int, ...],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens until the text is said, in the manner of an `instruction`."""

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


class Decoder(Protocol):
    """Speech tokens and voice → mel, on a grid of chunks."""

    prefers_whole: bool  # whether a sentence decoded at once takes much less memory than in hops
    joins: bool  # whether several sentences at once are quicker than one by one

    @property
    def network(self) -> nn.Module:
        """The network whose layers do nearly all of the work."""

    def init_state(self, voice: Voice, options: Options) -> State:
        """Return the state after the reference, from which any number of sentences can start."""

    def hops(self, voice: Voice, earlier: Sequence[int] = ()) -> Iterator[int]:
        """Yield, without end, how many more tokens each `decode` of a sentence should wait for.

        `earlier` are the token counts of the sentences spoken before it in the same request.
        """

    def seed(self, state: State, generator: torch.Generator) -> State:
        """Return the state with the noise of one sentence."""

    def decode(self, tokens: Tensor, state: State, last: bool) -> tuple[Tensor, State]:
        """Take more tokens (t,) → all finished mel (1, M, f) in natural log, and the state."""

    def complete(self, rest: Sequence[tuple[Tensor, State]]) -> list[Tensor]:
        """Take the last tokens (t,) of several sentences, with their states → the mel of each.

        Where it `joins` and this fails no noise has been drawn: each may be tried again alone.
        """


class Vocoder(Protocol):
    """Mel → waveform."""

    stretches: bool  # whether it changes the speed itself; else the mel is stretched for it
    joins: bool  # whether several sentences at once are quicker than one by one

    def init_state(self, generator: torch.Generator, prosody: Prosody) -> State:
        """Return the state before the first frame of speech that is changed so.

        Raises `ModelError` for a change that it cannot make.
        """

    def vocode(self, mel: Tensor, state: State, last: bool) -> tuple[Tensor, State]:
        """Take more mel (1, M, f) → all finished samples (s,) in [-1, 1], and the state."""

    def complete(self, rest: Sequence[tuple[Tensor, State]]) -> list[Tensor]:
        """Take the last mel (1, M, f) of several sentences, with their states → samples of each.

        Where it `joins` and this fails no noise has been drawn: each may be tried again alone.
        """


@dataclass(frozen=True)
class Parts:
    """The classes that a family brings."""

    frontend: Frontend
    tokenizer: Tokenizer
    generator: Generator
    decoder: Decoder
    vocoder: Vocoder
    company: Company | None = None  # whose tasks have the parts work for all of them at once


class Engine:
    """A model that is ready to speak."""

    def __init__(
        self,
        spec: AnySpec,
        parts: Parts,
        *,
        fingerprint: str,
        default_voice: str,
        trial_lines: Sequence[str] = (),
        called: str | None = None,  # by the user: a hub id or folder, where it is not its name
    ) -> None:
        self.spec, self.parts, self.trial_lines = spec, parts, trial_lines
        self.called = called or spec.name
        self.fingerprint, self.default_voice = fingerprint, default_voice
        self.sample_rate = spec.mel.sample_rate
        self.prefers_whole = parts.decoder.prefers_whole  # sentences, where nobody waits for sound
        self.company = parts.company  # whose tasks speak together
        self._readings = Readings(parts.decoder.init_state, parts.company)

    def prepare(self, text: str | Sequence[Piece]) -> Script:
        """Normalise text, plain or read from markup, and cut it into sentences.

        Raises `TextError` for nothing to say.
        """
        frontend = self.parts.frontend
        if isinstance(text, str):
            return frontend.prepare(text)
        return write_script(text, frontend.prepare, frontend.marks)

    def stream(
        self,
        text: str | Script | Marked | Iterable[str],
        voice: Voice,
        options: Options | None = None,
        *,
        style: Style = NEUTRAL,
        voices: Callable[[str], Voice] | None = None,
    ) -> Speech:
        """Speak, yielding audio as it is made.

        Text is given whole, or in pieces that are cut anywhere while it is still being written;
        an iterator is asked for them in a thread of its own, one by one as they are needed.
        Those who speak in a script, as after [voice:ann], come from `voices`, else the library.
        Raises `TextError` for nothing to say and `VoiceError` for a voice of another model.
        """
        whole = self.prepare(text) if isinstance(text, str) else text
        cast = Cast(voice, voices or self._from_library)
        for name in {s.manner.voice for s in whole.sentences} if isinstance(whole, Script) else ():
            self._check(cast.voice(name))
        self._check(voice)
        wishes = Wishes(options or Options(), style, cast)

        def utterances(progress: Progress) -> Iterator[Utterance]:
            if isinstance(whole, Script):
                return known(whole, progress)
            frontend = self.parts.frontend
            if isinstance(whole, Marked):
                source = MarkedText(frontend.arriving, frontend.marks, whole.lexicon)
                return arriving(whole.text, source, progress)
            return arriving(whole, frontend.arriving(), progress)

        def speak(progress: Progress) -> abc.Generator[Audio, None, None]:
            if isinstance(whole, Script) and whole.lead_ms:
                yield self._silence(whole.lead_ms)
            if not isinstance(whole, Script):
                self._readings.after(voice, wishes.options)  # while the first words are written
            yield from self._speak(utterances(progress), wishes, progress)

        return Speech(speak)

    def speak(
        self,
        text: str | Script | Marked | Iterable[str],
        voice: Voice,
        options: Options | None = None,
        *,
        style: Style = NEUTRAL,
        voices: Callable[[str], Voice] | None = None,
    ) -> Audio:
        """Speak and return all of it: the stream joined."""
        stream = self.stream(text, voice, options, style=style, voices=voices)
        return Audio(np.concatenate([piece.samples for piece in stream]), self.sample_rate)

    def convert(
        self, recording: Audio | Iterable[Audio], voice: Voice, options: Options | None = None
    ) -> Iterator[Audio]:
        """Say a recording again with another voice, in time with it; it may come in blocks.

        The result comes piece by piece, in memory that does not grow, and lasts as long as the
        recording.  Raises `VoiceError` for a voice of another model.
        """
        self._check(voice)
        blocks = [recording] if isinstance(recording, Audio) else recording
        options = options or Options()
        start = self._readings.after(voice, options)
        revoicer = Revoicer(self.parts, self.spec.mel, self.spec.token_rate)
        return revoicer.convert(blocks, voice, start, lambda n: _generators(options.seed, n))

    def clone(self, reference: Audio, *, name: str, transcript: str | None = None) -> Voice:
        """Make a voice from a recording, brought near to it if this is a model that does so.

        Raises `AudioError` if it holds no usable speech.
        """
        return self.likened(self.heard(reference, name=name, transcript=transcript))

    def heard(self, reference: Audio, *, name: str, transcript: str | None = None) -> Voice:
        """Make a voice of what is heard in a recording, and no more.  Raises as `clone` does."""
        clip = self.parts.tokenizer.clip(reference, whole=transcript is not None)
        ids = None
        if transcript is not None:
            sentences = self.prepare(transcript).sentences
            ids = tuple(i for s in sentences for i in self.parts.frontend.ids(s.text))
        made = self.parts.tokenizer.describe(clip, ids)
        if len(made.tokens) == 0:
            raise VoiceError(f"The recording for {name!r} is too short: give 3 to 10 seconds.")
        return Voice(
            name=name,
            made_by=self.fingerprint,
            transcript=transcript,
            attributes=made.attributes,
            language=self.parts.frontend.language,
            tokens=made.tokens,
            mel=made.mel,
            speaker=made.speaker,
            reference=clip,
        )

    def likened(self, voice: Voice, mel: np.ndarray | None = None) -> Voice:
        """Let the voice speak and bring it nearer to its recording, or to all of `mel` (M, F).

        A model that has no trial lines leaves it as it is.
        """
        if not self.trial_lines:
            return voice
        return likened(voice, self.trial_lines, self, self.parts.tokenizer, mel)

    def adopt(self, voice: Voice) -> Voice:
        """Return the voice in this model's terms, made anew from its recording if need be.

        Raises `VoiceError` if another model made it and no recording is kept with it.
        """
        if voice.made_by == self.fingerprint or voice.reference is None:
            self._check(voice)
            return voice
        clip = Clip(voice.reference.samples, voice.reference.sample_rate)
        try:
            made = self.clone(clip, name=voice.name, transcript=voice.transcript)
        except TextError:  # words of a language that this model does not read
            made = self.clone(clip, name=voice.name)
        return dataclasses.replace(
            made,
            description=voice.description,
            source=voice.source,
            licence=voice.licence,
            consent=voice.consent,
            creation=voice.creation,
        )

    def _check(self, voice: Voice) -> None:
        """Raise `VoiceError` unless the voice is one of this model's, whoever wrote its file."""
        voice.check_made_by(self.fingerprint, self.called)
        voice.check_fits(
            codebook=self.spec.tokenizer.codebook,
            bins=self.spec.mel.bins,
            ratio=self.spec.mel_per_token,
            speaker=self.spec.speaker.embedding,
        )

    def _speak(
        self,
        utterances: Iterator[Utterance],
        wishes: Wishes,
        progress: Progress,
    ) -> abc.Generator[Audio, None, None]:
        """Speak one utterance after the other, each followed by its pause."""
        counts: list[int] = []  # tokens of each utterance so far
        pause_ms: float | None = None
        last: Sentence | None = None
        for utterance in utterances:
            if pause_ms is not None:
                yield self._silence(pause_ms)
            if utterance.first.text:  # else it is silence alone
                counts.append((yield from self._utterance(utterance, wishes, counts, progress)))
            last = utterance.last
            pause_ms = self._delivery(last, wishes).pause_ms
        if last is not None and last.pause_ms is not None:
            yield self._silence(last.pause_ms)

    def _utterance(
        self,
        utterance: Utterance,
        wishes: Wishes,
        earlier: Sequence[int],
        progress: Progress,
    ) -> abc.Generator[Audio, None, int]:
        """Speak one utterance, hop by hop, and return the number of its tokens."""
        parts, options = self.parts, wishes.options
        voice = wishes.cast.voice(utterance.first.manner.voice)
        told = self._delivery(utterance.first, wishes)
        sampling, flow, source = _generators(options.seed, len(earlier))
        mel_state = parts.decoder.seed(self._readings.after(voice, options), flow)
        wav_state = parts.vocoder.init_state(source, told.prosody)
        stretch = init_stretch(1.0 if parts.vocoder.stretches else told.prosody.speed)
        tokens = self._tokens(utterance, voice, options, sampling, progress, told.instruction)
        said = frames = 0
        sizes = _begun_late(parts.decoder.hops(voice, earlier), options.first_hop or 1)
        for hop, last in _hops(tokens, sizes):
            said += len(hop)
            new = torch.tensor(hop, dtype=torch.long)
            mel, mel_state = parts.decoder.decode(new, mel_state, last)
            frames += mel.shape[2]
            mel = move_formants(coloured(mel, voice.timbre), voice.formant_factor, self.spec.mel)
            mel, stretch = stretch.step(mel, last)
            wav, wav_state = parts.vocoder.vocode(mel, wav_state, last)
            if last:
                progress.finish(said)
            elif wav.shape[0]:
                progress.reach(frames // self.spec.mel_per_token)
            if wav.shape[0]:
                yield Audio(told.level(self._sound(wav)), self.sample_rate)
        return said

    def _tokens(
        self,
        utterance: Utterance,
        voice: Voice,
        options: Options,
        sampling: torch.Generator,
        progress: Progress,
        instruction: str | None,
    ) -> Iterator[int]:
        """Yield the tokens of an utterance, all of which is known or which still grows."""
        generator = self.parts.generator
        ids = (self._ids(part) for part in utterance)
        if utterance.grows:
            tokens = generator.tokens_streamed(
                ids, voice, options, sampling, instruction=instruction
            )
        else:
            tokens = generator.tokens(next(ids), voice, options, sampling, instruction=instruction)
        for token in tokens:
            progress.check()
            yield token

    def _ids(self, sentence: Sentence) -> tuple[int, ...]:
        ids = self.parts.frontend.ids(sentence.text)
        if not ids:
            raise TextError(
                f"Nobody knows how {sentence.source!r} is said: write it in other words."
            )
        return ids

    def _sound(self, wav: Tensor) -> np.ndarray:
        """Return samples (S,) as they are.  Raises `ModelError` for what is no sound."""
        samples: np.ndarray = wav.cpu().numpy()
        if not np.isfinite(samples).all():
            raise ModelError(
                f"The model {self.called} makes samples that are no numbers: its weights are "
                "damaged, so copy or fetch it again."
            )
        return samples

    def _delivery(self, sentence: Sentence, wishes: Wishes) -> Delivery:
        return deliver(sentence, wishes, self.spec.family)

    def _from_library(self, name: str) -> Voice:
        return self.adopt(find_voice(name))

    def _silence(self, milliseconds: float) -> Audio:
        count = round(milliseconds * self.sample_rate / 1000)
        return Audio(np.zeros(count, np.float32), self.sample_rate)


def _begun_late(sizes: Iterator[int], least: int) -> Iterator[int]:
    """Join the first hops until they have at least so many tokens."""
    first = next(sizes)
    while first < least:
        first += next(sizes)
    yield first
    yield from sizes


def _hops(tokens: Iterator[int], sizes: Iterator[int]) -> Iterator[tuple[list[int], bool]]:
    """Group tokens into hops of the given sizes; True comes with the last, which may be empty."""
    size, hop = next(sizes), list[int]()
    for token in tokens:
        hop.append(token)
        if len(hop) == size:
            yield hop, False
            size, hop = next(sizes), []
    yield hop, True


def _generators(
    seed: int, sentence: int
) -> tuple[torch.Generator, torch.Generator, torch.Generator]:
    """Generators of one sentence for sampling, flow noise and vocoder noise.

    Each stage has its own, so that how the speech is cut into hops changes nothing.
    """
    seeds = np.random.SeedSequence([seed, sentence]).generate_state(3, np.uint64)
    a, b, c = (torch.Generator().manual_seed(int(s >> np.uint64(1))) for s in seeds)
    return a, b, c
