"""Repetition-aware sampling."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import seeded
from torch import Tensor

from voxkit.modules.ras import (
    Choice,
    Sampler,
    Terms,
    _likely,
    chosen,
    following,
    likely,
    multinomial,
    nucleus,
    repetition_aware,
)
from voxkit.spec import SamplingSpec

SAMPLING = SamplingSpec(temperature=1.0, top_p=0.8, top_k=3, repeat_window=4, repeat_limit=1)


def logits(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities).log()


class Draws:
    """Hands out chosen indices and keeps the weights it was given."""

    def __init__(self, *indices: int) -> None:
        self.indices, self.weights = list(indices), []

    def __call__(self, weights: Tensor) -> int:
        self.weights.append(weights)
        return self.indices.pop(0)


@pytest.mark.parametrize(
    "top_p, top_k, expected",
    [
        (0.8, 9, [1, 3, 0]),
        (0.8, 2, [1, 3]),
        (0.3, 9, [1]),
        (0.75, 9, [1, 3]),
        (1.0, 9, [1, 3, 0, 2]),
    ],
)
def test_the_nucleus_takes_tokens_while_those_before_sum_to_less(
    top_p: float, top_k: int, expected: list[int]
) -> None:
    ids, weights = nucleus(np.array([0.125, 0.5, 0.125, 0.25], np.float32), top_p, top_k)
    assert ids.tolist() == expected
    assert weights.tolist() == sorted(weights.tolist(), reverse=True)


def test_equal_probabilities_keep_their_order() -> None:
    ids, _ = nucleus(np.full(6, 1 / 6, np.float32), 0.9, 4)
    assert ids.tolist() == [0, 1, 2, 3]


def one_by_one(probabilities: np.ndarray, top_p: float, top_k: int) -> list[int]:
    """The nucleus as its definition says it."""
    left, taken, total = list(range(len(probabilities))), list[int](), np.float32(0)
    while left and len(taken) < top_k and (not taken or total < top_p):
        best = max(left, key=lambda i: (probabilities[i], -i))
        left.remove(best)
        taken.append(best)
        total += probabilities[best]
    return taken


def test_the_nucleus_is_that_of_its_definition_with_ties_and_what_cannot_be() -> None:
    rng = np.random.default_rng(0)
    for case in range(300):
        scores = rng.standard_normal(rng.integers(1, 60)) * rng.choice([0.1, 1.0, 30.0])
        if case % 3 == 0:
            scores = scores.round()
        scores[1:][rng.random(len(scores) - 1) < 0.3 * (case % 2)] = -np.inf
        odds = torch.from_numpy(scores).float().softmax(dim=0).numpy()
        top_p, top_k = rng.choice([0.0, 0.5, 0.8, 1.0]), int(rng.integers(1, 30))
        ids, weights = nucleus(odds, top_p, top_k)
        assert ids.tolist() == one_by_one(odds, top_p, top_k)
        assert np.array_equal(weights, odds[ids])


def test_a_token_not_said_lately_is_taken_from_the_nucleus() -> None:
    draw = Draws(1)
    assert repetition_aware(logits(0.5, 0.3, 0.2), [1, 2, 2, 2, 0], SAMPLING, draw) == 1
    assert len(draw.weights) == 1


def test_a_token_said_lately_is_drawn_again_from_all_others() -> None:
    draw = Draws(0, 2)
    assert repetition_aware(logits(0.5, 0.3, 0.1, 0.1), [0], SAMPLING, draw) == 2
    torch.testing.assert_close(draw.weights[1], torch.tensor([0.0, 0.6, 0.2, 0.2]))


def test_more_repeats_can_be_allowed() -> None:
    sampling = dataclasses.replace(SAMPLING, repeat_limit=2)
    assert repetition_aware(logits(0.9, 0.1), [0], sampling, Draws(0)) == 0
    assert repetition_aware(logits(0.9, 0.1), [0, 1, 0], sampling, Draws(0, 1)) == 1


def test_temperature_zero_is_greedy_and_draws_nothing() -> None:
    greedy = dataclasses.replace(SAMPLING, temperature=0.0)
    assert repetition_aware(logits(0.2, 0.5, 0.3), [1, 1], greedy, Draws()) == 1


def test_a_low_temperature_sharpens() -> None:
    draw = Draws(0)
    cold = dataclasses.replace(SAMPLING, temperature=0.5, top_p=1.0)
    repetition_aware(logits(0.6, 0.3, 0.1), [], cold, draw)
    expected = torch.tensor([0.36, 0.09, 0.01])
    torch.testing.assert_close(draw.weights[0], expected / expected.sum())


def test_a_forbidden_token_is_never_drawn() -> None:
    scores = logits(0.5, 0.3, 0.2).index_fill(0, torch.tensor([0]), -torch.inf)
    draw = multinomial(seeded(0))
    said: list[int] = []
    for _ in range(50):
        said.append(repetition_aware(scores, said, SAMPLING, draw))
    assert 0 not in said


def test_a_seed_gives_the_same_tokens() -> None:
    scores = torch.randn(50, generator=seeded(1))
    runs = [
        [repetition_aware(scores, [], SAMPLING, draw) for _ in range(20)]
        for draw in (multinomial(seeded(2)), multinomial(seeded(2)))
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


# ---- rows of several requests -----------------------------------------------------------------


def mixed(count: int) -> tuple[Tensor, list[Terms]]:
    """Logits of so many rows, with ties, on three kinds of terms."""
    scores = (8 * torch.randn(count, 400, generator=seeded(3))).round() / 4
    cold = dataclasses.replace(SAMPLING, temperature=0.7, top_k=25)
    greedy = dataclasses.replace(SAMPLING, temperature=0.0)
    kinds = [Terms(SAMPLING), Terms(cold, (3, 4, *range(300, 400))), Terms(greedy, (5,))]
    return scores, [kinds[row * 7 % 3] for row in range(count)]


def test_a_row_has_the_same_bits_in_any_company() -> None:
    scores, terms = mixed(17)
    for row, found in enumerate(likely(scores, terms)):
        (alone,) = likely(scores[row : row + 1], [terms[row]])
        assert np.array_equal(found.ids, alone.ids)
        assert np.array_equal(found.weights, alone.weights)
        assert torch.equal(found.scores, alone.scores)
        assert not set(found.ids.tolist()) & set(terms[row].forbidden)


def test_sorting_all_of_it_finds_the_same() -> None:
    """As is done on a GPU."""
    scores, _ = mixed(17)
    for top_k in (3, 25, 999):
        sampling = dataclasses.replace(SAMPLING, top_k=top_k)
        pairs = zip(*(_likely(scores, sampling, sort=sort) for sort in (False, True)), strict=True)
        for plain, sorted_first in pairs:
            assert np.array_equal(plain.ids, sorted_first.ids)
            assert np.array_equal(plain.weights, sorted_first.weights)
            assert torch.equal(plain.scores, sorted_first.scores)


def test_tokens_are_chosen_for_all_as_for_each_and_a_broken_row_breaks_no_other() -> None:
    scores, terms = mixed(9)
    scores[4] = torch.nan
    histories = [[int(scores[row].argmax())] for row in range(9)]  # so that some draw again

    def choices() -> list[Choice]:
        return [
            Sampler(t.sampling, multinomial(seeded(row))).choice(histories[row], t.forbidden)
            for row, t in enumerate(terms)
        ]

    made = chosen(scores, choices())
    assert isinstance(made[4], RuntimeError) or terms[4].sampling.temperature == 0
    for row, choice in enumerate(choices()):
        if row != 4:
            assert made[row] == following(scores[row], choice)


def test_what_is_certain_draws_nothing() -> None:
    assert following(logits(0.5, 0.5), Sampler(SAMPLING, Draws()).certain(1)) == 1
