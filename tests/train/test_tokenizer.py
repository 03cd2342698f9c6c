"""Training of the speech tokenizer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_corpus
import torch

from voxkit.errors import TrainingError
from voxkit.phonemes import Lexicon, phones
from voxkit.train.corpus import F0_PER_FRAME, PHONE_CLASSES
from voxkit.train.data import Utterance
from voxkit.train.loop import Draw
from voxkit.train.tokenizer import (
    TokenizerNet,
    TokenizerRecipe,
    TokenizerTask,
    frame_pitch,
    load_labels,
    perturb,
)

RECIPE = TokenizerRecipe(
    batch=4, frames=32, shares={"synthetic": 0.7, "real": 0.3}, align_at=(1000,)
)
LOSSES = {"loss", "phone", "pitch", "voicing", "energy", "mel"}


def task(folder: Path, recipe: TokenizerRecipe = RECIPE) -> TokenizerTask:
    with torch.random.fork_rng(devices=[]):
        made = TokenizerTask(
            tiny.SPEC.tokenizer, tiny.MEL, recipe, tiny_corpus.utterances(), None, folder
        )
    tiny.stir(made.model)
    return made


def mel(frames: int = 20, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, tiny.MEL.bins, frames, generator=tiny.seeded(0))


# ---- the network ------------------------------------------------------------------------------


def test_the_teacher_gives_phones_prosody_and_mel_of_every_frame() -> None:
    net = tiny.stir(TokenizerNet(tiny.SPEC.tokenizer, tiny.MEL.bins))
    x = mel()
    logits, prosody, painted = net.decode(net.encoder(x), x)
    assert logits.shape == (2, 20, len(PHONE_CLASSES))
    assert prosody.shape == (2, 20, 3)
    assert painted.shape == (2, 20, tiny.MEL.bins)
    torch.testing.assert_close(net.phone_scores(x).exp().sum(-1), torch.ones(2, 20))


def test_of_the_clean_mel_the_teacher_sees_only_the_statistics() -> None:
    net = tiny.stir(TokenizerNet(tiny.SPEC.tokenizer, tiny.MEL.bins))
    x = mel()
    codes = net.encoder(x)
    for a, b in zip(net.decode(codes, x), net.decode(codes, x.flip(2)), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_reach_every_parameter(tmp_path: Path) -> None:
    made = task(tmp_path)
    made.losses(0, Draw(0, 0))["loss"].backward()
    assert tiny.without_gradient(made.model) == []


def test_the_tokenizer_learns_one_batch_by_heart(tmp_path: Path) -> None:
    made = task(tmp_path)
    losses = tiny.fit(made.model, lambda: made.losses(0, Draw(0, 0))["loss"], steps=60, lr=0.01)
    assert losses[-1] < 0.4 * losses[0]


# ---- batches ----------------------------------------------------------------------------------


def test_all_losses_are_told_and_only_one_has_a_gradient(tmp_path: Path) -> None:
    losses = task(tmp_path).losses(0, Draw(0, 0))
    assert set(losses) == LOSSES
    assert [name for name, value in losses.items() if value.requires_grad] == ["loss"]
    assert all(value.isfinite() for value in losses.values())


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    made = task(tmp_path)
    first = made.losses(0, Draw(1, 5))
    made.losses(0, Draw(1, 6))
    again = made.losses(0, Draw(1, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["mel"], made.losses(0, Draw(2, 5))["mel"])


def test_held_out_utterances_are_not_trained_on(tmp_path: Path) -> None:
    made = task(tmp_path)
    rng = np.random.default_rng(0)
    assert not any(made.train.draw(rng).held_out for _ in range(100))
    assert all(u.held_out for u in made.held_out)


def test_utterances_shorter_than_a_crop_are_not_drawn(tmp_path: Path) -> None:
    long = dataclasses.replace(RECIPE, frames=1000)
    with pytest.raises(TrainingError):
        task(tmp_path, long)


def test_evaluation_tells_accuracy_by_set_and_the_use_of_codes(tmp_path: Path) -> None:
    made = task(tmp_path)
    figures = made.evaluate()
    assert set(figures) == {"accuracy_synthetic", "codes", "perplexity"}  # real has no labels yet
    assert 0 <= figures["accuracy_synthetic"] <= 1
    assert 1 <= figures["perplexity"] <= figures["codes"] <= tiny.SPEC.tokenizer.codebook


# ---- labels of real speech --------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True])
def test_real_speech_is_labelled_by_aligning_its_text(tmp_path: Path, mixed: bool) -> None:
    made = task(tmp_path, dataclasses.replace(RECIPE, align_at=(0,)))
    made.model = tiny.stir(tiny_corpus.Knowing(tiny.SPEC.tokenizer, tiny.MEL.bins))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        made.losses(0, Draw(0, 0))
    real = [u for u in tiny_corpus.utterances() if u.set == "real"]
    assert set(made.labels) == {u.id for u in real}
    right = []
    for u in real:
        truth = tiny_corpus.sound(u.text, u.speaker)[1]
        assert made.labels[u.id].shape == (u.frames,)
        right.append((made.labels[u.id] == truth).mean())
    assert np.mean(right) > 0.7  # windows of 80 ms blur the edges of sounds of 80 ms
    assert made.model.training
    assert "accuracy_real" in made.evaluate()


def test_labels_are_kept_for_a_run_that_goes_on(tmp_path: Path) -> None:
    made = task(tmp_path, dataclasses.replace(RECIPE, align_at=(2,)))
    made.losses(1, Draw(0, 0))
    assert made.labels == {} and load_labels(tmp_path) == {}
    made.losses(2, Draw(0, 0))
    kept = load_labels(tmp_path)
    assert kept.keys() == made.labels.keys() != set()
    later = task(tmp_path)
    assert all(np.array_equal(later.labels[name], kept[name]) for name in kept)


def test_a_run_that_is_killed_while_it_keeps_labels_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task(tmp_path, dataclasses.replace(RECIPE, align_at=(0,)))
    made.losses(0, Draw(0, 0))

    def torn(file, **arrays: np.ndarray) -> None:
        file.write(b"PK")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", torn)
    with pytest.raises(KeyboardInterrupt):
        made.losses(0, Draw(0, 0))
    assert load_labels(tmp_path).keys() == made.labels.keys()
    assert [p.name for p in tmp_path.iterdir()] == ["labels.npz"]


def test_a_run_that_goes_on_without_its_labels_makes_them_anew(tmp_path: Path) -> None:
    made = task(tmp_path, dataclasses.replace(RECIPE, align_at=(2,)))
    made.losses(7, Draw(0, 0))
    assert made.labels


def test_without_anything_to_align_no_labels_are_made(tmp_path: Path) -> None:
    never = task(tmp_path, dataclasses.replace(RECIPE, align_at=()))
    never.losses(5, Draw(0, 0))
    labelled = [u for u in tiny_corpus.utterances() if u.set == "synthetic"]
    with torch.random.fork_rng(devices=[]):
        known = TokenizerTask(
            tiny.SPEC.tokenizer,
            tiny.MEL,
            dataclasses.replace(RECIPE, align_at=(1,)),
            labelled,
            None,
            tmp_path,
        )
    known.losses(5, Draw(0, 0))
    assert never.labels == known.labels == {}
    assert not (tmp_path / "labels.npz").exists()


def test_words_that_nobody_can_say_leave_the_utterance_unlabelled(tmp_path: Path) -> None:
    strange = dataclasses.replace(tiny_corpus.utterances()[0], id="strange", text="blorfex, hello.")
    assert phones(strange.text, Lexicon.bundled()).unknown
    with torch.random.fork_rng(devices=[]):
        made = TokenizerTask(
            tiny.SPEC.tokenizer,
            tiny.MEL,
            dataclasses.replace(RECIPE, align_at=(0,)),
            [*tiny_corpus.utterances(), strange],
            None,
            tmp_path,
        )
    made.losses(0, Draw(0, 0))
    assert "strange" not in made.labels
    assert "ann-0" in made.labels


# ---- what is heard ----------------------------------------------------------------------------


def test_the_pitch_of_a_frame_is_about_the_mean_of_the_utterance() -> None:
    f0 = np.repeat([100.0, 200.0, 0.0], F0_PER_FRAME)
    f0[1] = 0  # one unvoiced value does not make a frame unvoiced
    pitch, voiced = frame_pitch(f0)
    assert voiced.tolist() == [1, 1, 0]
    half = np.log(2) / 2 / 0.2
    np.testing.assert_allclose(pitch, [-half, half, 0], atol=1e-5)
    assert pitch.dtype == voiced.dtype == np.float32


def test_the_pitch_of_silence_is_zero() -> None:
    pitch, voiced = frame_pitch(np.zeros(3 * F0_PER_FRAME))
    assert pitch.tolist() == voiced.tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_said_survives_the_disturbance(seed: int) -> None:
    u: Utterance = tiny_corpus.utterances()[8]
    clean = u.mel.astype(np.float32)
    before = clean.copy()
    changed = perturb(clean, np.random.default_rng(seed))
    assert np.array_equal(clean, before)  # the shard is not written to
    assert changed.shape == clean.shape and changed.dtype == np.float32
    assert changed.min() >= -11.5
    assert np.abs(changed - clean).mean() > 0.05
    level, other = clean.mean(1), changed.mean(1)
    assert np.corrcoef(level, other)[0, 1] > 0.5
