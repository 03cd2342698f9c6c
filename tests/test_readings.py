"""A voice's reference is read once and forgotten with the voice; nobody hears the difference."""

from __future__ import annotations

import gc

import numpy as np
import tiny

from voxkit.engine import Engine
from voxkit.options import Options
from voxkit.readings import Readings
from voxkit.voice import Voice


def counting() -> tuple[Readings, list[tuple[str, int | None]]]:
    read: list[tuple[str, int | None]] = []

    def note(voice: Voice, options: Options) -> object:
        read.append((voice.name, options.steps))
        return object()

    return Readings(note), read


def test_the_same_voice_is_read_once_whatever_else_is_asked_for() -> None:
    readings, read = counting()
    voice = tiny.voice()
    states = {id(readings.after(voice, Options(seed=n, speed=1.0 + n))) for n in range(3)}
    assert (len(states), len(read)) == (1, 1)


def test_a_copy_of_a_voice_is_not_read_again() -> None:
    readings, read = counting()
    first, copy = tiny.voice(), tiny.voice()
    assert readings.after(first, Options()) is readings.after(copy, Options())
    assert len(read) == 1


def test_another_number_of_steps_is_another_reading() -> None:
    readings, read = counting()
    voice = tiny.voice()
    for steps in (2, 3, 2, 3):
        readings.after(voice, Options(steps=steps))
    assert read == [("anna", 2), ("anna", 3)]


def test_only_the_two_used_last_are_kept() -> None:
    readings, read = counting()
    voices = {name: tiny.voice(seed, name=name) for seed, name in enumerate("abc")}
    for name in "abacab":
        readings.after(voices[name], Options())
    assert "".join(name for name, _ in read) == "abcb"


def test_a_reading_is_forgotten_with_its_voice() -> None:
    readings, _ = counting()
    voice = tiny.voice()
    readings.after(voice, Options())
    del voice
    gc.collect()
    assert readings._kept == []


def test_a_voice_sounds_the_same_whether_it_was_read_before_or_not() -> None:
    old = tiny.engine()
    fresh = Engine(old.spec, old.parts, fingerprint=old.fingerprint, default_voice="")
    voice = tiny.voice()
    first = fresh.speak("Hello.", voice, Options(seed=3)).samples
    fresh.speak("How are you?", voice)
    assert np.array_equal(fresh.speak("Hello.", voice, Options(seed=3)).samples, first)
