"""Vocodes mel as it comes: HiFT over windows of mel, the source's phase carried along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from voxkit.cosyvoice_spec import HiftSpec
from voxkit.modules.hift import Hift, Reach, reach, samples_per_frame
from voxkit.modules.hift_source import accumulate, draw_noise, excitation, phase_steps, sines
from voxkit.spec import MelSpec


class Noise(Protocol):
    """Where a request's source noise comes from, in the order of its frames."""

    def take(self, frames: int) -> Tensor:
        """Return unit noise (1, frames · samples, H) of the next frames."""


@dataclass
class DrawnNoise:
    """Noise drawn on CPU from the request's generator."""

    spec: HiftSpec
    generator: torch.Generator

    def take(self, frames: int) -> Tensor:
        """Return unit noise (1, frames · samples, H) of the next frames."""
        return draw_noise(frames, samples_per_frame(self.spec), self.spec, self.generator)


@dataclass
class HiftState:
    """What one request's next call needs; frame numbers count from the start of the request."""

    mel: Tensor  # (1, M, f) frames from `start` on
    source: Tensor  # (1, s) samples of the frames from `start` to `sourced`
    start: int
    sourced: int  # frames whose source is made
    emitted: int  # frames whose samples have been returned
    phase: Tensor  # (1, 1, H) float64, the summed phase steps of the frames before `sourced`
    noise: Noise


@dataclass
class HiftFadeState:
    """What upstream's streaming keeps of a call: a few frames, as mel, source and sound."""

    mel: Tensor  # (1, M, f)
    source: Tensor  # (1, s)
    speech: Tensor  # (1, s)
    noise: Noise


def make_source(
    net: Hift, f0: Tensor, noise: Tensor, sample_rate: int, *, phase: Tensor | None = None
) -> Tensor:
    """f0 (1, F) of a whole request, unit noise (1, S, H) → source (1, S), its phase from 0 on."""
    spec = net.spec
    start = _no_phase(spec, f0.device) if phase is None else phase
    phases = accumulate(phase_steps(f0, spec, sample_rate), start)
    sine = sines(phases, spec, samples_per_frame(spec), before=phases[:, :1], after=phases[:, -1:])
    return net.merge(excitation(sine, f0, noise, spec)[0]).tanh()[..., 0]


class HiftVocoder:
    """mel in, waveform out, call by call; the joined output is that of one call.

    Each call vocodes its new frames together with as many old ones as the network can see, so the
    cost of a call does not grow.  Until the last call the newest frames are held back, because
    what follows still changes them.
    """

    def __init__(self, net: Hift, mel: MelSpec) -> None:
        self.net, self.spec, self.mel = net, net.spec, mel
        self.samples = samples_per_frame(net.spec)
        self.reach: Reach = reach(net.spec)

    def init_state(self, noise: Noise) -> HiftState:
        """Return the state of a request that has vocoded nothing."""
        weight = self.net.conv_post.weight
        return HiftState(
            weight.new_zeros(1, self.mel.bins, 0),
            weight.new_zeros(1, 0),
            0,
            0,
            0,
            _no_phase(self.spec, weight.device),
            noise,
        )

    @torch.inference_mode()
    def vocode(self, mel: Tensor, state: HiftState, last: bool) -> tuple[Tensor, HiftState]:
        """mel (1, M, f) of the next frames → wav (s,), the state for what follows."""
        mel = torch.cat([state.mel, mel], dim=2)
        total = state.start + mel.shape[2]
        ahead = 0 if last else self.reach.f0_right + (self.spec.phase == "linear")
        sourced = max(state.sourced, total - ahead)
        source, phase = state.source, state.phase
        if sourced > state.sourced:
            new, phase = self._source(mel, state, sourced, last)
            source = torch.cat([source, new], dim=1)
        emitted = total if last else max(state.emitted, sourced - self.reach.right)
        wav = source.new_zeros(0)
        if emitted > state.emitted:
            start = max(state.start, state.emitted - self.reach.left)
            cut = start - state.start
            window = mel[:, :, cut : sourced - state.start]
            wav = self.net.decode(window, source[:, cut * self.samples :])[0]
            wav = wav[
                (state.emitted - start) * self.samples : (emitted - start) * self.samples
            ].clone()
        start = max(state.start, min(emitted - self.reach.left, sourced - self.reach.f0_left - 1))
        cut = start - state.start
        return wav, HiftState(
            mel[:, :, cut:].clone(),
            source[:, cut * self.samples :].clone(),
            start,
            sourced,
            emitted,
            phase,
            state.noise,
        )

    def _source(
        self, mel: Tensor, state: HiftState, sourced: int, last: bool
    ) -> tuple[Tensor, Tensor]:
        """Make the source (1, s) of the frames up to `sourced`; return it and the phase after."""
        spec, frames = self.spec, sourced - state.sourced
        start = max(state.start, state.sourced - self.reach.f0_left)
        f0 = self.net.f0(mel[:, :, start - state.start :])[:, state.sourced - start :]
        phases = accumulate(phase_steps(f0, spec, self.mel.sample_rate), state.phase)
        sine = sines(
            phases[:, :frames],
            spec,
            self.samples,
            before=state.phase if state.sourced else phases[:, :1],
            after=phases[:, frames - 1 : frames] if last else phases[:, frames : frames + 1],
        )
        noise = state.noise.take(frames).to(sine)
        harmonics, _, _ = excitation(sine, f0[:, :frames], noise, spec)
        return self.net.merge(harmonics).tanh()[..., 0], phases[:, frames - 1 : frames]


class FadingHiftVocoder:
    """Streams as the public implementation does: a few frames twice, faded under Hamming halves."""

    def __init__(self, net: Hift, mel: MelSpec) -> None:
        self.net, self.spec, self.mel = net, net.spec, mel
        self.frames = net.spec.quirks.hamming_crossfade_frames
        self.samples = samples_per_frame(net.spec)

    def init_state(self, noise: Noise) -> HiftFadeState:
        """Return the state of a request that has vocoded nothing."""
        weight = self.net.conv_post.weight
        nothing = weight.new_zeros(1, 0)
        return HiftFadeState(weight.new_zeros(1, self.mel.bins, 0), nothing, nothing, noise)

    @torch.inference_mode()
    def vocode(self, mel: Tensor, state: HiftFadeState, last: bool) -> tuple[Tensor, HiftFadeState]:
        """mel (1, M, f) of the next frames → wav (s,), the state for what follows."""
        mel = torch.cat([state.mel, mel], dim=2)
        if not mel.shape[2]:
            return mel.new_zeros(0), state
        noise = state.noise.take(mel.shape[2]).to(mel)
        source = make_source(self.net, self.net.f0(mel), noise, self.mel.sample_rate)
        old = state.source.shape[1]
        source = torch.cat([state.source, source[:, old:]], dim=1)
        wav = self.net.decode(mel, source)
        if old:
            window = torch.hamming_window(2 * old, periodic=False, dtype=torch.float64)
            rise, fall = window.to(wav)[:old], window.to(wav)[old:]
            faded = wav[:, :old] * rise + state.speech * fall
            wav = torch.cat([faded, wav[:, old:]], dim=1)
        if last:
            return wav[0], self.init_state(state.noise)
        keep = self.frames * self.samples
        tail = HiftFadeState(
            mel[:, :, -self.frames :], source[:, -keep:], wav[:, -keep:], state.noise
        )
        return wav[0, :-keep], tail


def _no_phase(spec: HiftSpec, device: torch.device) -> Tensor:
    return torch.zeros(1, 1, spec.harmonics, dtype=torch.float64, device=device)
