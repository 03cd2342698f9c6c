"""A mix of voices lies between them, is read from a name, and says what it is made of."""

from __future__ import annotations

import dataclasses

import fake_engine
import numpy as np
import pytest

from voxkit.errors import VoiceError
from voxkit.mixing import is_mix, mixed, read_mix


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        ("ann(2)+bob(1)", {"ann": 2 / 3, "bob": 1 / 3}),
        ("ann+bob", {"ann": 0.5, "bob": 0.5}),
        (" ann ( 3 ) + bob ", {"ann": 0.75, "bob": 0.25}),
        ("ann(0.5)+bob(0.5)+ann(1)", {"ann": 0.75, "bob": 0.25}),
        ("ann(7)", {"ann": 1.0}),
        ("größe+用户-2", {"größe": 0.5, "用户-2": 0.5}),
    ],
)
def test_names_and_weights_are_read(words: str, weights: dict[str, float]) -> None:
    assert is_mix(words)
    assert dict(read_mix(words)) == pytest.approx(weights)


@pytest.mark.parametrize(
    "words",
    [
        "ann(2)+",
        "+",
        "ann(0)+bob",
        "ann(-1)+bob",
        "ann(x)+bob",
        "ann(1e9)+bob",
        "ann(nan)",
        "ann((2))",
    ]
    + ["ann(2", "ann)2(", "a b+c", "ann(٣)+bob", "ann(99999)+bob", "../x+y"],
)
def test_what_is_no_mix_is_refused_in_one_sentence(words: str) -> None:
    with pytest.raises(VoiceError, match=r"is no mix of voices: write it like ann\(2\)\+bob\(1\)"):
        read_mix(words)


def test_too_many_voices_are_refused() -> None:
    with pytest.raises(VoiceError, match="mix at most 16"):
        read_mix("+".join(f"v{n}" for n in range(17)))


def test_a_mix_lies_between_its_voices() -> None:
    ann = dataclasses.replace(
        fake_engine.voice("ann", 200.0),
        speaker=np.array([1, 0], np.float32),
        pitch_factor=1.2,
        reading_pitch_factor=1.1,
        timbre=np.full(80, 0.5, np.float32),
    )
    bob = dataclasses.replace(fake_engine.voice("bob", 100.0), speaker=np.array([0, 1], np.float32))
    mix = mixed([(ann, 0.5), (bob, 0.5)], name="ann+bob")
    assert mix.speaker == pytest.approx([0.5**0.5, 0.5**0.5])
    assert mix.attributes["pitch_hz"] == pytest.approx(20_000**0.5)  # pitches are ratios
    assert mix.pitch_factor == pytest.approx(1.2**0.5)
    assert mix.reading_pitch_factor == pytest.approx(1.1**0.5)
    assert mix.timbre is not None
    assert mix.timbre == pytest.approx(np.full(80, 0.25))
    nearer = mixed([(ann, 0.9), (bob, 0.1)], name="ann(9)+bob")
    assert nearer.speaker[0] > 0.99


def test_the_prompt_is_the_heaviest_voices_and_no_recording_pretends_to_be_the_mix() -> None:
    ann, bob = fake_engine.voice("ann"), fake_engine.voice("bob")
    bob = dataclasses.replace(bob, tokens=np.arange(2), mel=np.ones((80, 4), np.float32))
    mix = mixed([(ann, 0.4), (bob, 0.6)], name="mix")
    assert np.array_equal(mix.tokens, bob.tokens)
    assert np.array_equal(mix.mel, bob.mel)
    assert mix.reference is None


def test_licences_consents_and_parts_are_kept() -> None:
    ann = dataclasses.replace(fake_engine.voice("ann"), licence="CC0", consent="yes")
    bob = dataclasses.replace(fake_engine.voice("bob"), licence="CC BY 4.0")
    mix = mixed([(ann, 0.5), (bob, 0.5)], name="mix")
    assert (mix.licence, mix.consent) == ("CC0; CC BY 4.0", "yes")
    assert mix.creation == {"how": "mix", "of": "ann(0.5)+bob(0.5)"}


def test_a_mix_of_many_voices_with_much_to_say_of_them_fits_and_names_each() -> None:
    names = [f"{'x' * 60}{n}" for n in range(16)]
    parts = [
        dataclasses.replace(
            fake_engine.voice(name), consent=f"{name} agreed. " + "x" * 4_000, licence=f"L {name}"
        )
        for name in names
    ]
    mix = mixed([(part, 1 / 16) for part in parts], name="+".join(names))
    for said in (mix.consent, mix.licence, mix.description, mix.creation["of"]):
        assert all(name in str(said) for name in names)
    assert mix.consent is not None
    assert 19_000 < len(mix.consent) <= 20_000
    assert mix.name.endswith("…")
    again = mixed([(mix, 0.5), (parts[0], 0.5)], name="more")
    assert names[0] in str(again.consent)


def test_voices_of_two_models_cannot_be_mixed() -> None:
    other = dataclasses.replace(fake_engine.voice("bob"), made_by="other:1")
    with pytest.raises(VoiceError, match="voices of different models"):
        mixed([(fake_engine.voice("ann"), 0.5), (other, 0.5)], name="mix")


def test_opposites_leave_nothing_to_speak_with() -> None:
    ann = fake_engine.voice("ann")
    anti = dataclasses.replace(ann, name="anti", speaker=-ann.speaker)
    with pytest.raises(VoiceError, match="opposites"):
        mixed([(ann, 0.5), (anti, 0.5)], name="ann+anti")
