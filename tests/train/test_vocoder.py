"""Training of the vocoder."""

from __future__ import annotations

import dataclasses
import math

import pytest
import tiny
import tiny_corpus
import torch

from voxkit.errors import TrainingError
from voxkit.train.loop import Draw
from voxkit.train.vocoder import (
    VocoderRecipe,
    VocoderTask,
    band_filters,
    loudness,
    spectra,
    spectral_distance,
)
from voxkit.train.vocoder import distance as apart

RECIPE = VocoderRecipe(
    batch=2, frames=30, lead=4, bands=1.0, shares={"real": 0.5, "synthetic": 0.5}
)


def task(recipe: VocoderRecipe = RECIPE) -> VocoderTask:
    with torch.random.fork_rng(devices=[]):
        made = VocoderTask(tiny.SPEC.vocoder, tiny.MEL, recipe, tiny_corpus.utterances())
    tiny.stir(made.model)
    with torch.no_grad():
        made.model.head.out.weight.mul_(0.1)
    return made


def losses(made: VocoderTask, step: int = 0) -> dict[str, torch.Tensor]:
    return made.losses(step, Draw(0, step))


def distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    level = [s.norm(dim=(1, 2)) for s in spectra(other)]
    return spectral_distance(spectra(one), spectra(other), level)


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, samples, generator=tiny.seeded(seed))


def test_the_same_sound_is_at_no_distance() -> None:
    wav = noise(4000)
    assert distance(wav, wav).item() == 0


def test_the_distance_grows_with_the_difference() -> None:
    wav, other = noise(4000), noise(4000, seed=1)
    near = distance(wav + 0.1 * other, wav)
    far = distance(wav + 0.5 * other, wav)
    assert 0 < near < far < distance(torch.zeros_like(wav), wav)


def test_the_distance_does_not_hear_the_sign() -> None:
    wav, other = noise(4000), noise(4000, seed=1)
    torch.testing.assert_close(distance(-wav, other), distance(wav, other))


def test_sound_with_the_right_chance_beats_sound_without_any() -> None:
    speech, one, other = (noise(24_000, seed) for seed in (0, 1, 2))
    clicks = torch.zeros_like(speech)
    clicks[:, ::150] = 0.1 * 150**0.5  # as loud, with a spectrum as flat, and the same every time
    level = [s.norm(dim=(1, 2)) for s in spectra(speech)]
    spread = spectral_distance(spectra(one), spectra(other), level)
    assert distance(one, speech) - spread / 2 < 0.8 * distance(clicks, speech)


def test_bands_hear_how_loud_noise_is_and_not_which_noise() -> None:
    filters = band_filters(24_000)
    quiet, one, other = (loudness(spectra(noise(24_000, n)), filters) for n in (0, 1, 2))
    louder = loudness(spectra(1.26 * noise(24_000, 0)), filters)  # 2 dB
    chance = apart(one, other)
    torch.testing.assert_close(
        apart(louder, quiet), torch.tensor(math.log(1.26)), atol=1e-3, rtol=0
    )
    bins = apart(
        [s.log() for s in spectra(noise(24_000, 1))], [s.log() for s in spectra(noise(24_000, 2))]
    )
    assert chance < 0.5 * bins


def test_losses_are_finite_and_only_one_has_a_gradient() -> None:
    found = losses(task())
    assert set(found) == {"loss", "near", "spread", "bands", "pitch", "voicing"}
    assert all(value.isfinite() for value in found.values())
    assert [name for name, value in found.items() if value.requires_grad] == ["loss"]


def test_what_is_drawn_depends_on_the_step_and_on_nothing_global() -> None:
    made, state = task(), torch.get_rng_state()
    first, again, other = losses(made), losses(made), losses(made, step=1)
    assert first == again
    assert first["near"] != other["near"]
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_reach_every_parameter() -> None:
    made = task()
    losses(made)["loss"].backward()
    assert tiny.without_gradient(made.model) == []


def test_the_vocoder_learns_one_batch_by_heart() -> None:
    made = task()
    first = losses(made)
    tiny.fit(made.model, lambda: losses(made)["loss"], steps=40, lr=0.01)
    last = losses(made)
    for name in ("loss", "pitch", "voicing"):
        assert last[name] < 0.6 * first[name], name


def test_held_out_speech_is_only_evaluated() -> None:
    made = task()
    assert {u.id for u in made.held_out} == {"ann-3", "bob-3", "flite-x-3"}
    with torch.no_grad():
        figures = made.evaluate()
    assert set(figures) == {"loss", "near", "spread", "bands", "pitch", "voicing"}


def test_evaluation_hears_only_the_sets_of_the_shares() -> None:
    made = task(dataclasses.replace(RECIPE, shares={"real": 1.0}))
    assert {u.set for u in made.held_out} == {"real"}


def test_utterances_shorter_than_a_crop_cannot_be_trained_on() -> None:
    with pytest.raises(TrainingError):
        task(dataclasses.replace(RECIPE, frames=1000))


def test_the_pitch_that_is_learnt_is_that_of_the_speech() -> None:
    made = task(dataclasses.replace(RECIPE, shares={"synthetic": 1.0}))
    tiny.fit(made.model, lambda: losses(made)["loss"], steps=60, lr=0.01)
    u = made.held_out[0]
    mel = torch.from_numpy(u.mel.astype("float32")).T[None]
    with torch.no_grad():
        f0, voicing = made.model.measure_pitch((mel - tiny.MEL.mean) / tiny.MEL.scale)
    voiced = torch.from_numpy(u.f0.astype("float32"))[None] > 0
    assert f0[voiced].median().item() == pytest.approx(140.0, rel=0.1)
    assert ((voicing > 0.5) == voiced).float().mean() > 0.8
