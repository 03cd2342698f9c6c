"""Training of the token generator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny
import tiny_corpus
import torch
from torch.nn import functional as F

from voxkit.errors import TrainingError
from voxkit.train.encode import Encoded
from voxkit.train.generator import GeneratorRecipe, GeneratorTask
from voxkit.train.loop import Draw

RECIPE = GeneratorRecipe(
    positions=200,
    token_noise=0.0,
    attention=0.5,
    attention_late=0.1,
    drop_control=0.0,
    repeats={"real": 2, "synthetic": 1},
)
STEPS = 1000  # of the loop
LATE = 300  # after the first steps, whose tokens are noisier


def task(
    recipe: GeneratorRecipe = RECIPE, encoded: tuple[Encoded, ...] | None = None
) -> GeneratorTask:
    with torch.random.fork_rng(devices=[]):
        made = GeneratorTask(tiny.SPEC, recipe, encoded or tiny_corpus.encoded(), STEPS)
    tiny.stir(made.model)
    return made


def test_the_attention_counts_less_after_half_of_the_steps() -> None:
    made = task()
    weights = []
    for step in (STEPS // 2, STEPS // 2 + 1):
        found = made.losses(step, Draw(0, 0))
        share = (found["loss"].detach() - found["cross_entropy"]) / found["attention"]
        weights.append(share.item())
    assert weights == pytest.approx([RECIPE.attention, RECIPE.attention_late], rel=1e-3)


def rows_of(made: GeneratorTask, *which: int) -> list:
    return [made.items[i] for i in which]


def test_a_set_is_shown_as_often_as_the_recipe_says() -> None:
    made = task()
    shown = [e.utterance.id for e, _ in made.items]
    assert sorted(shown) == sorted(
        [f"{s}-{n}" for s in ("ann", "bob") for n in range(3)] * 2
        + [f"flite-x-{n}" for n in range(3)]
    )
    assert {e.utterance.id for e, _ in made.held_out} == {"ann-3", "bob-3", "flite-x-3"}


def test_an_epoch_shows_every_piece_once_in_batches_that_fit() -> None:
    made = task()
    batches = made._batches(np.random.default_rng(0))
    assert sorted(i for batch in batches for i in batch) == list(range(len(made.items)))
    for batch in batches:
        longest = max(len(p.spoken) + len(p.symbols) for _, p in rows_of(made, *batch))
        assert longest * len(batch) <= RECIPE.positions


def test_what_a_step_shows_does_not_depend_on_the_steps_before() -> None:
    steps = [LATE + n for n in range(0, 40, 7)]
    made = task()
    in_order = [made.losses(step, Draw(1, step))["loss"].item() for step in steps]
    for step, wanted in list(zip(steps, in_order, strict=True))[::-1]:
        assert task().losses(step, Draw(1, step))["loss"].item() == wanted


def test_training_sees_what_speaking_sees() -> None:
    """The logits of whole padded sequences equal those of the text read, then token by token."""
    made = task()
    model = made.model.eval()
    rows = rows_of(made, 0, 8, 14)
    assert len({len(p.symbols) for _, p in rows}) > 1
    lengths = [len(p.symbols) for _, p in rows]
    longest = max(len(p.spoken) for _, p in rows)
    symbols = torch.zeros(3, max(lengths), dtype=torch.long)
    heard = torch.zeros(3, longest, dtype=torch.long)
    for b, (e, p) in enumerate(rows):
        symbols[b, : lengths[b]] = torch.from_numpy(p.symbols.astype(np.int64))
        heard[b, : len(p.spoken)] = torch.from_numpy(e.tokens.astype(np.int64))
    speakers = torch.from_numpy(np.stack([e.speaker for e, _ in rows]))
    controls = torch.from_numpy(np.stack([e.controls for e, _ in rows]))
    given = torch.ones(3, 4)
    logits, attention = made._forward(
        speakers, controls, given, symbols, torch.tensor(lengths), heard
    )
    table, said = model.tables()
    for b, (e, p) in enumerate(rows):
        told = speakers[b : b + 1], controls[b : b + 1], given[b : b + 1]
        hidden, cache = tiny.start(model, *told, symbols[b : b + 1, : lengths[b]])
        outputs = [hidden]
        for token in e.tokens[: len(p.spoken)]:
            hidden, cache = model.transformer(table[int(token)][None, None], cache)
            outputs.append(hidden[0])
        wanted = F.linear(torch.cat(outputs), said)
        # 1e-4: sums of other lengths are added up in another order
        torch.testing.assert_close(logits[b, : len(wanted)], wanted, atol=1e-4, rtol=0)
        assert attention[b, :, lengths[b] :].sum() < 1e-6  # padding is not looked at
    assert (attention.sum(-1) <= 1 + 1e-5).all()


def test_padding_changes_no_loss() -> None:
    made = task()
    by_length = sorted(made.items, key=lambda row: len(row[1].spoken))
    short, long = by_length[0], by_length[-1]
    assert len(short[1].spoken) < len(long[1].spoken)
    for group in made.by_speaker.values():
        del group[1:]  # one recording a speaker, so that which one is drawn does not matter
    alone = [made._losses([row], Draw(0, 0), 0.0) for row in (short, long)]
    both = made._losses([short, long], Draw(0, 0), 0.0)
    weights = [len(row[1].spoken) + 1 for row in (short, long)]
    mean = sum(w * a[0] for w, a in zip(weights, alone, strict=True)) / sum(weights)
    torch.testing.assert_close(both[0], mean, atol=1e-4, rtol=0)


def test_the_attention_loss_counts_less_in_the_second_half() -> None:
    made = task()
    for step, weight in ((LATE, 0.5), (600, 0.1)):
        losses = made.losses(step, Draw(0, step))
        total = losses["cross_entropy"] + weight * losses["attention"]
        torch.testing.assert_close(losses["loss"], total)


def test_noise_replaces_heard_tokens_but_never_targets() -> None:
    made = task()
    rows = rows_of(made, 0, 1)
    clean = made._losses(rows, Draw(0, 0), 0.0)[0]
    noisy = made._losses(rows, Draw(0, 0), 0.5)[0]
    assert clean != noisy
    made.model.heard.data.zero_()
    made.model.heard_own.data.zero_()  # now nobody hears the difference
    clean = made._losses(rows, Draw(0, 0), 0.0)[0]
    torch.testing.assert_close(made._losses(rows, Draw(0, 0), 0.5)[0], clean)


def test_gradients_reach_every_parameter() -> None:
    made = task()
    cross_entropy, attention = made._losses(made.items, Draw(0, 0), 0.0)
    (cross_entropy + attention).backward()
    assert tiny.without_gradient(made.model) == []


def test_the_generator_learns_one_batch_by_heart() -> None:
    made = task()
    rows = rows_of(made, 0, 6)
    first = made._losses(rows, Draw(0, 0), 0.0)
    tiny.fit(made.model, lambda: sum(made._losses(rows, Draw(0, 0), 0.0)), steps=50, lr=0.01)
    last = made._losses(rows, Draw(0, 0), 0.0)
    assert last[0] < 0.2 * first[0]
    assert last[1] < 0.4 * first[1]  # the taught head looks where the voice is


def test_evaluation_tells_real_and_synthetic_speech_apart() -> None:
    with torch.no_grad():
        figures = task().evaluate()
    assert set(figures) == {
        f"{what}_{kind}"
        for what in ("cross_entropy", "attention")
        for kind in ("real", "synthetic")
    }


def test_without_aligned_text_there_is_nothing_to_learn() -> None:
    mute = tuple(dataclasses.replace(e, pieces=()) for e in tiny_corpus.encoded())
    with pytest.raises(TrainingError, match="No aligned text"):
        task(encoded=mute)
    with pytest.raises(TrainingError, match="No aligned text"):
        task(dataclasses.replace(RECIPE, repeats={"other": 1}))
