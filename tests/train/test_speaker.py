"""Training of the speaker encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import tiny
import tiny_corpus
import torch

from voxkit.errors import TrainingError
from voxkit.train.data import Utterance
from voxkit.train.loop import Draw
from voxkit.train.speaker import SpeakerRecipe, SpeakerTask

RECIPE = SpeakerRecipe(batch=3, frames=40, margin=0.2, scale=10.0)


def task(
    utterances: Sequence[Utterance] | None = None, recipe: SpeakerRecipe = RECIPE
) -> SpeakerTask:
    given = tiny_corpus.utterances() if utterances is None else utterances
    with torch.random.fork_rng(devices=[]):
        made = SpeakerTask(tiny.SPEC.speaker, tiny.MEL, recipe, given)
    tiny.stir(made.model)
    return made


def test_there_is_one_direction_for_each_speaker() -> None:
    made = task()
    assert made.names == ["ann", "bob", "flite-x"]
    assert made.model.directions.shape == (3, tiny.SPEC.speaker.embedding)


def test_held_out_utterances_are_only_evaluated() -> None:
    made = task()
    assert not any(u.held_out for group in made.groups.values() for u in group)
    assert [u.id for u in made.held_out] == ["ann-3", "bob-3", "flite-x-3"]


def test_a_batch_depends_on_the_draw_alone() -> None:
    made = task()
    first, again = (made.losses(0, Draw(1, 4)) for _ in range(2))
    assert torch.equal(first["loss"], again["loss"])
    assert not torch.equal(first["loss"], made.losses(0, Draw(1, 5))["loss"])
    assert not first["accuracy"].requires_grad


def test_the_margin_makes_the_task_harder() -> None:
    made = task()
    with_margin = made.losses(0, Draw(0, 0))["loss"]
    made.recipe = dataclasses.replace(RECIPE, margin=0.0)
    assert with_margin > made.losses(0, Draw(0, 0))["loss"]


def test_gradients_reach_every_parameter() -> None:
    made = task()
    made.losses(0, Draw(0, 0))["loss"].backward()
    # softmax over time does not change when a channel's scores all rise alike
    assert tiny.without_gradient(made.model) in ([], ["encoder.attend.2.bias"])


def test_the_speakers_are_learnt_and_known_again() -> None:
    made = task()
    steps = iter(range(10_000))
    losses = tiny.fit(
        made.model, lambda: made.losses(0, Draw(0, next(steps)))["loss"], steps=60, lr=0.01
    )
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    with torch.no_grad():
        assert made.evaluate() == {"accuracy": 1.0}


def test_without_held_out_speech_there_is_nothing_to_tell() -> None:
    made = task([u for u in tiny_corpus.utterances() if not u.held_out])
    assert made.evaluate() == {}


def test_a_corpus_of_too_few_speakers_is_refused() -> None:
    with pytest.raises(TrainingError, match="3 different speakers and the corpus only 2"):
        task([u for u in tiny_corpus.utterances() if u.set == "real"])


@pytest.mark.parametrize("seed", range(6))
def test_crops_of_an_odd_number_of_frames_are_all_as_long(seed: int) -> None:
    made = task()
    made.recipe = dataclasses.replace(RECIPE, frames=39)
    assert made.losses(0, Draw(seed, 0))["loss"].isfinite()


def test_the_recipe_says_which_sets_are_learnt_whole() -> None:
    made = task(recipe=dataclasses.replace(RECIPE, learn_whole=("real",)))
    assert [u.id for u in made.held_out] == ["flite-x-3"]
    assert len(made.groups["ann"]) == 4 and len(made.groups["flite-x"]) == 3


def test_short_utterances_are_left_out() -> None:
    short = dataclasses.replace(
        tiny_corpus.utterances()[0], mel=tiny_corpus.utterances()[0].mel[:20], speaker="brief"
    )
    assert "brief" not in task([*tiny_corpus.utterances(), short]).names


@pytest.mark.parametrize("seed", range(4))
def test_a_shard_is_not_written_to(seed: int) -> None:
    before = [u.mel.copy() for u in tiny_corpus.utterances()]
    task().losses(0, Draw(seed, 0))
    for kept, u in zip(before, tiny_corpus.utterances(), strict=True):
        assert (kept == u.mel).all()
