"""Native decoder and vocoder: speech tokens and voice → mel by flow matching → waveform."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from voxkit.errors import ModelError
from voxkit.generator import voice_tensors
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
    """Everything the decoder knows of one sentence so far."""

    voice: Tensor  # (1, D)
    guidance: float
    times: tuple[float, ...]  # at which the steps of the flow start
    encoder: EncoderState
    steps: tuple[tuple[BlockState, ...], ...]  # the past of every block at every step
    pending: Tensor  # (1, t, dims) codes that wait for their chunk or their look-ahead
    frames: int  # mel frames decoded so far, the reference's included
    generator: torch.Generator | None  # noise of this sentence
    begun: bool = False  # its first chunk is decoded


class FlowDecoder:
    """Runs the DiT chunk by chunk; the past of every step of the flow is carried along.

    The flow is followed by the two-step method of Adams and Bashforth, which asks the network as
    often as Euler's and errs less: its mel is nearer to that of very many steps with five than
    Euler's with eight (Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I,
    section III.1).
    """

    prefers_whole = False  # it remembers little

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
            generator=None,
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
        return dataclasses.replace(state, generator=generator, steps=steps)

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
        mel = torch.cat(made, dim=1).transpose(1, 2)
        return mel * self.spec.mel.scale + self.spec.mel.mean, state

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
        noise = torch.randn(guess.shape, generator=state.generator).to(guess.device)
        on = _condition(state, guess.device).repeat(len(state.steps), 1, 1)
        t = torch.tensor(state.times, device=guess.device).repeat_interleave(_rows(state))
        x = t[:, None, None] * known + (1 - t[:, None, None]) * noise
        _, past = self.network.velocity(
            x, t, features * on, guess * on, known * on, state.voice * on[:, 0], state.frames, past
        )
        frames = state.frames + known.shape[1]
        return past, dataclasses.replace(state, encoder=encoder, frames=frames)

    def _chunk(self, window: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Decode codes (1, t + lookahead, dims) → normalised mel (1, 2t, M), the state."""
        features, guess, encoder = self.network.encoder.step(window, state.voice, state.encoder)
        x = torch.randn(guess.shape, generator=state.generator).to(guess.device)
        on = _condition(state, guess.device)
        rows, voice, prompt = len(on), state.voice * on[:, 0], torch.zeros_like(guess * on)
        features, guess = features * on, guess * on
        steps, before = [], None
        for now, past in zip(state.times, state.steps, strict=True):
            t = torch.full((rows,), now, device=x.device)
            velocity, past = self.network.velocity(
                x.expand(rows, -1, -1), t, features, guess, prompt, voice, state.frames, past
            )
            if rows == 2:
                velocity = (1 + state.guidance) * velocity[:1] - state.guidance * velocity[1:]
            ahead = velocity if before is None else 1.5 * velocity - 0.5 * before
            x, before = x + ahead / len(state.times), velocity
            steps.append(past)
        return x, dataclasses.replace(
            state, encoder=encoder, steps=tuple(steps), frames=state.frames + x.shape[1]
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


class VocosVocoder:
    """Mel in natural log → waveform, in blocks of one size.

    Rounding differs between sizes, and the phase of the pulse train adds it up: with one size,
    speech is the same to the bit however it was cut into hops.
    """

    def __init__(self, spec: ModelSpec, model: Vocos) -> None:
        self.spec, self.model = spec, model
        self.stretches = spec.vocoder.head == "source-filter"

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
        return wav, VocoderState(network, pending, state.prosody)
