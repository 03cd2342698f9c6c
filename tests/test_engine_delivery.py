"""The engine delivers: style, markup inside a text, voices that take turns, exact pauses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny

from voxkit.audio import Audio
from voxkit.engine import Engine
from voxkit.errors import VoiceError
from voxkit.markup import parse
from voxkit.options import Options
from voxkit.style import NEUTRAL, Style
from voxkit.voice import Voice

OPTIONS = Options(seed=3, sentence_pause_ms=100.0)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny.engine()


def find(name: str) -> Voice:
    if name != "bert":
        raise VoiceError(f"There is no voice {name!r}.")
    return tiny.voice(1, name="bert")


def say(engine: Engine, marked: str, style: Style = NEUTRAL) -> Audio:
    script = engine.prepare(parse(marked))
    return engine.speak(script, tiny.voice(), OPTIONS, style=style, voices=find)


def test_plain_text_sounds_the_same_with_markup_and_a_neutral_style(engine: Engine) -> None:
    plain = engine.speak("Hello there. How are you?", tiny.voice(), OPTIONS)
    assert np.array_equal(say(engine, "Hello there. How are you?").samples, plain.samples)


def test_a_slow_style_lengthens_speech_by_its_factor(engine: Engine) -> None:
    plain, slow = say(engine, "Hello."), say(engine, "Hello.", Style(rate=0.8))
    assert slow.seconds == pytest.approx(plain.seconds / 0.8, abs=tiny.HOP / tiny.RATE)


def test_a_change_of_pitch_or_loudness_keeps_every_duration(engine: Engine) -> None:
    plain = say(engine, "Hello.")
    for style in (Style(pitch_st=3.0), Style(pitch_range=0.5), Style(energy_db=-6.0)):
        made = say(engine, "Hello.", style)
        assert len(made.samples) == len(plain.samples)
        assert not np.array_equal(made.samples, plain.samples)


def test_what_is_softer_is_softer_by_its_decibels(engine: Engine) -> None:
    plain, soft = say(engine, "Hello."), say(engine, "Hello.", Style(energy_db=-6.0))
    np.testing.assert_allclose(soft.samples, plain.samples * 10**-0.3, atol=1e-6)


def test_a_change_inside_a_text_changes_only_that_part(engine: Engine) -> None:
    plain, marked = say(engine, "Yes. No."), say(engine, "Yes. [volume:-6]No.[/volume]")
    yes = len(say(engine, "Yes.").samples)
    assert np.array_equal(marked.samples[:yes], plain.samples[:yes])
    np.testing.assert_allclose(marked.samples[yes:], plain.samples[yes:] * 10**-0.3, atol=1e-6)


def test_written_pauses_are_exact_to_the_sample_before_between_and_after(engine: Engine) -> None:
    plain, silence = say(engine, "Yes. No.").samples, round(0.25 * tiny.RATE)
    made = say(engine, "[pause:250ms]Yes. [pause:250ms]No.[pause:250ms]").samples
    usual = round(0.1 * tiny.RATE)
    assert len(made) == len(plain) + 3 * silence - usual
    assert not made[:silence].any()
    assert not made[-silence:].any()


def test_a_style_with_longer_pauses_lengthens_those_between_sentences(engine: Engine) -> None:
    plain, calm = say(engine, "Yes. No."), say(engine, "Yes. No.", Style(pause=1.5))
    assert len(calm.samples) - len(plain.samples) == round(0.05 * tiny.RATE)


def test_voices_take_turns(engine: Engine) -> None:
    def nth(text: str, first: str, voice: Voice) -> np.ndarray:
        """What `text` has beyond `first`, with which it begins."""
        before, whole = (engine.speak(t, voice, OPTIONS).samples for t in (first, text))
        return whole[len(before) :]

    anna, bert = tiny.voice(), find("bert")
    expected = [
        engine.speak("Yes.", anna, OPTIONS).samples,
        nth("Yes. No.", "Yes.", bert),
        nth("Yes. No. Yes.", "Yes. No.", anna),
    ]
    made = say(engine, "Yes. [voice:bert]No.[/voice] Yes.").samples
    assert np.array_equal(made, np.concatenate(expected))


def test_a_hub_model_is_told_in_words_how_each_sentence_is_said(engine: Engine) -> None:
    told: list[str | None] = []

    class Listening:
        def tokens(self, *args: Any, instruction: str | None) -> Iterator[int]:
            told.append(instruction)
            return engine.parts.generator.tokens(*args)

    hub = Engine(
        dataclasses.replace(engine.spec, family="cosyvoice3"),
        dataclasses.replace(engine.parts, generator=Listening()),
        fingerprint=engine.fingerprint,
        default_voice="",
    )
    hub.speak("Yes.", tiny.voice(), OPTIONS, style=Style(emotion="sad"))
    hub.speak("Yes.", tiny.voice(), OPTIONS)
    assert told == ["请非常伤心地说一句话。", None]


def test_an_unknown_voice_is_refused_before_the_first_sound(engine: Engine) -> None:
    script = engine.prepare(parse("Hello. [voice:nobody]Hi."))
    with pytest.raises(VoiceError, match="nobody"):
        engine.stream(script, tiny.voice(), OPTIONS, voices=find)


def test_a_styled_stream_joined_is_what_is_spoken(engine: Engine) -> None:
    style = Style(rate=1.2, pitch_st=2.0, pitch_range=1.3, energy_db=4.0, voicing="whisper")
    script = engine.prepare(parse("Hello [pitch:-2]there[/pitch]. How are you?"))
    pieces = [p.samples for p in engine.stream(script, tiny.voice(), OPTIONS, style=style)]
    whole = engine.speak(script, tiny.voice(), OPTIONS, style=style).samples
    assert len(pieces) > 4
    assert np.array_equal(np.concatenate(pieces), whole)
    assert np.abs(whole).max() < 1.0
