"""The vocoder network: streaming, pitch, and the source-filter head."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.errors import SpecError
from voxkit.modules.vocos import SUBFRAMES, Vocos, VocosState, bend
from voxkit.prosody import NATURAL, Prosody

SPEC, MEL = tiny.SPEC.vocoder, tiny.MEL
SUBHOP = MEL.hop // SUBFRAMES


HEADS = ("source-filter", "istft")


def net(head: str = "source-filter", lookahead: int = SPEC.lookahead) -> Vocos:
    spec = dataclasses.replace(SPEC, head=head, lookahead=lookahead)
    with torch.random.fork_rng(devices=[]):
        model = tiny.stir(Vocos(spec, MEL))
    with torch.no_grad():
        model.head.out.weight.mul_(0.1)
    return model


@pytest.fixture(scope="module", params=HEADS)
def vocos(request: pytest.FixtureRequest) -> Vocos:
    """A vocoder with each kind of head."""
    return net(request.param).eval().requires_grad_(False)


def mel(frames: int, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(batch, MEL.bins, frames, generator=tiny.seeded(seed))


def steady(hertz: float, voiced: bool = True) -> Vocos:
    """A vocoder that hears one pitch in everything."""
    model = net().eval().requires_grad_(False)
    model.pitch.weight.zero_()
    model.pitch.bias[:SUBFRAMES] = (math.log(hertz) - 5.0) / 0.5
    model.pitch.bias[SUBFRAMES:] = 9.0 if voiced else -9.0
    return model


def seeds(count: int) -> list[torch.Generator]:
    return [tiny.seeded(9 + row) for row in range(count)]


def delay(model: Vocos) -> int:
    """Samples that wait for frames after theirs, since windows overlap."""
    return 3 * SUBHOP if model.spec.head == "source-filter" else (MEL.n_fft - MEL.hop) // 2


def in_pieces(
    model: Vocos, x: Tensor, state: VocosState, seed: int, pitch: Prosody = NATURAL
) -> Tensor:
    made, frames = [], x.shape[2]
    for start, end in tiny.cuts(frames, np.random.default_rng(seed), 7):
        wav, state = model.step(x[:, :, start:end], state, end == frames, pitch)
        made.append(wav)
    return torch.cat(made, dim=1)


# ---- streaming --------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 9, 40])
def test_every_mel_frame_becomes_one_hop_of_samples(vocos: Vocos, frames: int) -> None:
    wav, _ = vocos.step(mel(frames, 2), vocos.init_state(2, *seeds(2)), True)
    assert wav.shape == (2, frames * MEL.hop)
    assert wav.isfinite().all()


@pytest.mark.parametrize("seed", range(6))
def test_pieces_equal_the_whole(vocos: Vocos, seed: int) -> None:
    x = mel(31, seed=seed)
    whole, _ = vocos.step(x, vocos.init_state(1, tiny.seeded(9)), True)
    made = in_pieces(vocos, x, vocos.init_state(1, tiny.seeded(9)), seed)
    assert made.shape == whole.shape
    # The phase of the pulse train adds up the rounding errors of the pitch, about 1e-7 of a cycle
    # a sample, and a band-limited pulse turns an error of phase into one of amplitude.
    torch.testing.assert_close(made, whole, atol=2e-3 * float(whole.abs().max()), rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_without_pulses_pieces_equal_the_whole_closely(seed: int) -> None:
    model, x = steady(150.0, voiced=False), mel(31, seed=seed)
    whole, _ = model.step(x, model.init_state(1, tiny.seeded(9)), True)
    made = in_pieces(model, x, model.init_state(1, tiny.seeded(9)), seed)
    # 1e-5: convolutions and matrix products of other sizes add up in another order
    torch.testing.assert_close(made, whole, atol=1e-5 * float(whole.abs().max()), rtol=0)


def test_the_end_may_come_without_frames(vocos: Vocos) -> None:
    x = mel(12)
    whole, _ = vocos.step(x, vocos.init_state(1, tiny.seeded(9)), True)
    first, state = vocos.step(x, vocos.init_state(1, tiny.seeded(9)), False)
    rest, _ = vocos.step(x[:, :, :0], state, True)
    made = torch.cat([first, rest], dim=1)
    assert made.shape == whole.shape
    torch.testing.assert_close(made, whole, atol=2e-3 * float(whole.abs().max()), rtol=0)


def test_no_frames_at_all_become_no_samples(vocos: Vocos) -> None:
    wav, _ = vocos.step(mel(0), vocos.init_state(1, tiny.seeded(9)), True)
    assert wav.shape == (1, 0)


def test_whole_utterances_of_training_equal_the_streaming_ones(vocos: Vocos) -> None:
    x = mel(14)
    noise = torch.randn(1, 14 * MEL.hop, generator=tiny.seeded(9))
    trained, f0, logits = vocos(x, None, noise)
    assert f0.shape == logits.shape == (1, 14 * SUBFRAMES)
    spoken, _ = vocos.step(x, vocos.init_state(1, tiny.seeded(9)), True)
    torch.testing.assert_close(trained, spoken, atol=1e-5, rtol=0)
    heard, voicing = vocos.measure_pitch(x)
    torch.testing.assert_close(heard, f0)
    torch.testing.assert_close(voicing, logits.sigmoid())


def test_the_true_pitch_takes_the_place_of_the_guess() -> None:
    vocos = net()
    x, f0 = mel(14), torch.full((1, 14 * SUBFRAMES), 200.0)
    noise = torch.zeros(1, 14 * MEL.hop)
    given, guess, _ = vocos(x, f0, noise)
    other, same_guess, _ = vocos(x, 2 * f0, noise)
    assert torch.equal(guess, same_guess)
    assert (given - other).abs().max() > 1e-3


@pytest.mark.parametrize("frame", [9, 13])
def test_the_future_beyond_the_look_ahead_changes_nothing(vocos: Vocos, frame: int) -> None:
    x = mel(20)
    other = x.clone()
    other[:, :, frame] += 1.0
    a, _ = vocos.step(x, vocos.init_state(1, tiny.seeded(9)), True)
    b, _ = vocos.step(other, vocos.init_state(1, tiny.seeded(9)), True)
    changed = ((a - b).abs() > 1e-6)[0].nonzero()[:, 0]
    first = (frame - SPEC.lookahead) * MEL.hop - delay(vocos)
    assert first <= int(changed[0]) < first + MEL.hop


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("lookahead", [1, 3, 6])
def test_samples_come_as_soon_as_the_look_ahead_allows(head: str, lookahead: int) -> None:
    model = net(head, lookahead).eval().requires_grad_(False)
    wav, _ = model.step(mel(10), model.init_state(1, tiny.seeded(0)), False)
    assert wav.shape[1] == (10 - lookahead) * MEL.hop - delay(model)


def test_a_state_is_left_as_it_was(vocos: Vocos) -> None:
    x = mel(20)
    _, state = vocos.step(x[:, :, :9], vocos.init_state(1, tiny.seeded(0)), False)
    first, _ = vocos.step(
        x[:, :, 9:], dataclasses.replace(state, generators=(tiny.seeded(1),)), True
    )
    again, _ = vocos.step(
        x[:, :, 9:], dataclasses.replace(state, generators=(tiny.seeded(1),)), True
    )
    assert torch.equal(first, again)


# ---- what is heard ----------------------------------------------------------------------------


def spectrum(wav: Tensor) -> Tensor:
    """Magnitudes of one second, one bin a hertz, once the silence before it is forgotten."""
    return torch.fft.rfft(wav[0, 4000 : 4000 + MEL.sample_rate]).abs()


def silent_noise(model: Vocos, x: Tensor, f0: Tensor | None = None) -> Tensor:
    return model(x, f0, torch.zeros(1, x.shape[2] * MEL.hop))[0]


@pytest.mark.parametrize("hertz", [110.0, 160.0, 250.0])
def test_the_voice_has_the_pitch_that_it_is_given(hertz: float) -> None:
    strength = spectrum(silent_noise(steady(hertz), torch.zeros(1, MEL.bins, 80)))
    harmonics = hertz * torch.arange(1, 6)
    at = strength[harmonics.long()]
    between = strength[(harmonics + hertz / 2).long()]  # no multiple of the frame rate away
    assert (at > 20 * between).all()


def test_a_pitch_factor_raises_the_pitch() -> None:
    model, x = steady(120.0), torch.zeros(1, MEL.bins, 80)
    wav, _ = model.step(x, model.init_state(1, tiny.seeded(0)), True, Prosody(factor=1.5))
    plain, _ = model.step(x, model.init_state(1, tiny.seeded(0)), True)
    assert spectrum(wav)[180] > 5 * spectrum(wav)[120]
    assert spectrum(plain)[120] > 5 * spectrum(plain)[180]


def test_a_spread_stretches_the_pitch_about_its_centre_in_semitones() -> None:
    f0 = torch.tensor([[100.0, 200.0, 400.0]])
    assert torch.allclose(
        bend(f0, Prosody(spread=0.5, centre_hz=200.0)), torch.tensor([[141.42, 200.0, 282.84]])
    )
    assert torch.allclose(bend(f0, Prosody(factor=2.0)), 2 * f0)
    assert bend(f0, NATURAL) is f0


def test_a_whisper_has_the_sounds_of_speech_and_no_tone() -> None:
    model, x = steady(120.0), torch.zeros(1, MEL.bins, 200)
    whisper, _ = model.step(x, model.init_state(1, tiny.seeded(0)), True, Prosody(whisper=True))
    plain, _ = model.step(x, model.init_state(1, tiny.seeded(0)), True)
    assert plain.shape == whisper.shape
    tones = [spectrum(wav)[120 * torch.arange(5, 20)].mean() for wav in (plain, whisper)]
    between = [spectrum(wav)[60 + 120 * torch.arange(5, 20)].mean() for wav in (plain, whisper)]
    assert tones[0] > 10 * between[0]
    assert 0.5 < tones[1] / between[1] < 2
    assert 0.3 < whisper.square().mean().sqrt() / plain.square().mean().sqrt() < 3


@pytest.mark.parametrize(
    "pitch",
    [
        Prosody(whisper=True),
        Prosody(factor=1.3, spread=1.2),
        Prosody(speed=3.7, whisper=True),
    ],
)
def test_a_changed_pitch_in_pieces_equals_the_whole(pitch: Prosody) -> None:
    model, x = net().eval().requires_grad_(False), mel(31)
    whole, _ = model.step(x, model.init_state(1, tiny.seeded(9)), True, pitch)
    made = in_pieces(model, x, model.init_state(1, tiny.seeded(9)), 0, pitch)
    torch.testing.assert_close(made, whole, atol=2e-3 * float(whole.abs().max()), rtol=0)


@pytest.mark.parametrize("speed", [0.6, 0.8, 1.3])
def test_another_speed_in_pieces_equals_the_whole(speed: float) -> None:
    """With a steady pitch: one that is about to lose an overtone would round to either side."""
    model, x, prosody = steady(123.4), mel(31), Prosody(speed=speed)
    whole, _ = model.step(x, model.init_state(1, tiny.seeded(9)), True, prosody)
    made = in_pieces(model, x, model.init_state(1, tiny.seeded(9)), 0, prosody)
    torch.testing.assert_close(made, whole, atol=2e-3 * float(whole.abs().max()), rtol=0)


@pytest.mark.parametrize("speed", [0.25, 0.8, 1.25, 4.0])
def test_another_speed_changes_the_duration_and_not_the_pitch(speed: float) -> None:
    model, x = steady(120.0), torch.zeros(1, MEL.bins, 200)
    wav, _ = model.step(x, model.init_state(1, tiny.seeded(0)), True, Prosody(speed=speed))
    assert wav.shape[1] == pytest.approx(200 * MEL.hop / speed, abs=MEL.hop)
    strength = torch.fft.rfft(wav[0] * torch.hann_window(wav.shape[1])).abs()
    hertz = torch.arange(len(strength)) * MEL.sample_rate / wav.shape[1]
    low = (hertz > 60) & (hertz < 180)
    assert float(hertz[low][strength[low].argmax()]) == pytest.approx(120.0, abs=4.0)


def test_without_voicing_only_noise_is_left() -> None:
    model, x = steady(120.0, voiced=False), torch.zeros(1, MEL.bins, 20)
    assert silent_noise(model, x).abs().max() == 0
    assert model(x, None, torch.ones(1, 20 * MEL.hop))[0].abs().max() > 0


@pytest.mark.parametrize("hertz", [60.0, 61.7, 200.0, 499.0])
def test_pulses_have_unit_power_and_no_overtone_beyond_half_the_rate(hertz: float) -> None:
    head = net().head
    f0 = torch.full((1, 400), hertz)
    pulses, _ = head._pulses(f0, torch.ones_like(f0), head.init_state(1), None)
    settled = pulses[0, 0, 2 * SUBHOP :].detach()
    assert settled.square().mean().sqrt() == pytest.approx(1.0, rel=0.05)
    strength = torch.fft.rfft(settled * torch.hann_window(len(settled))).abs()
    assert strength[int(0.495 * len(settled)) :].max() < 1e-3 * strength.max()


def test_filters_have_minimum_phase_and_the_gains_that_they_are_told() -> None:
    head = net().head
    gains = 0.5 * torch.randn(SPEC.head_bands, generator=tiny.seeded(0))
    log_gain = gains @ head.attenuation
    response = torch.polar(log_gain.exp(), gains @ head.phase)
    each = (head.fft // 2) // (SPEC.head_bands - 1)
    torch.testing.assert_close(log_gain[::each], gains, atol=1e-5, rtol=0)
    impulse = torch.fft.irfft(response, n=head.fft)
    energy = impulse.square()
    assert energy[head.fft // 2 :].sum() < 1e-6 * energy.sum()  # nothing before time zero
    backwards = torch.fft.irfft(response.conj(), n=head.fft).square()
    assert energy[:4].sum() > backwards[:4].sum()


def test_one_mel_is_drawn_as_often_as_there_is_noise(vocos: Vocos) -> None:
    x = mel(12, batch=2)
    noise = torch.randn(4, 12 * MEL.hop, generator=tiny.seeded(2))
    wav, f0, _ = vocos(x, None, noise)
    assert f0.shape[0] == 2
    for draw in (slice(2), slice(2, 4)):
        alone = vocos(x, None, noise[draw])[0]
        torch.testing.assert_close(wav[draw], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_sounds_the_same_however_it_is_cut(vocos: Vocos, seed: int) -> None:
    x = mel(24, batch=3)
    whole, _ = vocos.step(x, vocos.init_state(3, *seeds(3)), True)
    made = in_pieces(vocos, x, vocos.init_state(3, *seeds(3)), seed)
    torch.testing.assert_close(made, whole, atol=2e-3 * float(whole.abs().max()), rtol=0)


@pytest.mark.parametrize("lookahead", [-1, 0, 7])
def test_a_look_ahead_that_the_first_convolution_has_not_is_refused(lookahead: int) -> None:
    with pytest.raises(SpecError, match=f"lookahead is {lookahead} frames: give 1 to 6"):
        dataclasses.replace(SPEC, lookahead=lookahead)


# ---- learning ---------------------------------------------------------------------------------


def loss_of(model: Vocos, x: Tensor, f0: Tensor, noise: Tensor, target: Tensor) -> Tensor:
    wav, pitch, voicing = model(x, f0, noise)
    voiced = (f0 > 0).float()
    return (
        (wav - target).square().mean() / target.square().mean()
        + (pitch.log() - f0.clamp(min=60).log()).square().mean()
        + F.binary_cross_entropy_with_logits(voicing, voiced)
    )


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A buzz of 130 Hz whose end is noise."""
    f0 = torch.full((1, 8 * SUBFRAMES), 130.0)
    f0[0, 22:] = 0
    noise = torch.randn(1, 8 * MEL.hop, generator=tiny.seeded(2))
    buzz = torch.from_numpy(tiny.tone(130.0, 8 / 50).samples)
    voiced = (f0 > 0).float().repeat_interleave(SUBHOP, dim=1)
    return mel(8), f0, noise, buzz * voiced + 0.1 * noise * (1 - voiced)


@pytest.mark.parametrize("head", HEADS)
def test_gradients_reach_every_parameter(head: str) -> None:
    model = net(head)
    loss_of(model, *batch()).backward()
    assert tiny.without_gradient(model) == []


@pytest.mark.parametrize("head", HEADS)
def test_the_vocoder_learns_one_batch_by_heart(head: str) -> None:
    model, fixed = net(head), batch()
    losses = tiny.fit(model, lambda: loss_of(model, *fixed), steps=40, lr=0.01)
    assert losses[-1] < 0.2 * losses[0]
