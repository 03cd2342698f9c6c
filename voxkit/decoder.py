"""Native decoder and vocoder: speech tokens and voice → mel by flow matching → waveform."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from voxkit.company import by_kind
from voxkit.errors import ModelError
from voxkit.generator import voice_tensors
from voxkit.modules.chunks import within
from voxkit.modules.dit import BlockState, Dit, EncoderState
from voxkit.modules.fsq import tokens_to_codes
from voxkit.modules.vocos import Vocos, VocosState
from voxkit.options import Options
from voxkit.prosody import NATURAL, Prosody
from voxkit.spec import ModelSpec
from voxkit.voice import Voice

_PROMPT_TOKENS = 75  # of the reference that the decoder sees, 3 s
_BLOCK = 10  # mel frames that the vocoder takes at a time, 0.2 s


@dataclass(frozen=True)
class DecoderState:
    """Everything the decoder knows of one sentence so far, or of several that are equally far."""

    voice: Tensor  # (B, D)
    guidance: float
    times: tuple[float, ...]  # at which the steps of the flow start
    encoder: EncoderState
    steps: tuple[tuple[BlockState, ...], ...]  # the past of every block at every step
    pending: Tensor  # (1, t, dims) codes that wait for their chunk or their look-ahead
    frames: int  # mel frames decoded so far, the reference's included
    generators: tuple[torch.Generator, ...]  # noise of each sentence
    begun: bool = False  # the first chunk is decoded

    @property
    def place(self) -> tuple[object, ...]:
        """What sentences have in common that can be decoded together."""
        return self.guidance, self.times, self.frames, self.begun

    def first(self, count: int) -> DecoderState:
        """Return the state of the first sentences, which goes on in place of this one."""
        if count == len(self.voice):
            return self
        rows = count * _rows(self)
        return dataclasses.replace(
            self,
            voice=self.voice[:count],
            encoder=self.encoder.first(count),
            steps=tuple(tuple(block.first(rows) for block in step) for step in self.steps),
            generators=self.generators[:count],
        )

    @staticmethod
    def joined(states: Sequence[DecoderState], spare: int) -> DecoderState:
        """Make one state, with room for `spare` frames, of those of sentences at the same place."""
        steps = zip(*(state.steps for state in states), strict=True)
        return dataclasses.replace(
            states[0],
            voice=torch.cat([state.voice for state in states]),
            encoder=EncoderState.joined([state.encoder for state in states]),
            steps=tuple(
                tuple(BlockState.joined(block, spare) for block in zip(*step, strict=True))
                for step in steps
            ),
            generators=tuple(g for state in states for g in state.generators),
        )


class FlowDecoder:
    """Runs the DiT chunk by chunk; the past of every step of the flow is carried along.

    The flow is followed by the two-step method of Adams and Bashforth, which asks the network as
    often as Euler's and errs less: its mel is nearer to that of very many steps with five than
    Euler's with eight (Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I,
    section III.1).
    """

    prefers_whole = False  # it remembers little
    joins = True  # several sentences at once are quicker than one by one

    def __init__(self, spec: ModelSpec, network: Dit) -> None:
        self.spec, self.network = spec, network

    @torch.inference_mode()
    def init_state(self, voice: Voice, options: Options) -> DecoderState:
        """Return the state after the voice's reference, read once for a whole request."""
        flow = self.spec.decoder.flow
        guidance = flow.guidance if options.guidance is None else options.guidance
        count = options.steps or flow.steps
        times = tuple(step / count for step in range(count))
        device = self.network.leave.weight.device
        rows = 2 if guidance else 1
        state = DecoderState(
            voice=self.network.condition(*voice_tensors(voice, self.spec, device)),
            guidance=guidance,
            times=times,
            encoder=self.network.encoder.init_state(1),
            steps=(self.network.init_blocks(rows),) * count,
            pending=torch.zeros(1, 0, self.spec.tokenizer.dims, device=device),
            frames=0,
            generators=(),
        )
        return self._read_reference(voice, state)

    def hops(self, voice: Voice, earlier: Sequence[int] = ()) -> Iterator[int]:
        """Yield how many more tokens each `decode` waits for; every sentence starts anew.

        The first is the sentence's first chunk with its look-ahead.
        """
        yield self._chunk_size(begun=False) + self.spec.decoder.lookahead
        yield from self.spec.stream.hops()

    def _chunk_size(self, *, begun: bool) -> int:
        spec = self.spec.decoder
        return spec.chunk if begun or not spec.first_chunk else spec.first_chunk

    def seed(self, state: DecoderState, generator: torch.Generator) -> DecoderState:
        """Return the state with the noise of one sentence."""
        steps = tuple(tuple(block.shared() for block in step) for step in state.steps)
        return dataclasses.replace(state, generators=(generator,), steps=steps)

    @torch.inference_mode()
    def decode(
        self, tokens: Tensor, state: DecoderState, last: bool
    ) -> tuple[Tensor, DecoderState]:
        """Take more tokens (t,) → all finished mel (1, M, f) in natural log, and the state."""
        spec = self.spec.decoder
        codes = torch.cat([state.pending, self._codes(tokens)], dim=1)
        made = []
        while True:
            size = self._chunk_size(begun=state.begun)
            if not codes.shape[1] or (codes.shape[1] < size + spec.lookahead and not last):
                break
            count = min(size, codes.shape[1])
            window = codes[:, : count + spec.lookahead]
            missing = count + spec.lookahead - window.shape[1]
            window = torch.nn.functional.pad(window, (0, 0, 0, missing))
            mel, state = self._chunk(window, state)
            made.append(mel)
            state = dataclasses.replace(state, begun=True)
            codes = codes[:, count:]
        state = dataclasses.replace(state, pending=codes)
        if not made:
            return codes.new_zeros(1, self.spec.mel.bins, 0), state
        return self._mel(made), state

    @torch.inference_mode()
    def complete(self, rest: Sequence[tuple[Tensor, DecoderState]]) -> list[Tensor]:
        """Take the last tokens (t,) of several sentences → what is left of the mel of each.

        Those at the same place go together.  In float32 the mel (1, M, f) is that of `decode` but
        for rounding.
        """
        places = [state.place for _, state in rest]
        with _rewound([g for _, state in rest for g in state.generators]):
            return by_kind(rest, places, lambda one: self.decode(*one, True)[0], self._ends)

    def _ends(self, rest: Sequence[tuple[Tensor, DecoderState]]) -> list[Tensor]:
        """Decode sentences at the same place to their ends, chunk by chunk."""
        spec, ratio = self.spec.decoder, self.spec.mel_per_token
        codes = [torch.cat([state.pending, self._codes(t)], dim=1)[0] for t, state in rest]
        order = sorted(range(len(rest)), key=lambda i: len(codes[i]), reverse=True)
        left = [len(codes[i]) for i in order]  # tokens, the longest sentence first
        state = DecoderState.joined([rest[i][1] for i in order], left[0] * ratio)
        padded = torch.nn.utils.rnn.pad_sequence([codes[i] for i in order], batch_first=True)
        padded = torch.nn.functional.pad(padded, (0, 0, 0, spec.lookahead))
        made: list[list[Tensor]] = [[] for _ in order]
        while left and left[0]:
            count = min(self._chunk_size(begun=state.begun), left[0])
            counts = [min(count, tokens) for tokens in left if tokens]
            window = padded[: len(counts), : count + spec.lookahead]
            mel, state = self._chunk(window, state.first(len(counts)), counts)
            state = dataclasses.replace(state, begun=True)
            for row, tokens in enumerate(counts):
                made[row].append(mel[row : row + 1, : tokens * ratio])
            padded = padded[:, count:]
            left = [tokens - done for tokens, done in zip(left[: len(counts)], counts, strict=True)]
        nothing = padded.new_zeros(1, 0, self.spec.mel.bins)
        ends = {i: self._mel(made[row] or [nothing]) for row, i in enumerate(order)}
        return [ends[i] for i in range(len(rest))]

    def _mel(self, made: Sequence[Tensor]) -> Tensor:
        """Join normalised pieces (1, f, M) to mel (1, M, F) in natural log."""
        return (
            torch.cat(list(made), dim=1).transpose(1, 2) * self.spec.mel.scale + self.spec.mel.mean
        )

    def _codes(self, tokens: Tensor) -> Tensor:
        spec = self.spec.tokenizer
        device = self.network.leave.weight.device
        return tokens_to_codes(tokens.long().to(device)[None], spec.levels, spec.dims)

    def _read_reference(self, voice: Voice, state: DecoderState) -> DecoderState:
        """Pass the reference's tokens and mel through every step, chunk by chunk."""
        spec, ratio = self.spec.decoder, self.spec.mel_per_token
        usable = min(_PROMPT_TOKENS, len(voice.tokens) - spec.lookahead)
        codes = self._codes(torch.from_numpy(voice.tokens))
        mel = torch.from_numpy(voice.mel).to(codes.device).T[None]
        mel = (mel - self.spec.mel.mean) / self.spec.mel.scale
        rows, count = _rows(state), len(state.steps)
        past = self.network.init_blocks(rows * count)
        state = self.seed(state, torch.Generator().manual_seed(0))
        for start in range(0, usable, spec.chunk):
            end = min(start + spec.chunk, usable)
            known = mel[:, start * ratio : end * ratio]
            past, state = self._known_chunk(
                codes[:, start : end + spec.lookahead], known, past, state
            )
        parts = [range(rows * k, rows * (k + 1)) for k in range(count)]
        steps = tuple(tuple(b.rows(part.start, part.stop) for b in past) for part in parts)
        return dataclasses.replace(state, steps=steps)

    def _known_chunk(
        self, window: Tensor, known: Tensor, past: tuple[BlockState, ...], state: DecoderState
    ) -> tuple[tuple[BlockState, ...], DecoderState]:
        """Read codes (1, t + lookahead, dims) whose mel is known (1, 2t, M) → past and state after.

        The path there is a straight line from the noise, so all steps are rows of one batch.
        """
        features, guess, encoder = self.network.encoder.step(window, state.voice, state.encoder)
        noise = torch.randn(guess.shape, generator=state.generators[0]).to(guess.device)
        on = _condition(state, guess.device).repeat(len(state.steps), 1, 1)
        t = torch.tensor(state.times, device=guess.device).repeat_interleave(_rows(state))
        x = t[:, None, None] * known + (1 - t[:, None, None]) * noise
        _, past = self.network.velocity(
            x, t, features * on, guess * on, known * on, state.voice * on[:, 0], state.frames, past
        )
        frames = state.frames + known.shape[1]
        return past, dataclasses.replace(state, encoder=encoder, frames=frames)

    def _chunk(
        self, window: Tensor, state: DecoderState, counts: Sequence[int] | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Decode codes (B, t + lookahead, dims) → normalised mel (B, 2t, M), the state.

        A sentence that ends here has fewer tokens than the longest, as `counts` tells: what is
        decoded after its end means nothing, and it does not see it.
        """
        features, guess, encoder = self.network.encoder.step(window, state.voice, state.encoder)
        frames, mask = guess.shape[1], None
        rows = _rows(state)
        lengths = (
            [frames] * len(guess)
            if counts is None
            else [self.spec.mel_per_token * n for n in counts]
        )
        x = torch.zeros_like(guess)
        for row, (length, generator) in enumerate(zip(lengths, state.generators, strict=True)):
            x[row, :length] = torch.randn(1, length, x.shape[2], generator=generator)[0]
        if min(lengths) < frames:
            ends = [length for length in lengths for _ in range(rows)]
            mask = within(ends, state.frames, frames, x.device)
        on = _condition(state, guess.device).repeat(len(guess), 1, 1)
        features, guess, voice = (
            y.repeat_interleave(rows, dim=0) for y in (features, guess, state.voice)
        )
        features, guess, voice = features * on, guess * on, voice * on[:, 0]
        prompt = torch.zeros_like(guess)
        steps, before = [], None
        for now, past in zip(state.times, state.steps, strict=True):
            t = torch.full((len(on),), now, device=x.device)
            velocity, past = self.network.velocity(
                x.repeat_interleave(rows, dim=0),
                t,
                features,
                guess,
                prompt,
                voice,
                state.frames,
                past,
                mask,
            )
            if rows == 2:
                velocity = (1 + state.guidance) * velocity[::2] - state.guidance * velocity[1::2]
            ahead = velocity if before is None else 1.5 * velocity - 0.5 * before
            x, before = x + ahead / len(state.times), velocity
            steps.append(past)
        return x, dataclasses.replace(
            state, encoder=encoder, steps=tuple(steps), frames=state.frames + frames
        )


def _rows(state: DecoderState) -> int:
    """Rows of the batch at each step: the conditional one, and with guidance the other."""
    return 2 if state.guidance else 1


def _condition(state: DecoderState, device: torch.device) -> Tensor:
    """What to multiply conditions by (rows, 1, 1): the second row has none."""
    return torch.tensor([1.0, 0.0][: _rows(state)], device=device)[:, None, None]


@dataclass(frozen=True)
class VocoderState:
    """The network's state and the mel that waits until a block is full."""

    network: VocosState
    pending: Tensor  # (1, M, < _BLOCK frames)
    prosody: Prosody
    begun: bool = False  # some mel has come


class VocosVocoder:
    """Mel in natural log → waveform, in blocks of one size.

    Rounding differs between sizes, and the phase of the pulse train adds it up: with one size,
    speech is the same to the bit however it was cut into hops.
    """

    def __init__(self, spec: ModelSpec, model: Vocos) -> None:
        self.spec, self.model = spec, model
        self.stretches, self.joins = spec.vocoder.head == "source-filter", True

    def init_state(self, generator: torch.Generator, prosody: Prosody = NATURAL) -> VocoderState:
        """Return the state before the first frame.

        Raises `ModelError` for a change that the vocoder's head cannot make.
        """
        natural = dataclasses.replace(prosody, speed=1.0).is_natural
        if not natural and self.spec.vocoder.head != "source-filter":
            raise ModelError(f"{self.spec.name} cannot change the pitch of speech, nor whisper.")
        weight = self.model.pitch.weight
        nothing = weight.new_zeros(1, self.spec.mel.bins, 0)
        return VocoderState(self.model.init_state(1, generator), nothing, prosody)

    @torch.inference_mode()
    def vocode(self, mel: Tensor, state: VocoderState, last: bool) -> tuple[Tensor, VocoderState]:
        """Take more mel (1, M, f) → all finished samples (s,), and the state."""
        normalised = (mel - self.spec.mel.mean) / self.spec.mel.scale
        pending = torch.cat([state.pending, normalised], dim=2)
        network, made = state.network, []
        while pending.shape[2] >= _BLOCK or last:
            block, pending = pending[:, :, :_BLOCK], pending[:, :, _BLOCK:]
            final = last and pending.shape[2] == 0
            wav, network = self.model.step(block, network, final, state.prosody)
            made.append(wav[0])
            if final:
                break
        wav = torch.cat(made) if made else mel.new_zeros(0)
        return wav, VocoderState(network, pending, state.prosody, begun=True)

    @torch.inference_mode()
    def complete(self, rest: Sequence[tuple[Tensor, VocoderState]]) -> list[Tensor]:
        """Take the last mel (1, M, f) of several sentences → what is left of the sound of each.

        Those of which this is all go together if they are changed alike.  In float32 the samples
        (s,) are those of `vocode` but for rounding.
        """
        kinds = [index if s.begun else s.prosody for index, (_, s) in enumerate(rest)]
        with _rewound([g for _, state in rest for g in state.network.generators]):
            return by_kind(rest, kinds, lambda one: self.vocode(*one, True)[0], self._wholes)

    def _wholes(self, rest: Sequence[tuple[Tensor, VocoderState]]) -> list[Tensor]:
        """Vocode whole sentences that are changed alike, block by block but for the last."""
        order = sorted(range(len(rest)), key=lambda i: rest[i][0].shape[2], reverse=True)
        mels = [(rest[i][0] - self.spec.mel.mean) / self.spec.mel.scale for i in order]
        prosody = rest[0][1].prosody
        generators = [g for i in order for g in rest[i][1].network.generators]
        network = self.model.init_state(len(order), *generators)
        made: list[list[Tensor]] = [[] for _ in order]
        start, going = 0, len(order)
        while going:
            stop = start + _BLOCK
            longer = sum(mel.shape[2] > stop for mel in mels)
            for row in range(longer, going):
                own = network.rows(slice(row, row + 1))
                wav, _ = self.model.step(mels[row][:, :, start:], own, True, prosody)
                made[row].append(wav[0])
            if longer:
                blocks = torch.cat([mel[:, :, start:stop] for mel in mels[:longer]])
                network = network.rows(slice(longer))
                wavs, network = self.model.step(blocks, network, False, prosody)
                for row, wav in enumerate(wavs):
                    made[row].append(wav)
            start, going = stop, longer
        ends = {i: torch.cat(made[row]) for row, i in enumerate(order)}
        return [ends[i] for i in range(len(rest))]


@contextmanager
def _rewound(generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Put generators back to where they were if what draws from them fails."""
    before = [generator.get_state() for generator in generators]
    try:
        yield
    except Exception:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
        raise
