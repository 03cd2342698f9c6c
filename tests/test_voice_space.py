"""The space of voices gives who is asked for, many of them, and survives the disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from voxkit.errors import ModelError
from voxkit.traits import TRAITS
from voxkit.voice_space import GENDERS, VoiceSpace, fit, load_space, save_space, untransformed

PITCH = TRAITS.index("pitch_hz")


@pytest.fixture(scope="module")
def space() -> VoiceSpace:
    """Two hundred people whose first speaker number follows their pitch."""
    rng = np.random.default_rng(0)
    women = np.arange(200) % 2 == 0
    traits = rng.normal([0, 3, 1.4, -36, -22, 10], [0.15, 1, 0.1, 2, 5, 3], (200, 6))
    traits[:, PITCH] += np.where(women, np.log(190), np.log(115))
    vectors = rng.standard_normal((200, 16))
    vectors[:, 0] += 12 * (traits[:, PITCH] - np.log(146))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return fit(traits, vectors, women, made_by="voxkit-tiny:1", directions=8)


def test_who_is_drawn_has_what_was_asked_for(space: VoiceSpace) -> None:
    rng = np.random.default_rng(1)
    pitches = {
        asked: [space.draw("male", {"pitch_hz": asked}, rng).traits["pitch_hz"] for _ in range(40)]
        for asked in (-2.0, 0.0, 2.0)
    }
    low, middle, high = (float(np.median(pitches[asked])) for asked in (-2.0, 0.0, 2.0))
    assert middle == pytest.approx(115, rel=0.06)
    assert (low / middle, high / middle) == pytest.approx((0.75, 1.33), rel=0.1)


def test_the_speaker_vector_goes_with_the_traits(space: VoiceSpace) -> None:
    rng = np.random.default_rng(1)
    low, high = (
        np.mean([space.draw("male", {"pitch_hz": z}, rng).speaker[0] for _ in range(40)])
        for z in (-2.0, 2.0)
    )
    assert high - low > 0.2
    person = space.draw("female", {}, rng)
    assert np.linalg.norm(person.speaker) == pytest.approx(1.0, abs=1e-5)
    assert person.speaker.dtype == np.float32


def test_one_generator_state_gives_one_person_and_others_differ(space: VoiceSpace) -> None:
    a, b, c = (space.draw("male", {}, np.random.default_rng(s)).speaker for s in (5, 5, 6))
    assert np.array_equal(a, b)
    assert a @ c < 0.9


def test_nobody_lies_further_out_than_the_people_it_was_learnt_from(space: VoiceSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        traits = space.draw("male", {"pitch_hz": 50.0, "clearness_db": -50.0}, rng).traits
        off = space.deviations("male", traits)
        assert all(abs(value) <= 2.6 for value in off.values())


def test_women_and_men_are_told_apart(space: VoiceSpace) -> None:
    for gender, row in zip(GENDERS, space.means, strict=True):
        vector = space.centre + row[len(TRAITS) :] @ space.basis
        likely = space.femininity(untransformed(row[: len(TRAITS)]), vector)
        assert (likely > 0.95) is (gender == "female")
        assert (likely < 0.05) is (gender == "male")


def test_a_space_survives_the_disk(space: VoiceSpace, tmp_path: Path) -> None:
    path = tmp_path / "voice_space.safetensors"
    save_space(space, path)
    back = load_space(path)
    assert (back.made_by, back.speakers) == ("voxkit-tiny:1", 200)
    one = space.draw("male", {}, np.random.default_rng(0))
    two = back.draw("male", {}, np.random.default_rng(0))
    assert one.speaker @ two.speaker > 0.99  # what float16 leaves


def test_damaged_and_missing_spaces_name_the_way_out(space: VoiceSpace, tmp_path: Path) -> None:
    path = tmp_path / "voice_space.safetensors"
    with pytest.raises(ModelError, match="is missing: make it with `voxkit train voices`"):
        load_space(path)
    save_space(space, path)
    whole = load_file(path)
    save_space(dataclasses.replace(space, covariance=space.covariance * np.nan), path)
    with pytest.raises(ModelError, match="not finite"):
        load_space(path)
    save_space(dataclasses.replace(space, means=space.means[:1]), path)
    with pytest.raises(ModelError, match="do not fit together"):
        load_space(path)
    for data in (b"", b"x" * 100):
        path.write_bytes(data)
        with pytest.raises(ModelError, match="is damaged"):
            load_space(path)
    save_file(whole, path)  # without what it says about itself
    with pytest.raises(ModelError, match="is damaged"):
        load_space(path)
