"""A portrait names what stands out, in words that a design understands."""

from __future__ import annotations

import numpy as np
import pytest

from voxkit.library import BUILTIN_FOLDER
from voxkit.portrait import Portrait, portray
from voxkit.traits import TRAITS, Heard
from voxkit.voice_space import FILE, GENDERS, Gender, load_space, untransformed
from voxkit.voice_wish import read_wish

SPACE = load_space(BUILTIN_FOLDER.parent / FILE)


def somebody(gender: Gender, **off: float) -> Portrait:
    """Portray somebody `off` standard deviations from the mean of the gender."""
    row = SPACE.means[GENDERS.index(gender)].copy()
    vector = SPACE.centre + row[len(TRAITS) :] @ SPACE.basis
    spread = np.sqrt(np.diag(SPACE.covariance))
    for name, value in off.items():
        row[TRAITS.index(name)] += value * spread[TRAITS.index(name)]
    heard = Heard(untransformed(row[: len(TRAITS)]), vector.astype(np.float32))
    return portray(heard, SPACE, [("other", -vector), ("self", vector)])


def test_somebody_in_the_middle_is_plain() -> None:
    assert somebody("female").words == "a woman, neither high nor deep"
    assert somebody("male").words == "a man, neither high nor deep"
    assert somebody("female").femininity > 0.9
    assert [name for name, _ in somebody("male").nearest] == ["self", "other"]


@pytest.mark.parametrize(
    ("off", "words"),
    [
        ({"pitch_hz": -0.9}, "a little deep"),
        ({"pitch_hz": -1.5}, "deep"),
        ({"clearness_db": -2.2}, "very hoarse"),
        ({"syllables_s": 1.3, "pitch_range_st": -1.3}, "monotone, fast"),
        ({"brightness_db": 1.4, "energy_db": -1.4}, "bright, thin"),
    ],
)
def test_what_stands_out_is_named_by_degree(off: dict[str, float], words: str) -> None:
    portrait = somebody("male", **off)
    assert portrait.words.partition(", ")[2] == words
    for name, value in off.items():
        assert portrait.deviations[name] == pytest.approx(value, abs=0.01)


def test_a_design_understands_every_word_of_a_portrait() -> None:
    for gender in GENDERS:
        for name in TRAITS:
            for value in (-2.5, -1.5, -0.8, 0.8, 1.5, 2.5):
                words = somebody(gender, **{name: value}).words.replace("neither high nor deep", "")
                wish = read_wish(words)
                assert (wish.ignored, wish.styles, wish.gender) == ((), (), gender), words
                if name == "clearness_db":
                    assert wish.traits[name] * value > 0


def test_signs_of_age_are_weighed() -> None:
    old = somebody("male", clearness_db=-2.0, syllables_s=-1.5)
    assert old.words.startswith("an old man")
    assert old.age_proxy > 1.2 > somebody("male").age_proxy
