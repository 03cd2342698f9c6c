"""Options refuse what no model could do, with the range in the sentence."""

from __future__ import annotations

import dataclasses

import pytest

from voxkit.errors import VoxkitError
from voxkit.options import WHOLE, Options

RANGES = [
    ("seed", 0, 2**63 - 1),
    ("speed", 0.25, 4.0),
    ("temperature", 0.0, 2.0),
    ("top_p", 0.01, 1.0),
    ("top_k", 1, 100_000),
    ("steps", 1, 100),
    ("guidance", 0.0, 10.0),
    ("sentence_pause_ms", 0.0, 10_000.0),
    ("first_hop", 1, WHOLE),
]


def test_every_number_has_a_range() -> None:
    assert {name for name, _, _ in RANGES} == {field.name for field in dataclasses.fields(Options)}


@pytest.mark.parametrize(("name", "low", "high"), RANGES)
def test_both_ends_of_a_range_are_inside(name: str, low: float, high: float) -> None:
    assert getattr(Options(**{name: low}), name) == low
    assert getattr(Options(**{name: high}), name) == high


@pytest.mark.parametrize(("name", "low", "high"), RANGES)
def test_a_value_outside_its_range_is_one_clear_sentence(
    name: str, low: float, high: float
) -> None:
    for value in (low - 1, high * 2 + 1, float("nan")):
        with pytest.raises(VoxkitError, match=rf"must be between {low:g} and ") as caught:
            Options(**{name: value})
        assert str(caught.value).count(". ") == 0
        assert str(caught.value).endswith(f"not {value:g}.")


def test_unsaid_wishes_are_left_to_the_model() -> None:
    options = Options()
    unsaid = (options.temperature, options.top_p, options.top_k, options.steps, options.guidance)
    assert unsaid == (None,) * 5


def test_options_are_values() -> None:
    assert Options(seed=3) == Options(seed=3)
    assert Options(seed=3) != Options(seed=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().seed = 1  # type: ignore[misc]
