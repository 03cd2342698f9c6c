"""The flow decoder of the CosyVoice family: speech tokens and a reference → mel, chunk by chunk.

Tokens lie on a grid of chunks that starts with the reference's own.  A chunk is decoded once, when
the few tokens after it are known; what later chunks need of it travels in the state.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.company import by_kind
from voxkit.cosyvoice_spec import ConformerSpec, EncodedFlowSpec, RepeatSpec, UnetSpec
from voxkit.modules.chunks import ChunkMask, KeyValues, Mask, within
from voxkit.modules.conformer import ConformerEncoder, ConformerState, Lookahead
from voxkit.modules.dit_cosyvoice import DitState, RotaryDit
from voxkit.modules.unet import CausalUnet, Moment, UnetState
from voxkit.spec import MelSpec, StreamSpec

EstimatorState = UnetState | DitState


class Estimator(Protocol):
    """What tells the flow where to go."""

    def moments(self, times: Tensor) -> list[Moment]:
        """Return what each of the times (S,) says to the network, which depends on nothing else."""

    def __call__(
        self,
        x: Tensor,
        mu: Tensor,
        speaker: Tensor,
        prompt: Tensor,
        moment: Moment,
        state: EstimatorState,
        mask: Mask | None,
    ) -> tuple[Tensor, EstimatorState]:
        """x, mu, prompt (B, M, F), speaker (B, M), a moment → velocity (B, M, F), state."""


@dataclass
class RepeatState:
    """What the repeating encoder needs of the frames before."""

    lookahead: Tensor  # (B, width, 2)


class RepeatEncoder(nn.Module):
    """Embedded tokens (B, T, M), with a look ahead, repeated to the mel rate (B, T · rate, M)."""

    def __init__(self, spec: RepeatSpec, bins: int, ahead: int, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.lookahead = Lookahead(bins, spec.width, ahead)

    def init_state(self, batch: int) -> RepeatState:
        """Return the state before the first token."""
        return RepeatState(self.lookahead.init_state(batch))

    def forward(
        self, x: Tensor, after: Tensor, state: RepeatState, chunk: int | None
    ) -> tuple[Tensor, RepeatState]:
        """x (B, T, M), after (B, ≤ ahead, M) → (B, T · rate, M), state, whatever `chunk`."""
        x, past = self.lookahead(x, after, state.lookahead)
        return x.repeat_interleave(self.rate, dim=1), RepeatState(past)


class EncodedFlow(nn.Module):
    """The decoder's weights: token embedding, speaker projection, encoder, estimator."""

    def __init__(self, spec: EncodedFlowSpec, mel: MelSpec, rate: int) -> None:
        super().__init__()
        self.spec, self.bins, self.rate = spec, mel.bins, rate
        self.speaker = nn.Linear(spec.speaker, mel.bins)
        self.encoder: ConformerEncoder | RepeatEncoder
        self.project: nn.Linear | nn.Identity
        if isinstance(spec.encoder, ConformerSpec):
            self.embedding = nn.Embedding(spec.codebook, spec.encoder.inputs)
            self.encoder = ConformerEncoder(spec.encoder, spec.encoder.inputs, spec.lookahead, rate)
            self.project = nn.Linear(spec.encoder.width, mel.bins)
        else:
            self.embedding = nn.Embedding(spec.codebook, mel.bins)
            self.encoder = RepeatEncoder(spec.encoder, mel.bins, spec.lookahead, rate)
            self.project = nn.Identity()
        self.estimator: CausalUnet | RotaryDit
        if isinstance(spec.estimator, UnetSpec):
            self.estimator = CausalUnet(spec.estimator, mel.bins)
        else:
            self.estimator = RotaryDit(spec.estimator, mel.bins)

    def speaker_vector(self, embedding: Tensor) -> Tensor:
        """Speaker embedding (B, D) of any length → what the estimator is told (B, M)."""
        return self.speaker(F.normalize(embedding, dim=1))

    def encode(
        self,
        tokens: Tensor,
        after: Tensor,
        state: ConformerState | RepeatState,
        *,
        chunked: bool,
    ) -> tuple[Tensor, ConformerState | RepeatState]:
        """tokens (B, T), the ≤ lookahead tokens after them → hidden (B, T · rate, D), state."""
        chunk = self.spec.chunk if chunked else None
        x, ahead = self.embedding(tokens), self.embedding(after)
        return self.encoder(x, ahead, state, chunk)


def cosine_times(steps: int) -> Tensor:
    """Times (steps + 1,) from 0 to 1 at which the flow is asked, close together at the start."""
    return 1 - torch.cos(torch.linspace(0, 1, steps + 1) * 0.5 * math.pi)


def euler_steps(steps: int) -> tuple[Tensor, Tensor]:
    """Return the times (steps,) at which the flow is asked, and how far it then goes (steps,).

    Each step ends where the next should begin, as rounding has it.
    """
    times = cosine_times(steps)
    place, places, sizes = times[0], [], []
    for end in times[1:]:
        places.append(place)
        sizes.append(end - place)
        place = place + sizes[-1]
    return torch.stack(places), torch.stack(sizes)


@dataclass(frozen=True)
class Condition:
    """What a stretch of the flow is conditioned on."""

    mu: Tensor  # (B, M, F)
    speaker: Tensor  # (B, M)
    prompt: Tensor  # (B, M, F): the reference's mel in its frames, zeros after

    def doubled(self) -> Condition:
        """Add a row after each that knows nothing, for classifier-free guidance."""
        pairs = (
            torch.stack([x, torch.zeros_like(x)], 1) for x in (self.mu, self.speaker, self.prompt)
        )
        return Condition(*(pair.flatten(0, 1) for pair in pairs))


def integrate(
    estimator: Estimator,
    x: Tensor,
    condition: Condition,
    states: Iterable[EstimatorState],
    moments: Sequence[Moment],
    *,
    guidance: float,
    mask: Mask | None,
    keep: bool,
) -> tuple[Tensor, tuple[EstimatorState, ...]]:
    """Follow the flow from noise x (B, M, F) to mel (B, M, F) in Euler steps.

    Each has a state and a moment.
    Velocity (1 + g) · v(condition) - g · v(nothing) (Ho and Salimans 2022, arXiv 2207.12598).
    Without `keep` no keys and values of it are kept, which a last stretch can do.
    """
    guided = condition.doubled() if guidance else condition
    rows = 2 if guidance else 1
    sizes, after = euler_steps(len(moments))[1], []
    for moment, step, state in zip(moments, sizes.to(x.device), states, strict=True):
        state = state if keep else state.each(KeyValues.closing)
        velocity, state = estimator(
            x.repeat_interleave(rows, dim=0),
            guided.mu,
            guided.speaker,
            guided.prompt,
            moment,
            state,
            mask,
        )
        if guidance:
            velocity = (1.0 + guidance) * velocity[::2] - guidance * velocity[1::2]
        if keep:
            after.append(state)
        x = x + step * velocity
    return x, tuple(after)


def _joined(states: Sequence[EstimatorState]) -> EstimatorState:
    """Make one batch of the states of several sentences at one step of the flow."""
    kind: Any = type(states[0])
    made: EstimatorState = kind.joined(states)
    return made


def start_noise(spec: EncodedFlowSpec, bins: int, start: int, frames: int) -> Tensor:
    """The noise (1, M, F) that every request starts from, in the frames from `start` on."""
    blocks, size = [], spec.noise_frames
    for index in range(start // size, (start + max(frames, 1) - 1) // size + 1):
        block = _noise_block(spec.noise_seed, bins, size, index)
        blocks.append(block[:, :, max(0, start - index * size) : start + frames - index * size])
    return torch.cat(blocks, dim=2)


@functools.lru_cache(maxsize=4)
def _noise_block(seed: int, bins: int, frames: int, index: int) -> Tensor:
    """Draw the noise of frames `index · frames` on; the draws of all blocks follow one another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):
        for _ in range(index + 1):
            block = torch.randn(1, bins, frames, generator=generator)
        return block


@dataclass
class FlowState:
    """One request's place on the chunk grid, and what the next chunk needs of those before."""

    pending: Tensor  # (1, t) tokens that are not decoded yet
    decoded: int  # tokens that are, the reference's included
    encoder: ConformerState | RepeatState
    estimator: tuple[EstimatorState, ...]  # one for each step of the flow
    moments: Sequence[Moment]  # what the time of each step says, the same for every chunk
    prompt: Tensor  # (1, M, P) the reference's mel
    speaker: Tensor  # (1, M)
    guidance: float
    full_attention: bool  # decode everything at the end, every frame seeing every other
    history: Tensor  # (1, t) all tokens so far, where the end is made anew


def hops(stream: StreamSpec, spec: EncodedFlowSpec, prompt: int, hop: int) -> Iterator[int]:
    """Yield how many more tokens each `decode` of a stream waits for, `hop` being the first.

    The first call fills the grid that the reference's `prompt` tokens began, and every call reads a
    look-ahead more than it decodes.  Hops double up to the largest.
    """
    if stream.quirks.first_hop_beyond_grid:
        first = hop + -prompt % hop
    else:
        first = -prompt % spec.chunk
        if 2 * first < hop:  # too short to be heard
            first += spec.chunk
    sizes = stream.hops(hop)
    next(sizes)
    yield first + spec.lookahead
    yield from sizes


def grown_hop(
    stream: StreamSpec, spec: EncodedFlowSpec, prompt: int, earlier: Sequence[int]
) -> int:
    """Return the first hop after sentences of so many tokens: grown only where a quirk asks it."""
    hop = stream.first_hop
    if stream.quirks.keep_hop_between_requests:
        for count in earlier:
            sizes = hops(stream, spec, prompt, hop)
            left = count - next(sizes)
            while left >= 0:
                hop = min(2 * hop, stream.max_hop)
                left -= next(sizes)
    return hop


def resized(mel: Tensor, speed: float) -> Tensor:
    """mel (1, M, F) → (1, M, ⌊F / speed⌋), as the public implementation changes the speed."""
    return F.interpolate(mel, size=int(mel.shape[2] / speed), mode="linear")


class FlowDecoder:
    """Tokens in, mel out, call by call; the joined output is that of one call."""

    def __init__(self, net: EncodedFlow) -> None:
        self.net, self.spec, self.rate = net, net.spec, net.rate

    @torch.inference_mode()
    def init_state(
        self,
        prompt_tokens: Tensor,
        prompt_mel: Tensor,
        embedding: Tensor,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        full_attention: bool = False,
    ) -> FlowState:
        """Start a request from a reference: tokens (1, P), mel (1, M, rate · P), speaker (1, D).

        P may be 0.  A `decode` without tokens then decodes what it can of the reference.
        """
        flow = self.spec.flow
        steps = steps or flow.steps
        encoder, estimator = self._fresh(steps, flow.guidance if guidance is None else guidance)
        speaker = self.net.speaker_vector(embedding)
        return FlowState(
            prompt_tokens,
            0,
            encoder,
            estimator,
            self.net.estimator.moments(euler_steps(steps)[0].to(speaker)),
            prompt_mel,
            speaker,
            flow.guidance if guidance is None else guidance,
            full_attention,
            prompt_tokens,
        )

    @torch.inference_mode()
    def decode(self, tokens: Tensor, state: FlowState, last: bool) -> tuple[Tensor, FlowState]:
        """tokens (1, t) that follow → mel (1, M, f) of the chunks they complete, state."""
        pending = torch.cat([state.pending, tokens], dim=1)
        state = replace(state, pending=pending)
        if self.spec.quirks.last_chunk_full_attention:
            state = replace(state, history=torch.cat([state.history, tokens], dim=1))
            if last and state.decoded:
                return self._anew(state)
            state = replace(state, full_attention=state.full_attention or last)
        if state.full_attention:
            ready = pending.shape[1] if last else 0
        elif last:
            ready = pending.shape[1]
        else:
            whole_chunks = max(0, pending.shape[1] - self.spec.lookahead) // self.spec.chunk
            ready = whole_chunks * self.spec.chunk
        before = state.decoded * self.rate
        pieces = []
        while ready:
            count = min(ready, self.spec.chunk) if self._bounded(state) else ready
            ready -= count
            mel, state = self.advance(count, state, last=last and not ready)
            pieces.append(mel)
        mel = torch.cat(pieces, dim=2) if pieces else state.prompt[:, :, :0]
        return mel[:, :, max(0, state.prompt.shape[2] - before) :], state

    @torch.inference_mode()
    def complete(self, rest: Sequence[tuple[Tensor, FlowState]]) -> list[Tensor]:
        """The last tokens (1, t) of several sentences, with their states → the mel of each.

        Those that are equally far are decoded together.  In float32 the mel (1, M, f) is that of
        `decode` but for rounding.
        """
        kinds = [self._place(*one) or index for index, one in enumerate(rest)]
        return by_kind(rest, kinds, lambda one: self.decode(*one, True)[0], self._ends)

    def _place(self, tokens: Tensor, state: FlowState) -> tuple[object, ...] | None:
        """What sentences have in common that can end together; None for one that cannot."""
        whole = self.spec.quirks.last_chunk_full_attention or state.full_attention
        nothing = not tokens.shape[1] and not state.pending.shape[1]
        if whole or nothing or self._bounded(state):
            return None
        return state.decoded, state.prompt.shape[2], state.guidance, len(state.estimator)

    def _ends(self, rest: Sequence[tuple[Tensor, FlowState]]) -> list[Tensor]:
        """Decode sentences that are equally far to their ends, as `advance` does each."""
        states = [replace(s, pending=torch.cat([s.pending, t], dim=1)) for t, s in rest]
        first = states[0]
        start, prompt = first.decoded * self.rate, first.prompt.shape[2]
        frames = [state.pending.shape[1] * self.rate for state in states]
        most = max(frames)
        mus = [self._mu(state.pending.shape[1], state)[0] for state in states]
        mu = torch.cat([F.pad(x, (0, most - x.shape[2])) for x in mus])
        known = torch.cat([state.prompt[:, :, start : start + most] for state in states])
        condition = Condition(
            mu,
            torch.cat([state.speaker for state in states]),
            F.pad(known, (0, most - known.shape[2])).to(mu),
        )
        rows = 2 if first.guidance else 1
        mask = ChunkMask(start, start + most, self.spec.chunk * self.rate).dense(mu.device)
        mask = mask & within([n for n in frames for _ in range(rows)], start, most, mu.device)
        noise = start_noise(self.spec, self.net.bins, start, most).to(mu)
        mel, _ = integrate(
            self.net.estimator,
            noise.expand(len(states), -1, -1),
            condition,
            map(_joined, zip(*(state.estimator for state in states), strict=True)),  # one by one
            first.moments,
            guidance=first.guidance,
            mask=mask,
            keep=False,
        )
        cut = max(0, prompt - start)
        return [mel[i : i + 1, :, cut : max(cut, n)] for i, n in enumerate(frames)]

    def shared(self, state: FlowState) -> FlowState:
        """Return a state from which any number of continuations can start."""
        encoder = state.encoder
        if isinstance(encoder, ConformerState):
            encoder = encoder.shared()
        estimator = tuple(s.each(KeyValues.shared) for s in state.estimator)
        return replace(state, encoder=encoder, estimator=estimator)

    def advance(self, count: int, state: FlowState, *, last: bool) -> tuple[Tensor, FlowState]:
        """Decode the first `count` pending tokens, wherever that ends → mel (1, M, rate · count).

        The reference's frames are among them.  Only after whole chunks can decoding go on.
        """
        chunked = not state.full_attention
        start, frames = state.decoded * self.rate, count * self.rate
        mu, encoder = self._mu(count, state)
        prompt = state.prompt[:, :, start : start + frames]
        condition = Condition(
            mu, state.speaker, F.pad(prompt, (0, frames - prompt.shape[2])).to(mu)
        )
        chunk = self.spec.chunk * self.rate
        mask = ChunkMask(start, start + frames, chunk) if chunked else None
        mel, estimator = integrate(
            self.net.estimator,
            start_noise(self.spec, self.net.bins, start, frames).to(mu),
            condition,
            state.estimator,
            state.moments,
            guidance=state.guidance,
            mask=mask,
            keep=not last,
        )
        if self._bounded(state):
            estimator = self._forget(estimator, start + frames, state)
        return mel, replace(
            state,
            pending=state.pending[:, count:],
            decoded=state.decoded + count,
            encoder=encoder,
            estimator=estimator,
        )

    def _mu(self, count: int, state: FlowState) -> tuple[Tensor, ConformerState | RepeatState]:
        """What the first `count` tokens say to the estimator (1, M, rate · count), state."""
        after = state.pending[:, count : count + self.spec.lookahead]
        hidden, encoder = self.net.encode(
            state.pending[:, :count], after, state.encoder, chunked=not state.full_attention
        )
        return self.net.project(hidden).transpose(1, 2), encoder

    def _bounded(self, state: FlowState) -> bool:
        return self.spec.left_chunks >= 0 and not state.full_attention

    def _forget(
        self, states: tuple[EstimatorState, ...], frames: int, state: FlowState
    ) -> tuple[EstimatorState, ...]:
        """Drop the chunk that the next one no longer sees; the reference's chunks stay."""
        chunk = self.spec.chunk * self.rate
        kept = math.ceil(state.prompt.shape[2] / chunk) * chunk
        over = frames - kept - self.spec.left_chunks * chunk
        if over <= 0:
            return states
        return tuple(s.each(lambda seen: seen.without(kept, kept + chunk)) for s in states)

    def _anew(self, state: FlowState) -> tuple[Tensor, FlowState]:
        """Do as upstream at the end of a stream: decode all again under full attention."""
        emitted = max(state.prompt.shape[2], state.decoded * self.rate)
        encoder, estimator = self._fresh(len(state.estimator), state.guidance)
        fresh = replace(
            state,
            pending=state.history,
            decoded=0,
            encoder=encoder,
            estimator=estimator,
            full_attention=True,
        )
        mel, after = self.advance(state.history.shape[1], fresh, last=True)
        return mel[:, :, emitted:], after

    def _fresh(
        self, steps: int, guidance: float
    ) -> tuple[ConformerState | RepeatState, tuple[EstimatorState, ...]]:
        """Return the states of encoder and estimator before the first token."""
        rows = 2 if guidance else 1
        return self.net.encoder.init_state(1), tuple(
            self.net.estimator.init_state(rows) for _ in range(steps)
        )
