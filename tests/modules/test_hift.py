"""HiFT, plain and causal: the sound does not depend on how the mel was cut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny import cuts, seeded
from tiny_cosyvoice import FAMILIES, networks, released, spec_of
from torch import Tensor

from voxkit.modules.hift import (
    Conv,
    Hift,
    SameConv,
    TransposedConv,
    Upsampling,
    by_frames,
    reach,
    samples_per_frame,
    source_strides,
)
from voxkit.modules.hift_source import (
    accumulate,
    draw_noise,
    excitation,
    fixed_noise_start,
    phase_steps,
    sines,
)
from voxkit.modules.hift_stream import DrawnNoise, FadingHiftVocoder, HiftVocoder, make_source
from voxkit.spec import without_quirks

FRAMES = 70


def vocoder(family: str) -> HiftVocoder:
    spec = without_quirks(spec_of(family))
    return HiftVocoder(networks(spec)["vocoder"], spec.mel)


@pytest.fixture(scope="module", params=FAMILIES)
def hift(request: pytest.FixtureRequest) -> HiftVocoder:
    return vocoder(request.param)


def mel(frames: int = FRAMES, seed: int = 5) -> Tensor:
    return torch.randn(1, 16, frames, generator=seeded(seed))


def vocoded(hift: HiftVocoder, frames: Tensor, largest: int | None, seed: int = 0) -> Tensor:
    """Vocode at once (None), or in random pieces of up to `largest` frames."""
    state = hift.init_state(DrawnNoise(hift.spec, seeded(3)))
    if largest is None:
        return hift.vocode(frames, state, True)[0]
    pieces, total = [], frames.shape[2]
    for begin, end in cuts(total, np.random.default_rng(seed), largest):
        wav, state = hift.vocode(frames[:, :, begin:end], state, end == total)
        pieces.append(wav)
    return torch.cat(pieces)


@pytest.mark.parametrize("largest", [3, 12, 40])
def test_random_pieces_give_the_sound_of_one_call(hift: HiftVocoder, largest: int) -> None:
    whole = vocoded(hift, mel(), None)
    assert whole.shape == (FRAMES * hift.samples,)
    assert float(whole.std()) > 1e-3
    torch.testing.assert_close(vocoded(hift, mel(), largest), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_few_frames_are_enough(hift: HiftVocoder, frames: int) -> None:
    assert vocoded(hift, mel(frames), None).shape == (frames * hift.samples,)


def test_nothing_gives_no_sound(hift: HiftVocoder) -> None:
    assert vocoded(hift, mel(0), None).shape == (0,)


def test_a_last_call_without_frames_lets_out_the_rest(hift: HiftVocoder) -> None:
    state = hift.init_state(DrawnNoise(hift.spec, seeded(3)))
    first, state = hift.vocode(mel(), state, False)
    rest, _ = hift.vocode(mel(0), state, True)
    whole = vocoded(hift, mel(), None)
    assert 0 < len(first) < len(whole)
    torch.testing.assert_close(torch.cat([first, rest]), whole, atol=1e-4, rtol=0)


def test_the_state_does_not_grow_with_what_was_said(hift: HiftVocoder) -> None:
    state = hift.init_state(DrawnNoise(hift.spec, seeded(3)))
    sizes = []
    for _ in range(12):
        _, state = hift.vocode(mel(20), state, False)
        sizes.append((state.mel.shape[2], state.source.shape[1]))
    assert sizes[4:] == [sizes[4]] * 8


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_sound_depends_on_no_mel_beyond_its_reach(hift: HiftVocoder, side: str) -> None:
    """A frame of sound stays the same to the bit when mel and source change out of reach."""
    net, spec = hift.net, hift.spec
    here, span = 60, reach(spec)
    frames, source = mel(120), 0.1 * torch.randn(1, 120 * hift.samples, generator=seeded(1))
    other_mel, other_source = frames.clone(), source.clone()
    if side == "left":
        edge = here - span.left
        other_mel[:, :, :edge] += 1
        other_source[:, : edge * hift.samples] += 0.1
    else:
        edge = here + 1 + span.right
        other_mel[:, :, edge:] += 1
        other_source[:, edge * hift.samples :] += 0.1
    one, two = (
        net.decode(m, s)[0, here * hift.samples : (here + 1) * hift.samples]
        for m, s in ((frames, source), (other_mel, other_source))
    )
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    near = frames.clone()
    near[:, :, here - 1 : here + 2] += 1
    assert not torch.allclose(net.decode(near, source)[0], net.decode(frames, source)[0])


@pytest.mark.parametrize("family, held", [("cosyvoice2", 21), ("cosyvoice3", 8)])
def test_frames_held_back_by_the_released_models(family: str, held: int) -> None:
    spec = released(family).vocoder
    span = reach(spec)
    assert span.f0_right + (spec.phase == "linear") + span.right == held
    assert samples_per_frame(spec) == released(family).mel.hop
    assert source_strides(spec) == (15, 3, 1)


def test_the_phase_goes_on_evenly_and_exactly_for_hours() -> None:
    """Twenty minutes of 440 Hz end in the sine that theory says, in the ninth harmonic too."""
    spec = without_quirks(released("cosyvoice2").vocoder)
    frames, samples, rate = 60_000, 480, 24_000
    steps = phase_steps(torch.full((1, 2), 440.0), spec, rate)
    carry = (steps[:, :1].double() * (frames - 1)).clone()
    phases = accumulate(steps, carry)
    before, after = carry, phases[:, -1:] + steps[:, :1].double()
    made = sines(phases, spec, samples, before=before, after=after)[0].double()
    time = torch.arange(2 * samples, dtype=torch.float64) + 0.5 - samples / 2
    cycles = (frames + time / samples)[:, None] * steps[0, :1].double() * samples
    torch.testing.assert_close(made, (2 * math.pi * cycles).sin(), atol=1e-5, rtol=0)


def test_a_nearest_phase_stands_still_within_a_frame() -> None:
    spec = without_quirks(spec_of("cosyvoice3").vocoder)
    phases = torch.tensor([[[0.123], [0.456]]], dtype=torch.float64)
    made = sines(phases, spec, 4, before=phases[:, :1], after=phases[:, -1:])[0, :, 0]
    assert made[:4].unique().numel() == made[4:].unique().numel() == 1
    torch.testing.assert_close(made[0], torch.tensor(2 * math.pi * 0.123 * 4).sin())


def test_silent_frames_are_noise_and_voiced_ones_sine() -> None:
    spec = spec_of("cosyvoice2").vocoder
    f0 = torch.tensor([[0.0, 200.0]])
    sine, noise = torch.ones(1, 8, 3), torch.ones(1, 8, 3)
    mixed, voiced, scaled = excitation(sine, f0, noise, spec)
    assert voiced[0, :, 0].tolist() == [0.0] * 4 + [1.0] * 4
    torch.testing.assert_close(mixed[0, :4], torch.full((4, 3), spec.sine_level / 3))
    torch.testing.assert_close(mixed[0, 4:], torch.full((4, 3), spec.sine_level + spec.noise_level))
    torch.testing.assert_close(mixed - scaled, sine * spec.sine_level * voiced)


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_drawn_in_pieces_is_the_noise_drawn_at_once(family: str) -> None:
    spec = without_quirks(released(family).vocoder)
    whole = draw_noise(11, 480, spec, seeded(0))
    generator = seeded(0)
    pieces = [draw_noise(frames, 480, spec, generator) for frames in (1, 3, 5, 2)]
    assert torch.equal(torch.cat(pieces, dim=1), whole)
    assert (whole.min() < 0) == (spec.noise == "normal")


def test_the_fixed_noise_begins_as_in_the_release() -> None:
    generator = torch.Generator()
    generator.set_state(fixed_noise_start(released("cosyvoice3")))
    row = draw_noise(1, 480, released("cosyvoice3").vocoder, generator)[0, 0]
    expected = "0.92282599 0.47744751 0.82705182 0.28345716 0.79348159 0.17343479 0.85237503"
    torch.testing.assert_close(
        row[:7], torch.tensor([float(x) for x in expected.split()]), atol=1e-7, rtol=0
    )


def test_compat_throws_away_the_draws_that_the_public_implementation_throws_away() -> None:
    spec = spec_of("cosyvoice2").vocoder
    assert spec.quirks.discarded_draws
    generator = seeded(4)
    made = [draw_noise(2, 160, spec, generator) for _ in range(2)]
    generator = seeded(4)
    for noise in made:
        torch.rand(1, spec.harmonics, generator=generator)
        assert torch.equal(noise, torch.randn(1, 320, spec.harmonics, generator=generator))
        torch.randn(1, 320, 1, generator=generator)


class Silence:
    """No noise at all."""

    def take(self, frames: int) -> Tensor:
        return torch.zeros(1, frames * 160, 3)


def test_compat_fades_between_calls_under_halves_that_sum_to_1_08() -> None:
    spec = spec_of("cosyvoice2")
    net: Hift = networks(spec)["vocoder"]
    fading = FadingHiftVocoder(net, spec.mel)
    count = spec.vocoder.quirks.hamming_crossfade_frames * 160
    frames = mel(40)
    state: Any = fading.init_state(Silence())
    first, state = fading.vocode(frames[:, :, :25], state, False)
    second, _ = fading.vocode(frames[:, :, 25:], state, True)
    assert len(first) == 25 * 160 - count
    assert len(first) + len(second) == 40 * 160
    window = torch.hamming_window(2 * count, periodic=False)
    sums = window[:count] + window[count:]
    torch.testing.assert_close(sums, torch.full((count,), 1.08), atol=1e-3, rtol=0)
    again = frames[:, :, 17:]
    source = make_source(net, net.f0(again), torch.zeros(1, 23 * 160, 3), 8_000)
    source = torch.cat([state.source, source[:, count:]], dim=1)
    raw = net.decode(again, source)[0]
    expected = raw[:count] * window[:count] + state.speech[0] * window[count:]
    torch.testing.assert_close(second[:count], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(second[count:], raw[count:], atol=1e-6, rtol=0)


def test_the_float32_phase_of_compat_drifts_and_ours_does_not() -> None:
    """At first the two agree; after twenty seconds the ninth harmonic is off by a hundredth."""
    spec = released("cosyvoice3").vocoder
    assert spec.quirks.float32_phase
    phases = accumulate(
        phase_steps(torch.full((1, 1_000), 220.3), spec, 24_000),
        torch.zeros(1, 1, spec.harmonics, dtype=torch.float64),
    )
    drifting, exact = (
        sines(phases, numbers, 480, before=phases[:, :1], after=phases[:, -1:])[0, ::480, -1]
        for numbers in (spec, without_quirks(spec))
    )
    expected = (2 * math.pi * (phases[0, :, -1] * 480 % 1)).sin()
    torch.testing.assert_close(exact.double(), expected, atol=1e-6, rtol=0)
    error = (drifting - exact).abs()
    assert float(error[:20].max()) < 1e-3
    assert float(error[-100:].max()) > 5e-3


@pytest.mark.parametrize("frames", [1, 2, 23])
@pytest.mark.parametrize(
    "layer",
    [
        Conv(6, 8, 5, padding=2),
        Conv(6, 8, 3, dilation=4, padding=4),
        Conv(6, 8, 4, 2, padding=2),
        Conv(6, 9, 3, groups=3, padding=1),
        TransposedConv(6, 8, 6, 4, padding=1),
        SameConv(6, 6, 5, dilation=2, causal=True),
        Upsampling(6, 8, 5, 3, causal=True),
    ],
    ids=str,
)
def test_what_lies_by_frames_is_convolved_alike_and_stays_so(
    layer: torch.nn.Module, frames: int
) -> None:
    x = torch.randn(2, 6, frames, generator=seeded(3))
    with torch.no_grad():
        plain, framed = layer(x), layer(by_frames(x))
    torch.testing.assert_close(framed, plain, atol=1e-5, rtol=0)
    assert frames == 1 or framed.transpose(1, 2).is_contiguous()
