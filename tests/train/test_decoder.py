"""Training of the flow-matching decoder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny
import tiny_corpus
import torch

from voxkit.decoder import FlowDecoder
from voxkit.errors import TrainingError
from voxkit.options import Options
from voxkit.train.decoder import DecoderRecipe, DecoderTask
from voxkit.train.loop import Draw

RECIPE = DecoderRecipe(
    batch=3,
    tokens=24,
    shares={"real": 0.6, "synthetic": 0.4},
    drop_condition=0.2,
    drop_control=0.2,
    prompt=0.5,
    chunks=(0, 5, 8),
    guess=0.5,
)


def task(recipe: DecoderRecipe = RECIPE) -> DecoderTask:
    with torch.random.fork_rng(devices=[]):
        made = DecoderTask(tiny.SPEC, recipe, tiny_corpus.encoded())
    tiny.stir(made.model)
    return made


def test_losses_are_finite_and_only_one_has_a_gradient() -> None:
    made = task()
    for step in range(8):
        losses = made.losses(step, Draw(0, step))
        assert set(losses) == {"loss", "flow", "guess"}
        assert all(value.isfinite() for value in losses.values())
        assert [name for name, value in losses.items() if value.requires_grad] == ["loss"]
        total = losses["flow"] + RECIPE.guess * losses["guess"]
        torch.testing.assert_close(losses["loss"], total)


def test_a_batch_depends_on_the_draw_alone() -> None:
    made = task()
    first = made.losses(5, Draw(1, 5))["loss"]
    made.losses(6, Draw(1, 6))
    assert torch.equal(first, made.losses(5, Draw(1, 5))["loss"])
    assert not torch.equal(first, made.losses(6, Draw(1, 6))["loss"])


def test_held_out_speech_is_only_evaluated() -> None:
    made = task()
    assert {e.utterance.id for e in made.held_out} == {"ann-3", "bob-3", "flite-x-3"}
    assert not any(e.utterance.held_out for group in made.groups for e in group)
    with torch.no_grad():
        assert made.evaluate() == made.evaluate()


def test_gradients_reach_every_parameter() -> None:
    made = task(dataclasses.replace(RECIPE, drop_condition=0.0))
    made.losses(0, Draw(0, 0))["loss"].backward()
    assert tiny.without_gradient(made.model) == []


def guided(strength: float, drop: float) -> DecoderTask:
    """A task whose teacher has the weights that its model starts with."""
    recipe = dataclasses.replace(RECIPE, guided=strength, drop_condition=drop)
    made = task(recipe)
    assert made.teacher is not None
    made.teacher.load_state_dict(made.model.state_dict())
    return made


def test_guidance_is_what_the_teacher_has_yet_to_teach() -> None:
    mild, strong = (float(guided(g, 0.0).losses(0, Draw(0, 0))["flow"]) for g in (0.5, 1.0))
    assert mild > 1e-6
    assert strong == pytest.approx(4 * mild, rel=1e-4)  # the error is the guidance itself, squared


def test_without_condition_the_teacher_is_not_guided() -> None:
    assert float(guided(0.7, 1.0).losses(0, Draw(0, 0))["flow"]) == 0.0


def test_the_teacher_is_not_trained() -> None:
    made = guided(0.7, 0.2)
    losses = made.losses(0, Draw(0, 0))
    losses["loss"].backward()
    assert made.teacher is not None
    assert all(p.grad is None and not p.requires_grad for p in made.teacher.parameters())
    assert any(p.grad is not None for p in made.model.parameters())


def test_without_condition_nothing_of_tokens_and_voice_is_heard() -> None:
    deaf = task(dataclasses.replace(RECIPE, drop_condition=1.0, guess=0.0))
    deaf.losses(0, Draw(0, 0))["loss"].backward()
    silent = tiny.without_gradient(deaf.model)
    assert {name for name in silent if name.startswith("encoder.")} == {
        name for name, _ in deaf.model.named_parameters() if name.startswith("encoder.")
    }
    assert "voice.2.weight" in silent
    assert "leave.weight" not in silent


def test_errors_in_the_reference_do_not_count() -> None:
    """Frames given as the reference are not judged."""
    e, reference = (x for x in tiny_corpus.encoded() if x.utterance.id in ("ann-0", "ann-1"))
    recipe = dataclasses.replace(RECIPE, tokens=24, shares={"real": 1.0}, prompt=1.0)
    losses = []
    for shift in (0.0, 5.0):
        u = dataclasses.replace(reference.utterance, set="x", mel=reference.utterance.mel + shift)
        other = dataclasses.replace(reference, utterance=u)
        with torch.random.fork_rng(devices=[]):
            made = DecoderTask(tiny.SPEC, recipe, [e, other])
        tiny.stir(made.model).leave.weight.data.zero_()  # it says the same whatever it hears
        losses.append(made.losses(0, Draw(0, 0)))
    assert losses[0]["flow"] == losses[1]["flow"]
    assert losses[0]["guess"] != losses[1]["guess"]


def test_the_decoder_learns_one_batch_by_heart() -> None:
    made = task(dataclasses.replace(RECIPE, drop_condition=0.0, chunks=(5,)))
    losses = tiny.fit(made.model, lambda: made.losses(0, Draw(0, 0))["loss"], steps=60, lr=0.01)
    assert losses[-1] < 0.35 * losses[0]


def test_what_was_learnt_is_spoken() -> None:
    """Trained on one utterance, the decoder gives back its mel from its tokens."""
    one = [e for e in tiny_corpus.encoded() if e.utterance.id == "ann-0"]
    recipe = dataclasses.replace(
        RECIPE, shares={"real": 1.0}, prompt=0.0, drop_condition=0.0, drop_control=0.0, chunks=(5,)
    )
    spec = dataclasses.replace(tiny.SPEC, decoder=dataclasses.replace(tiny.SPEC.decoder, width=48))
    with torch.random.fork_rng(devices=[]):
        made = DecoderTask(spec, recipe, one)
    tiny.stir(made.model)
    steps = iter(range(10_000))
    tiny.fit(made.model, lambda: made.losses(0, Draw(0, next(steps)))["loss"], steps=150, lr=5e-3)
    e = one[0]
    decoder = FlowDecoder(spec, made.model.eval())
    voice = tiny.voice(count=0, speaker=e.speaker, attributes={})
    start = decoder.init_state(voice, Options(guidance=0.0, steps=4))
    given = made.model.condition(
        torch.from_numpy(e.speaker)[None], torch.from_numpy(e.controls)[None], torch.ones(1, 4)
    )
    state = decoder.seed(dataclasses.replace(start, voice=given.detach()), tiny.seeded(0))
    mel, _ = decoder.decode(torch.from_numpy(e.tokens.astype("int64")), state, True)
    truth = torch.from_numpy(e.utterance.mel.astype("float32")).T[None]
    off = (mel - truth).abs().mean()
    unlike = (truth - truth.mean((0, 2), keepdim=True)).abs().mean()
    assert off < 0.6 * unlike


def test_a_stretch_longer_than_an_utterance_goes_on_with_others_of_the_speaker() -> None:
    made = task(dataclasses.replace(RECIPE, tokens=100))
    by_id = {e.utterance.id: e for e in tiny_corpus.encoded()}
    e = by_id["ann-0"]
    tokens, mel = made._stretch(e, 0, np.random.default_rng(0))
    assert len(tokens) == made.need == len(mel) // 2
    assert (tokens[: len(e.tokens)] == e.tokens).all()
    rest = tokens[len(e.tokens) :]
    starts = {name: other.tokens[: len(rest)] for name, other in by_id.items() if name != "ann-0"}
    assert {n for n, t in starts.items() if (t == rest[: len(t)]).all()} <= {"ann-1", "ann-2"}
    assert any((t == rest[: len(t)]).all() for t in starts.values())


def test_a_stretch_begins_with_the_reference() -> None:
    made = task()
    e, other = (x for x in tiny_corpus.encoded() if x.utterance.id in ("ann-0", "ann-1"))
    made.by_speaker = {"ann": [e, other]}
    tokens, mel = made._stretch(e, 10, np.random.default_rng(0))
    windows = np.lib.stride_tricks.sliding_window_view(other.tokens, 10)
    assert (windows == tokens[:10]).all(1).any()
    frames = np.lib.stride_tricks.sliding_window_view(other.utterance.mel, 20, axis=0)
    assert (frames == mel[:20].T).all((1, 2)).any()


def test_sets_that_are_not_encoded_cannot_be_trained_on() -> None:
    with pytest.raises(TrainingError, match="None of the sets"):
        task(dataclasses.replace(RECIPE, shares={"absent": 1.0}))
