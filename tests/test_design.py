"""A designed voice is one of many that fit its words, always the same for a seed, ready to use."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import tiny

import voxkit.design
from voxkit.audio import Audio
from voxkit.design import SAMPLE, design, drawn, places
from voxkit.options import Options
from voxkit.traits import TRAITS, Heard, measure_traits
from voxkit.voice import Description, Voice
from voxkit.voice_space import GENDERS, VoiceSpace, fit, untransformed
from voxkit.voice_wish import read_wish

RATE = 8_000
IS_HEARD_AS: Any = voxkit.design._is_heard_as


@pytest.fixture(scope="module")
def space() -> VoiceSpace:
    rng = np.random.default_rng(0)
    women = np.arange(60) % 2 == 0
    traits = rng.normal([0, 3, 1.4, -36, -22, 10], [0.15, 1, 0.1, 2, 5, 3], (60, 6))
    traits[:, 0] += np.where(women, np.log(190), np.log(115))
    vectors = rng.standard_normal((60, tiny.SPEC.speaker.embedding))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return fit(traits, vectors, women, made_by=tiny.engine().fingerprint, directions=6)


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the voices that come next sound like the gender asked for; at the end, they do."""
    given: list[bool] = []
    monkeypatch.setattr("voxkit.design._is_heard_as", lambda *_: given.pop(0) if given else True)
    return given


class Off:
    """A speaker a fifth too high, with an ear that knows it."""

    def __init__(self, heard_hz: float) -> None:
        self.heard_hz, self.spoken = heard_hz, list[Voice]()

    def speak(self, text: str, voice: Voice, options: Options) -> Audio:
        assert text == SAMPLE
        self.spoken.append(voice)
        return tiny.tone(150.0, 3.0, RATE, seed=options.seed)

    def describe(self, audio: Audio, text_ids: Any) -> Description:
        speaker = np.ones(2, np.float32)
        mel = np.zeros((16, 4), np.float32)
        return Description(np.arange(2), mel, speaker, {"pitch_hz": self.heard_hz})

    def f0(self, audio: Audio) -> np.ndarray:
        return np.zeros(0)


def made(space: VoiceSpace, words: str, seed: int, heard_hz: float = 150.0) -> Voice:
    speaker = Off(heard_hz)
    return design(read_wish(words), space, speaker, speaker, tiny.MEL, seed=seed, name="opa")


@pytest.mark.parametrize("first", [0, 1, 2, 3, 4, 1001, 2**62])
def test_seeds_in_a_row_lie_far_apart(first: int) -> None:
    near = [places(first + i) for i in range(8)]
    formants, pitches = zip(*near, strict=True)
    assert all(0 <= p < 1 for p in pitches)
    gaps = [abs(a - b) for a, b in itertools.combinations(formants[:4], 2)]
    assert min(gaps) == pytest.approx(1 / 3)
    assert all(formants[i] == formants[i + 4] for i in range(4))
    assert min(abs(pitches[i] - pitches[i + 4]) for i in range(4)) > 0.3


def test_one_seed_is_one_voice_and_another_seed_another(space: VoiceSpace) -> None:
    one, same, other = (made(space, "an old man, deep", seed) for seed in (3, 3, 4))
    assert np.array_equal(one.speaker, same.speaker)
    assert (one.pitch_factor, one.rate_factor) == (same.pitch_factor, same.rate_factor)
    assert one.speaker @ other.speaker < 0.9
    assert one.formant_factor != other.formant_factor


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_who_does_not_sound_as_asked_is_drawn_again_nearer_to_the_middle(
    space: VoiceSpace, answers: list[bool], tries: int
) -> None:
    first = made(space, "a woman", 2)
    middle = np.exp(space.means[GENDERS.index("female")][0])
    answers += [False] * tries
    voice = made(space, "a woman", 2)
    assert not answers  # and after the last nobody asks again
    assert not np.array_equal(voice.speaker, first.speaker)
    off = [abs(np.log(v.attributes["pitch_hz"] / middle)) for v in (voice, first)]
    assert off[0] == pytest.approx((0.5 if tries == 1 else 0.0) * off[1])
    assert abs(np.log(voice.formant_factor)) < abs(np.log(first.formant_factor))
    answers += [False]
    assert made(space, "deep", 2).creation == made(space, "deep", 2).creation
    assert answers  # where no gender was asked for, none is listened for


def test_a_gender_is_heard_from_traits_and_speaker(
    space: VoiceSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure = IS_HEARD_AS
    for gender, other in (("female", "male"), ("male", "female")):
        row = space.means[GENDERS.index(gender)]
        traits = untransformed(row[: len(TRAITS)])
        speaker = space.centre + row[len(TRAITS) :] @ space.basis
        monkeypatch.setattr("voxkit.design.measure_traits", lambda *_: Heard(traits, speaker))  # noqa: B023
        clip = tiny.tone(150.0, 1.0, RATE, seed=0)
        assert sure(gender, clip, space, None, tiny.MEL)
        assert not sure(other, clip, space, None, tiny.MEL)


def test_what_the_model_misses_of_the_pitch_becomes_a_factor(space: VoiceSpace) -> None:
    voice = made(space, "a man, 100 Hz", 0, heard_hz=125.0)
    assert voice.attributes["pitch_hz"] == pytest.approx(100, rel=0.15)
    assert voice.pitch_factor == pytest.approx(voice.attributes["pitch_hz"] / 125.0)
    assert made(space, "a woman, 300 Hz", 0, heard_hz=60.0).pitch_factor == 1.8  # no further


def test_the_words_move_pitch_and_rate(space: VoiceSpace) -> None:
    def median(words: str, name: str) -> float:
        voices = [drawn(read_wish(words), space, tiny.MEL, seed=s, name="x") for s in range(9)]
        return float(np.median([{**v.attributes, "rate": v.rate_factor}[name] for v in voices]))

    pitches = [
        median(f"a man, {w}", "pitch_hz") for w in ("very deep", "deep", "high", "very high")
    ]
    assert pitches == sorted(pitches)
    rates = [median(f"a man, {w}", "rate") for w in ("very slow", "slow", "fast", "very fast")]
    assert rates == sorted(rates)


def test_without_a_gender_deep_voices_are_mostly_mens(space: VoiceSpace) -> None:
    def men(words: str) -> int:
        voices = [drawn(read_wish(words), space, tiny.MEL, seed=s, name="x") for s in range(30)]
        return sum(voice.creation["gender"] == "male" for voice in voices)

    assert men("very deep") > 25
    assert men("very high") < 5


def test_a_designed_voice_says_where_it_comes_from_and_has_a_sample(space: VoiceSpace) -> None:
    voice = made(space, "an old man", 7)
    assert voice.creation["words"] == "an old man"
    assert voice.creation["seed"] == 7
    assert voice.description == "an old man"
    assert voice.transcript == SAMPLE
    assert voice.reference is not None
    assert len(voice.tokens) == 0


def test_an_engine_speaks_with_a_voice_that_has_no_reference(space: VoiceSpace) -> None:
    voice = drawn(read_wish("a woman"), space, tiny.MEL, seed=0, name="x")
    samples = tiny.engine().speak("Hello there.", voice).samples
    assert len(samples) > 0
    higher = dataclasses.replace(voice, formant_factor=1.2)
    assert not np.array_equal(tiny.engine().speak("Hello there.", higher).samples, samples)


def test_traits_are_measured_of_a_recording() -> None:
    heard = measure_traits(tiny.tone(150.0, 3.0), Ear(), tiny.MEL)
    assert set(heard.traits) == set(TRAITS)
    assert heard.traits["syllables_s"] == pytest.approx(4.0, abs=1.0)  # swells four times a second
    assert heard.traits["clearness_db"] > 10
    noisy = tiny.tone(150.0, 3.0)
    hiss = 0.1 * np.random.default_rng(0).standard_normal(len(noisy.samples))
    rough = Audio((noisy.samples + hiss).astype(np.float32), noisy.sample_rate)
    assert measure_traits(rough, Ear(), tiny.MEL).traits["clearness_db"] < 10


class Ear:
    """The tiny model's ear, told the pitch."""

    def describe(self, audio: Audio, text_ids: Any) -> Description:
        heard = tiny.engine().parts.tokenizer.describe(audio, None)
        told = {"pitch_hz": 150.0, "pitch_range_st": 1.0, "energy_db": -30.0}
        return dataclasses.replace(heard, attributes=told)

    def f0(self, audio: Audio) -> np.ndarray:
        return np.full(len(audio.samples) // 40, 150.0)
