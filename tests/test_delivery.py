"""A sentence's delivery: the style, the markup and the voice come together in exact numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

from voxkit.delivery import Cast, Delivery, Wishes, deliver
from voxkit.options import Options
from voxkit.prosody import NATURAL, Prosody
from voxkit.style import NEUTRAL, PLAIN, Manner, Style
from voxkit.text import Sentence
from voxkit.voice import Voice


def of(style: Style = NEUTRAL, manner: Manner = PLAIN, **facts: bool) -> Delivery:
    sentence = Sentence("Hello.", facts.get("ends", False), "Hello.", facts.get("cut", False))
    sentence = Sentence(sentence.text, sentence.paragraph_end, "Hello.", sentence.cut, manner)
    return deliver(sentence, wishes(style), "native")


def wishes(style: Style, voice: Voice | None = None, speed: float = 1.0) -> Wishes:
    """A request of nobody else's."""
    return Wishes(Options(speed=speed), style, Cast(voice or tiny.voice(), stranger))


def stranger(name: str) -> Voice:
    return tiny.voice(1, name=name)


def test_nothing_asked_for_changes_nothing() -> None:
    plain = of()
    assert (plain.prosody.speed, plain.gain, plain.instruction) == (1.0, 1.0, None)
    assert plain.prosody.is_natural
    assert NATURAL.is_natural


def test_rate_and_pitch_of_style_markup_and_voice_multiply() -> None:
    sentence = Sentence("Hello.", False, "Hello.", manner=Manner(rate=1.5, pitch_st=4.0))
    voice = tiny.voice(pitch_factor=1.1, reading_pitch_factor=1.2, rate_factor=0.9)
    style = Style(rate=0.8, pitch_st=8.0, said=("rate", "pitch_st"))
    made = deliver(sentence, wishes(style, voice, speed=2.0), "native")
    assert made.prosody.speed == pytest.approx(2.0 * 0.8 * 1.5 * 0.9)
    assert made.prosody.factor == pytest.approx(2.0 * 1.1 * 1.2)


def test_pitch_is_spread_about_the_median_of_the_voice() -> None:
    assert of(Style(pitch_range=0.5)).prosody == Prosody(spread=0.5, centre_hz=150.0)


@pytest.mark.parametrize(
    ("facts", "pause_ms"), [({}, 200.0), ({"ends": True}, 400.0), ({"cut": True}, 50.0)]
)
def test_pauses_grow_with_the_style(facts: dict[str, bool], pause_ms: float) -> None:
    assert of(**facts).pause_ms == pause_ms
    assert of(Style(pause=1.5), **facts).pause_ms == 1.5 * pause_ms


def test_a_model_that_knows_the_request_is_told_in_words() -> None:
    sentence = Sentence("Hello.", False, "Hello.")
    made = deliver(sentence, wishes(Style(emotion="sad")), "cosyvoice3")
    assert made.instruction == "请非常伤心地说一句话。"


@pytest.mark.parametrize("energy_db", [-20.0, -3.0, 3.0])
def test_loudness_changes_by_its_decibels(energy_db: float) -> None:
    quiet = 0.2 * np.sin(np.arange(1000, dtype=np.float32))
    made = of(Style(energy_db=energy_db)).level(quiet)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, quiet * 10 ** (energy_db / 20), rtol=1e-5)


def test_what_is_made_louder_never_clips() -> None:
    loud = np.linspace(-1, 1, 999, dtype=np.float32)
    made = of(Style(energy_db=12.0)).level(loud)
    assert np.abs(made).max() <= 1.0
    assert (np.diff(made) >= 0).all()
    assert len(np.unique(made[np.abs(loud) < 0.5])) == (np.abs(loud) < 0.5).sum()  # no flat top


def test_without_a_change_of_loudness_only_what_is_near_full_scale_is_bent() -> None:
    samples = np.array([-1.5, -0.9, -0.8, 0.0, 0.5, 1.2], np.float32)
    made = of().level(samples)
    assert (made[2:5] == samples[2:5]).all()
    assert (np.abs(made[[0, 1, 5]]) > 0.8).all()
    assert (np.diff(made) > 0).all()
    assert np.abs(made).max() < 1.0


def test_a_pause_that_is_written_is_kept_to_the_sample_in_any_style() -> None:
    sentence = Sentence("Hello.", False, "Hello.", pause_ms=500.0)
    assert deliver(sentence, wishes(Style(pause=2.0)), "native").pause_ms == 500.0


def test_a_voice_of_a_cast_is_looked_for_once() -> None:
    asked: list[str] = []

    def find(name: str) -> Voice:
        asked.append(name)
        return tiny.voice(1, name=name)

    cast = Cast(tiny.voice(), find)
    assert [cast.voice(n).name for n in ("bert", None, "bert")] == ["bert", "anna", "bert"]
    assert asked == ["bert"]
