"""Training of the vocoder."""

from __future__ import annotations

import dataclasses

import pytest
import tiny
import tiny_corpus
import torch

from voxkit.errors import TrainingError
from voxkit.train.loop import Draw
from voxkit.train.vocoder import VocoderRecipe, VocoderTask, spectral_distance

RECIPE = VocoderRecipe(batch=2, frames=30, lead=4, shares={"real": 0.5, "synthetic": 0.5})


def task(recipe: VocoderRecipe = RECIPE) -> VocoderTask:
    with torch.random.fork_rng(devices=[]):
        made = VocoderTask(tiny.SPEC.vocoder, tiny.MEL, recipe, tiny_corpus.utterances())
    tiny.stir(made.model)
    with torch.no_grad():
        made.model.head.out.weight.mul_(0.1)
    return made


def quietly(made: VocoderTask, step: int = 0) -> dict[str, torch.Tensor]:
    """Losses of one batch; the network's own noise is drawn from a fixed place."""
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(tiny.seeded(7).get_state())
        return made.losses(step, Draw(0, step))


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, samples, generator=tiny.seeded(seed))


def test_the_same_sound_is_at_no_distance() -> None:
    wav = noise(4000)
    assert spectral_distance(wav, wav).item() == 0


def test_the_distance_grows_with_the_difference() -> None:
    wav, other = noise(4000), noise(4000, seed=1)
    near = spectral_distance(wav + 0.1 * other, wav)
    far = spectral_distance(wav + 0.5 * other, wav)
    assert 0 < near < far < spectral_distance(torch.zeros_like(wav), wav)


def test_the_distance_does_not_hear_the_sign() -> None:
    wav, other = noise(4000), noise(4000, seed=1)
    torch.testing.assert_close(spectral_distance(-wav, other), spectral_distance(wav, other))


def test_losses_are_finite_and_only_one_has_a_gradient() -> None:
    losses = quietly(task())
    assert set(losses) == {"loss", "spectral", "pitch", "voicing"}
    assert all(value.isfinite() for value in losses.values())
    assert [name for name, value in losses.items() if value.requires_grad] == ["loss"]


def test_gradients_reach_every_parameter() -> None:
    made = task()
    quietly(made)["loss"].backward()
    assert tiny.without_gradient(made.model) == []


def test_the_vocoder_learns_one_batch_by_heart() -> None:
    made = task()
    first = quietly(made)
    tiny.fit(made.model, lambda: quietly(made)["loss"], steps=40, lr=0.01)
    last = quietly(made)
    for name in ("loss", "pitch", "voicing"):
        assert last[name] < 0.6 * first[name], name


def test_held_out_speech_is_only_evaluated() -> None:
    made = task()
    assert {u.id for u in made.held_out} == {"ann-3", "bob-3", "flite-x-3"}
    with torch.no_grad():
        figures = made.evaluate()
    assert set(figures) == {"loss", "spectral", "pitch", "voicing"}


def test_evaluation_hears_only_the_sets_of_the_shares() -> None:
    made = task(dataclasses.replace(RECIPE, shares={"real": 1.0}))
    assert {u.set for u in made.held_out} == {"real"}


def test_utterances_shorter_than_a_crop_cannot_be_trained_on() -> None:
    with pytest.raises(TrainingError):
        task(dataclasses.replace(RECIPE, frames=1000))


def test_the_pitch_that_is_learnt_is_that_of_the_speech() -> None:
    made = task(dataclasses.replace(RECIPE, shares={"synthetic": 1.0}))
    tiny.fit(made.model, lambda: quietly(made)["loss"], steps=60, lr=0.01)
    u = made.held_out[0]
    mel = torch.from_numpy(u.mel.astype("float32")).T[None]
    with torch.no_grad():
        f0, voicing = made.model.measure_pitch((mel - tiny.MEL.mean) / tiny.MEL.scale)
    voiced = torch.from_numpy(u.f0.astype("float32"))[None] > 0
    assert f0[voiced].median().item() == pytest.approx(140.0, rel=0.1)
    assert ((voicing > 0.5) == voiced).float().mean() > 0.8
