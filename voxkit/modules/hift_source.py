"""The harmonic source of HiFT: f0 per frame → sines of its multiples, and noise between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.cosyvoice_spec import CosyVoiceSpec, HiftSpec


def phase_steps(f0: Tensor, spec: HiftSpec, sample_rate: int) -> Tensor:
    """f0 (B, F) in Hz → cycles per sample of every harmonic (B, F, H), below 1."""
    multiples = torch.arange(1, spec.harmonics + 1, dtype=f0.dtype, device=f0.device)
    return (f0[..., None] * multiples / sample_rate) % 1


def accumulate(steps: Tensor, carry: Tensor) -> Tensor:
    """Running sum of `steps` (B, F, H) after `carry` (B, 1, H) float64 → (B, F, H) float64."""
    return carry + steps.double().cumsum(dim=1)


def sines(phases: Tensor, spec: HiftSpec, samples: int, *, before: Tensor, after: Tensor) -> Tensor:
    """Turn summed steps (B, F, H) float64 into sines (B, F·samples, H) of level 1.

    Linear: a frame's phase holds at its centre and moves evenly to the next frame's; `before` and
    `after` (B, 1, H) are the neighbours' sums, or copies of the edge where there are none.
    Nearest: the phase stands still within a frame, as the trained weights expect.
    """
    if spec.quirks.float32_phase:
        return _float32_sines(phases, spec, samples)
    if spec.phase == "nearest":
        return _sine_of_cycles(phases * samples).repeat_interleave(samples, dim=1)
    around = torch.cat([before, phases, after], dim=1)
    mix = (torch.arange(samples, dtype=torch.float64, device=phases.device) + 0.5) / samples - 0.5
    mix = mix[:, None]
    centre, sides = around[:, 1:-1, None], (around[:, :-2, None], around[:, 2:, None])
    cycles = torch.where(
        mix < 0, centre * (1 + mix) - sides[0] * mix, centre * (1 - mix) + sides[1] * mix
    )
    return _sine_of_cycles(cycles * samples).flatten(1, 2)


def _sine_of_cycles(cycles: Tensor) -> Tensor:
    """Cycles in float64 → sine in float32; whole cycles are dropped while they are still exact."""
    return ((cycles % 1) * (2 * math.pi)).float().sin()


def _float32_sines(phases: Tensor, spec: HiftSpec, samples: int) -> Tensor:
    """Do what the public implementation does: the growing phase itself, in float32."""
    radians = phases.float() * 2 * math.pi
    radians = radians.transpose(1, 2) * samples
    if spec.phase == "linear":
        radians = F.interpolate(radians, scale_factor=float(samples), mode="linear")
    else:
        radians = radians.repeat_interleave(samples, dim=2)
    return radians.sin().transpose(1, 2)


def excitation(
    sine: Tensor, f0: Tensor, noise: Tensor, spec: HiftSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix sines (B, S, H), f0 (B, F) and unit noise (B, S, H) → harmonics, voiced, scaled noise.

    Returns harmonics (B, S, H) ready to be merged, voiced (B, S, 1) as 0 or 1, and the noise in it.
    """
    samples = sine.shape[1] // max(1, f0.shape[1])
    voiced = (f0 > spec.voiced_hz).to(sine.dtype).repeat_interleave(samples, dim=1)[..., None]
    level = voiced * spec.noise_level + (1 - voiced) * spec.sine_level / 3
    scaled = level * noise
    return sine * spec.sine_level * voiced + scaled, voiced, scaled


def draw_noise(frames: int, samples: int, spec: HiftSpec, generator: torch.Generator) -> Tensor:
    """Draw unit noise (1, frames·samples, H) on CPU, time outermost, normal or uniform in [0, 1).

    A hop of 480 samples of 9 harmonics is a whole number of the 16-value blocks in which torch
    draws normals, so noise drawn in pieces is the noise drawn at once.
    """
    shape = (1, frames * samples, spec.harmonics)
    if spec.noise == "uniform":
        return torch.rand(shape, generator=generator)
    if spec.quirks.discarded_draws:
        torch.rand((1, spec.harmonics), generator=generator)
    noise = torch.randn(shape, generator=generator)
    if spec.quirks.discarded_draws:
        torch.randn((1, frames * samples, 1), generator=generator)
    return noise


def fixed_noise_start(spec: CosyVoiceSpec) -> Tensor:
    """Return the state of a generator that is about to draw a release's fixed uniform noise.

    The release never stored that noise: it is what the generator gives after the flow's noise and
    the first weights of the layers built since, drawn here in the same order and thrown away.
    """
    flow, f0_width = spec.decoder, spec.vocoder.f0_width
    generator = torch.Generator().manual_seed(flow.noise_seed)
    torch.randn(1, spec.mel.bins, flow.noise_frames, generator=generator)
    torch.randn(flow.codebook, spec.mel.bins, generator=generator)
    uniform = [
        (spec.mel.bins, flow.speaker),
        (f0_width, spec.mel.bins, spec.vocoder.f0_first_kernel),
        *[(f0_width, f0_width, 3)] * 4,
        (1, f0_width),
    ]
    for shape in uniform:
        torch.rand(shape, generator=generator)  # weight
        torch.rand(shape[0], generator=generator)  # bias
    torch.rand(1, spec.vocoder.harmonics, generator=generator)  # phases without effect
    return generator.get_state()
