"""Vocoder on the `vocos` package's ConvNeXt backbone, run causally, with one of two ISTFT heads.

Backbone: Siuzdak 2023, "Vocos" (arXiv 2306.00814).  Its convolutions are centred; here the first
one keeps its right half (the look-ahead) and the rest are padded on the left only, so that speech
can be made piece by piece.  The source-filter head filters a pulse train and noise in the STFT
domain, as in the harmonic-plus-noise vocoders, and needs no adversarial training to be
intelligible.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.stretch import Stretch, init_stretch
from voxkit.modules.temporal import CausalTemporalBlock
from voxkit.modules.torchaudio_cpu import vocos_models
from voxkit.prosody import NATURAL, Prosody
from voxkit.spec import MelSpec, VocosSpec

SUBFRAMES = 4  # f0 values and filters per mel frame
_BACK = 6  # frames that a causal depthwise convolution of width 7 looks back
_LEVEL = 5.0  # natural-log offset: f0 is predicted around e**5 = 148 Hz


@dataclass(frozen=True)
class Excitation:
    """What the source-filter head filters."""

    f0: Tensor  # (B, 4F) Hz, meaningful where voiced
    voiced: Tensor  # (B, 4F) 0 or 1
    noise: Tensor | None = None  # (n·B, S) unit variance, n draws; else one is drawn
    generators: tuple[torch.Generator, ...] = ()  # to draw noise from, one for each row
    prosody: Prosody = NATURAL
    turned: Tensor | None = None  # (B, n) cycles that the pulses of each draw are late by


@dataclass(frozen=True)
class HeadState:
    """What the source-filter head must remember between pieces."""

    blocks: tuple[Tensor, ...]  # each (B, 2, C): past of the filter blocks
    f0: Tensor  # (B, 1) last f0 in Hz, unvoiced held at the last voiced value
    voiced: Tensor  # (B, 1) last voicing in 0..1
    phase: Tensor  # (B, 1) float64, cycles in 0..1
    source: Tensor  # (B, 2, W - hop) past of pulse train and noise
    overlap: Tensor  # (B, N - hop) sum of earlier frames' tails
    emitted: int  # samples given out or dropped so far
    stretch: Stretch | None = None  # what passes more slowly or faster: f0, voicing and filters
    bands: Tensor | None = None  # (B, 1, 2, n) filters of the last subframe

    def rows(self, part: slice) -> HeadState:
        """Return what is remembered of some rows of the batch."""
        stretch, bands = self.stretch, self.bands
        if stretch is not None and stretch.pending is not None:
            stretch = dataclasses.replace(stretch, pending=stretch.pending[part])
        return dataclasses.replace(
            self,
            blocks=tuple(x[part] for x in self.blocks),
            f0=self.f0[part],
            voiced=self.voiced[part],
            phase=self.phase[part],
            source=self.source[part],
            overlap=self.overlap[part],
            stretch=stretch,
            bands=None if bands is None else bands[part],
        )


@dataclass(frozen=True)
class VocosState:
    """What the vocoder must remember between pieces."""

    mel: Tensor  # (B, M, <= 6) mel frames not yet consumed by the first convolution, with its past
    blocks: tuple[Tensor, ...]  # each (B, D, 6): past of the ConvNeXt blocks
    head: Any  # HeadState or IstftState, by the head
    generators: tuple[torch.Generator, ...]  # noise of each row, if it is drawn

    def rows(self, part: slice) -> VocosState:
        """Return what is remembered of some rows of the batch."""
        return VocosState(
            self.mel[part],
            tuple(x[part] for x in self.blocks),
            self.head.rows(part),
            self.generators[part],
        )


class Vocos(nn.Module):
    """Log-mel → waveform.  `forward` for whole utterances, `step` for pieces; they agree."""

    def __init__(self, spec: VocosSpec, mel: MelSpec) -> None:
        super().__init__()
        self.spec, self.mel = spec, mel
        self.backbone = vocos_models().VocosBackbone(
            mel.bins, spec.width, spec.intermediate, spec.layers
        )
        self.pitch = nn.Linear(spec.width, 2 * SUBFRAMES)
        self.head: SourceFilterHead | IstftHead = (
            SourceFilterHead(spec, mel) if spec.head == "source-filter" else IstftHead(spec, mel)
        )

    def init_state(self, batch: int, *generators: torch.Generator) -> VocosState:
        """Return the state before the first frame; each row's noise will come from a generator."""
        weight = self.pitch.weight
        left = 6 - self.spec.lookahead
        return VocosState(
            mel=weight.new_zeros(batch, self.mel.bins, left),
            blocks=tuple(
                weight.new_zeros(batch, self.spec.width, _BACK) for _ in self.backbone.convnext
            ),
            head=self.head.init_state(batch),
            generators=generators,
        )

    def step(
        self, mel: Tensor, state: VocosState, last: bool, prosody: Prosody = NATURAL
    ) -> tuple[Tensor, VocosState]:
        """Vocode the next piece: mel (B, M, F) normalised → wav (B, S), the state.

        `last` lets out what the look-ahead held back.
        """
        seen = torch.cat([state.mel, mel], dim=2)
        if last:
            seen = F.pad(seen, (0, self.spec.lookahead))
        if seen.shape[2] < 7:
            empty = mel.new_zeros(mel.shape[0], 0)
            return empty, VocosState(seen, state.blocks, state.head, state.generators)
        features, blocks = self._features(seen, state.blocks)
        f0, voiced = self.read_pitch(features)
        excitation = Excitation(f0, (voiced > 0.5).to(f0), None, state.generators, prosody)
        wav, head = self.head.step(features, excitation, state.head, last)
        return wav, VocosState(seen[:, :, -6:], blocks, head, state.generators)

    def forward(
        self, mel: Tensor, f0: Tensor | None, noise: Tensor, turned: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Vocode whole utterances: mel (B, M, F) → wav (n·B, S), f0 and voicing logits (B, 4F).

        `noise` (n·B, S) of unit variance says how many times the batch is drawn, `turned` (B, n)
        where in a period the pulses of each draw begin.  Training gives the true `f0` (0 where
        unvoiced) so that the filters learn beside it.
        """
        state = self.init_state(mel.shape[0])
        left = 6 - self.spec.lookahead
        features, _ = self._features(F.pad(mel, (left, self.spec.lookahead)), state.blocks)
        log_f0, logits = self._pitch(features)
        if f0 is None:
            used, voiced = log_f0.exp(), (logits > 0).to(log_f0)
        else:
            voiced = (f0 > 0).to(f0)
            used = torch.where(f0 > 0, f0, log_f0.detach().exp())
        excitation = Excitation(used, voiced, noise, turned=turned)
        wav, _ = self.head.step(features, excitation, state.head, True)
        return wav.repeat(len(noise) // len(wav), 1), log_f0.exp(), logits

    def read_pitch(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, F, D) → f0 (B, 4F) in Hz, probability of voicing (B, 4F)."""
        log_f0, logits = self._pitch(features)
        return log_f0.exp(), logits.sigmoid()

    def measure_pitch(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """mel (B, M, F) normalised → f0 (B, 4F) in Hz, probability of voicing (B, 4F)."""
        state = self.init_state(mel.shape[0])
        padded = F.pad(mel, (6 - self.spec.lookahead, self.spec.lookahead))
        return self.read_pitch(self._features(padded, state.blocks)[0])

    def _pitch(self, features: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(features.device.type, enabled=False):  # bf16 knows 1 % of a pitch
            heard = self.pitch(features.float())
        log_f0, logits = heard.unflatten(-1, (2, SUBFRAMES)).unbind(2)
        log_f0 = (log_f0 * 0.5 + _LEVEL).clamp(math.log(50.0), math.log(550.0))
        return log_f0.flatten(1), logits.flatten(1)

    def _features(
        self, seen: Tensor, past: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """seen (B, M, F + 6) → features (B, F, D) and the blocks' pasts."""
        net = self.backbone
        x = F.conv1d(seen, net.embed.weight, net.embed.bias)
        x = net.norm(x.transpose(1, 2)).transpose(1, 2)
        pasts = []
        for block, before in zip(net.convnext, past, strict=True):
            wide = torch.cat([before, x], dim=2)
            conv = block.dwconv
            y = F.conv1d(wide, conv.weight, conv.bias, groups=conv.groups).transpose(1, 2)
            y = block.pwconv2(block.act(block.pwconv1(block.norm(y))))
            x = x + (block.gamma * y).transpose(1, 2)
            pasts.append(wide[:, :, -_BACK:])
        return net.final_layer_norm(x.transpose(1, 2)), tuple(pasts)


class SourceFilterHead(nn.Module):
    """Minimum-phase filters, 4 a mel frame, on a pulse train and noise in the STFT domain."""

    window: Tensor  # (W,)
    attenuation: Tensor  # (bands, N/2 + 1)
    phase: Tensor  # (bands, N/2 + 1)

    def __init__(self, spec: VocosSpec, mel: MelSpec) -> None:
        super().__init__()
        self.rate = mel.sample_rate
        self.hop = mel.hop // SUBFRAMES
        self.window_length = 4 * self.hop
        self.fft = 1 << (2 * self.window_length - 1).bit_length()  # room for the filter's tail
        self.bands = spec.head_bands
        width = spec.head_width
        self.up = nn.Linear(spec.width, SUBFRAMES * width)
        self.cue = nn.Linear(2, width)
        self.blocks = nn.ModuleList(CausalTemporalBlock(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 2 * spec.head_bands)
        nn.init.normal_(self.out.weight, std=0.01)
        self.register_buffer("window", torch.hann_window(self.window_length), persistent=False)
        attenuation, phase = _minimum_phase_bases(spec.head_bands, self.fft)
        self.register_buffer("attenuation", attenuation, persistent=False)
        self.register_buffer("phase", phase, persistent=False)

    def init_state(self, batch: int) -> HeadState:
        """Return the state before the first sample."""
        weight = self.out.weight
        return HeadState(
            blocks=tuple(
                b.init_state(batch) for b in self.blocks if isinstance(b, CausalTemporalBlock)
            ),
            f0=weight.new_full((batch, 1), 120.0),
            voiced=weight.new_zeros(batch, 1),
            phase=weight.new_zeros(batch, 1, dtype=torch.float64),
            source=weight.new_zeros(batch, 2, self.window_length - self.hop),
            overlap=weight.new_zeros(batch, self.fft - self.hop),
            emitted=0,
        )

    def step(
        self,
        features: Tensor,
        excitation: Excitation,
        state: HeadState,
        last: bool,
    ) -> tuple[Tensor, HeadState]:
        """features (B, F, D) and what excites the filters → wav (n·B, S) for n draws, the state.

        Output lags the source by three quarters of a window; `last` lets out the rest.
        """
        f0, voiced = excitation.f0, excitation.voiced
        x = self.up(features).unflatten(-1, (SUBFRAMES, -1)).flatten(1, 2)
        x = x + self.cue(torch.stack([voiced, f0.clamp(min=50).log() - _LEVEL], dim=-1))
        pasts = []
        blocks = cast(Iterable[CausalTemporalBlock], self.blocks)
        for block, past in zip(blocks, state.blocks, strict=True):
            x, past = block.step(x, past)
            pasts.append(past)
        with torch.autocast(x.device.type, enabled=False):
            bands = self.out(self.norm(x.float())).unflatten(-1, (2, self.bands)) - 3.0  # log gain
        heard, stretch = bend(f0, excitation.prosody), state.stretch
        if excitation.prosody.speed != 1.0:
            stretch = stretch or init_stretch(excitation.prosody.speed)
            heard, voiced, bands, stretch = _stretched(heard, voiced, bands, stretch, last)
        state = dataclasses.replace(state, blocks=tuple(pasts), stretch=stretch)
        if not heard.shape[1] and not last:
            return heard.new_zeros(heard.shape[0], 0), state
        return self._synthesise(heard, voiced, bands, excitation, state, last)

    def _synthesise(
        self,
        f0: Tensor,
        voiced: Tensor,
        bands: Tensor,
        excitation: Excitation,
        state: HeadState,
        last: bool,
    ) -> tuple[Tensor, HeadState]:
        """f0 and voicing (B, n), log gains (B, n, 2, bands) → wav (draws·B, S), the state."""
        noise, *breath = self._noise(excitation, f0.shape[1] * self.hop, f0)
        draws = noise.unflatten(0, (-1, len(f0))).transpose(0, 1)  # (B, draws, S)
        count = draws.shape[1]
        pulse, phase = self._pulses(f0, voiced, state, excitation.turned)
        if breath:
            pulse = breath[0][:, None] * _glide(voiced, state.voiced, self.hop)[:, None]
        source = torch.stack([pulse.expand(-1, count, -1), draws], dim=1)
        lag = self.window_length - self.hop
        if last:
            source = F.pad(source, (0, lag))
            end = bands[:, -1:] if bands.shape[1] else state.bands
            assert end is not None  # a first piece is never empty
            bands = torch.cat([bands, end.expand(-1, SUBFRAMES - 1, -1, -1)], dim=1)
        past = state.source[:, :, None].expand(-1, -1, count, -1)
        source = torch.cat([past, source], dim=3)  # (B, 2, draws, S)
        frames = source.unfold(3, self.window_length, self.hop) * self.window
        spectrum = torch.fft.rfft(frames, n=self.fft)
        if breath:
            spectrum = spectrum * self._tilt(spectrum)
        with torch.autocast(bands.device.type, enabled=False):
            response = torch.polar((bands @ self.attenuation).exp(), bands @ self.phase)
        tone, air = response.transpose(1, 2)[:, :, None].unbind(1)
        filtered = spectrum[:, 0] * tone + spectrum[:, 1] * air
        pieces = torch.fft.irfft(filtered, n=self.fft) / 2  # hann at a quarter hop sums to 2
        pieces = pieces.transpose(0, 1).flatten(0, 1)
        wav, overlap = overlap_add(pieces, state.overlap.repeat(count, 1), self.hop)
        skip = max(0, min(lag - state.emitted, wav.shape[1]))
        after = dataclasses.replace(
            state,
            f0=f0[:, -1:] if f0.shape[1] else state.f0,
            voiced=voiced[:, -1:] if f0.shape[1] else state.voiced,
            phase=phase if f0.shape[1] else state.phase,
            source=source[:, :, 0, -lag:],
            overlap=overlap,
            emitted=state.emitted + wav.shape[1],
            bands=bands[:, -1:],
        )
        return wav[:, skip:], after

    def _noise(self, excitation: Excitation, samples: int, like: Tensor) -> tuple[Tensor, ...]:
        """Return noise (B, S) of unit variance, and for a whisper as much again."""
        if excitation.noise is not None:
            return (excitation.noise,)
        # In the order of time, so that pieces draw what the whole draws.  torch.randn gives the
        # same numbers in pieces only where they come in sixteens: a subframe throws a few away.
        room = self.hop if excitation.prosody.speed == 1.0 else -(-self.hop // 16) * 16
        kinds = 1 + excitation.prosody.whisper
        shape = (samples // self.hop, room, 1, kinds)
        draws = [torch.randn(shape, generator=generator) for generator in excitation.generators]
        drawn = torch.cat(draws, dim=2)[:, : self.hop].flatten(0, 1)
        return drawn.to(like.device).transpose(0, 1).unbind(2)

    def _pulses(
        self, f0: Tensor, voiced: Tensor, state: HeadState, turned: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Band-limited pulses (B, draws, S) of unit power: Σ_{k=1..K} cos kφ, as Dirichlet's."""
        hertz = _glide(f0, state.f0, self.hop)[:, None]
        phase = state.phase if turned is None else state.phase + turned
        cycles = torch.cumsum(hertz.double() / self.rate, dim=2) + phase[..., None]
        cycles = cycles - cycles.floor()
        half = (math.pi * cycles).to(f0.dtype)
        harmonics = torch.floor(0.48 * self.rate / hertz)
        sine = half.sin()
        at_peak = sine.abs() < 1e-4
        sine = torch.where(at_peak, torch.full_like(sine, 1e-4), sine)
        train = torch.sin((2 * harmonics + 1) * half) / (2 * sine) - 0.5
        train = torch.where(at_peak, harmonics, train)
        gate = _glide(voiced, state.voiced, self.hop)[:, None]
        return train * torch.sqrt(2 / harmonics) * gate, cycles[:, 0, -1:]

    def _tilt(self, spectrum: Tensor) -> Tensor:
        """Response (2, 1, 1, N/2 + 1) for pulses and noise that gives breath the tilt of a whisper.

        A whisper lacks the strong low end of voice: Ito, Takeda and Itakura 2005, "Analysis and
        recognition of whispered speech" (Speech Communication 45).  The factor of 2.5 keeps the
        power of speech about as it was.
        """
        turn = torch.linspace(0, math.pi, spectrum.shape[-1], device=spectrum.device)
        tilt = 2.5 - 2.0 * torch.polar(torch.ones_like(turn), -turn)
        return torch.stack([tilt, torch.ones_like(tilt)])[:, None, None]


def bend(f0: Tensor, pitch: Prosody) -> Tensor:
    """f0 in Hz → f0 in Hz: spread about its centre in semitones, then moved."""
    if pitch.spread != 1.0:
        f0 = pitch.centre_hz * (f0 / pitch.centre_hz) ** pitch.spread
    return f0 if pitch.factor == 1.0 else f0 * pitch.factor


def _stretched(
    f0: Tensor, voiced: Tensor, bands: Tensor, stretch: Stretch, last: bool
) -> tuple[Tensor, Tensor, Tensor, Stretch]:
    """f0, voicing (B, n) and log gains (B, n, 2, b) → the same over m subframes, the state."""
    rows = torch.cat([f0.log()[..., None], voiced[..., None], bands.flatten(2)], dim=2)
    passed, stretch = stretch.step(rows.transpose(1, 2), last)
    made = passed.transpose(1, 2)
    filters = made[..., 2:].unflatten(2, bands.shape[2:])
    return made[..., 0].exp(), made[..., 1], filters, stretch


def _glide(values: Tensor, before: Tensor, hop: int) -> Tensor:
    """Values (B, n) and the one before them (B, 1) → samples (B, n · hop) on straight lines."""
    ramp = torch.arange(1, hop + 1, device=values.device, dtype=values.dtype) / hop
    start = torch.cat([before, values[:, :-1]], dim=1)[..., None]
    return (start + (values[..., None] - start) * ramp).flatten(1)


@dataclass(frozen=True)
class IstftState:
    """What the plain head must remember between pieces."""

    overlap: Tensor  # (B, N - hop) sum of earlier frames' tails
    emitted: int  # samples given out or dropped so far

    def rows(self, part: slice) -> IstftState:
        """Return what is remembered of some rows of the batch."""
        return IstftState(self.overlap[part], self.emitted)


class IstftHead(nn.Module):
    """The plain head of Vocos: magnitude and phase of every frame, then the inverse STFT."""

    window: Tensor  # (N,)

    def __init__(self, spec: VocosSpec, mel: MelSpec) -> None:
        super().__init__()
        self.fft, self.hop = mel.n_fft, mel.hop
        self.out = nn.Linear(spec.width, mel.n_fft + 2)
        self.register_buffer("window", torch.hann_window(mel.n_fft), persistent=False)

    def init_state(self, batch: int) -> IstftState:
        """Return the state before the first sample."""
        return IstftState(self.out.weight.new_zeros(batch, self.fft - self.hop), 0)

    def step(
        self, features: Tensor, excitation: Excitation, state: IstftState, last: bool
    ) -> tuple[Tensor, IstftState]:
        """features (B, F, D) → wav (B, S), the state; `last` lets out the rest.

        Frames are centred.  The excitation is not heard: phase comes from the features.
        """
        magnitude, phase = self.out(features).chunk(2, dim=-1)
        spectrum = torch.polar(magnitude.exp().clamp(max=100.0), phase)
        # Squared Hann windows a quarter apart sum to 1.5.
        pieces = torch.fft.irfft(spectrum, n=self.fft) * self.window / 1.5
        wav, overlap = overlap_add(pieces, state.overlap, self.hop)
        margin = (self.fft - self.hop) // 2
        after = IstftState(overlap, state.emitted + wav.shape[1])
        if last:
            wav = torch.cat([wav, overlap[:, :margin]], dim=1)
        skip = max(0, min(margin - state.emitted, wav.shape[1]))
        return wav[:, skip:], after


def overlap_add(pieces: Tensor, overlap: Tensor, hop: int) -> tuple[Tensor, Tensor]:
    """Pieces (B, n, N) a hop apart, earlier tail (B, N - hop) → samples (B, n·hop), new tail."""
    count, size = pieces.shape[1:]
    length = (count - 1) * hop + size
    total = F.fold(pieces.transpose(1, 2), (1, length), (1, size), stride=(1, hop))[:, 0, 0]
    total = total + F.pad(overlap, (0, length - overlap.shape[1]))
    return total[:, : count * hop], total[:, count * hop :]


def _minimum_phase_bases(bands: int, fft: int) -> tuple[Tensor, Tensor]:
    """Matrices (bands, fft/2+1) that make a minimum-phase filter of its gains.

    They lead from log gains at `bands` equally spaced frequencies to log gain and phase at every
    FFT bin.  The real cepstrum folded onto positive quefrencies is the complex cepstrum of the
    minimum-phase system (Oppenheim and Schafer, Discrete-Time Signal Processing, section 13.5); all
    of it is linear.
    """
    length = 2 * (bands - 1)
    cepstra = torch.fft.irfft(torch.eye(bands, dtype=torch.float64), n=length)[:, :bands]
    cepstra[:, 1:-1] *= 2
    spectra = torch.fft.rfft(cepstra, n=fft)
    return spectra.real.float(), spectra.imag.float()
