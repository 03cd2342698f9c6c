"""A voice's reference is read once and forgotten with the voice; nobody hears the difference."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import tiny

from voxkit import readings as module
from voxkit.company import Company
from voxkit.engine import Engine
from voxkit.options import Options
from voxkit.readings import Readings
from voxkit.voice import Voice

WAIT_S = 10.0  # never reached unless something hangs


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
    class State:
        """What a decoder would make."""

    readings, voice = Readings(lambda voice, options: State()), tiny.voice()
    state = weakref.ref(readings.after(voice, Options()))
    gc.collect()
    assert state() is not None
    del voice
    gc.collect()
    assert state() is None


def test_a_voice_that_goes_away_while_it_is_compared_with_its_copy_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings, read = counting()
    only = [tiny.voice()]
    readings.after(only[0], Options())
    alike = module._alike

    def losing(kept: Voice, voice: Voice) -> bool:
        only.clear()  # as the request does that used it last
        return alike(kept, voice)

    monkeypatch.setattr(module, "_alike", losing)
    copy = tiny.voice()
    assert readings.after(copy, Options()) is not None
    assert len(read) == 1
    assert readings.after(copy, Options()) is not None


def test_copies_of_a_voice_may_come_and_go_in_many_threads() -> None:
    readings, _ = counting()
    wrong: list[object] = []

    def use() -> None:
        try:
            for _ in range(100):
                if readings.after(tiny.voice(), Options()) is None:
                    wrong.append(None)
        except (IndexError, RuntimeError) as error:
            wrong.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not wrong


def test_threads_that_want_a_voice_at_once_read_it_once() -> None:
    reading, go = threading.Event(), threading.Event()
    read, states = list[str](), set[int]()

    def slowly(voice: Voice, options: Options) -> object:
        read.append(voice.name)
        reading.set()
        go.wait(WAIT_S)
        return read

    readings, voices = Readings(slowly), [tiny.voice() for _ in range(3)]
    threads = [
        threading.Thread(target=lambda v=v: states.add(id(readings.after(v, Options()))))
        for v in voices
    ]
    for thread in threads:
        thread.start()
    assert reading.wait(WAIT_S)
    threads[-1].join(0.2)  # time in which it would begin to read, too
    go.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert (len(read), len(states)) == (1, 1)


def test_tasks_of_a_company_have_a_voice_read_once_by_the_thread_that_runs_them() -> None:
    company = Company(3)
    read: list[str] = []

    def note(voice: Voice, options: Options) -> object:
        assert threading.current_thread() is threading.main_thread()
        read.append(voice.name)
        return read

    readings = Readings(note, company)
    anna = (tiny.voice() for _ in range(3))
    voices = [next(anna), next(anna), tiny.voice(1, name="berta"), next(anna)]
    made = []
    tasks = [lambda v=v: readings.after(v, Options()) for v in voices]
    company.run(tasks, lambda index, future: made.append(future.result()))
    assert (read, len(made)) == (["anna", "berta"], 4)


def test_a_reading_that_failed_is_tried_again() -> None:
    answers = iter([MemoryError("no room"), "a state"])

    def fail_first(voice: Voice, options: Options) -> object:
        if isinstance(answer := next(answers), MemoryError):
            raise answer
        return answer

    readings, voice = Readings(fail_first), tiny.voice()
    with pytest.raises(MemoryError):
        readings.after(voice, Options())
    assert readings.after(voice, Options()) == "a state"


def test_a_voice_sounds_the_same_whether_it_was_read_before_or_not() -> None:
    old = tiny.engine()
    fresh = Engine(old.spec, old.parts, fingerprint=old.fingerprint, default_voice="")
    voice = tiny.voice()
    first = fresh.speak("Hello.", voice, Options(seed=3)).samples
    fresh.speak("How are you?", voice)
    assert np.array_equal(fresh.speak("Hello.", voice, Options(seed=3)).samples, first)
