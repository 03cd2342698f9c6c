"""A cloned voice is brought nearer to its recording by hearing what the model makes of it."""

from __future__ import annotations

import dataclasses

import fake_engine
import numpy as np
import pytest

import voxkit
from voxkit.audio import Audio
from voxkit.library import BUILTIN_FOLDER
from voxkit.likeness import likened, spectrum
from voxkit.options import Options
from voxkit.voice import Description, Voice, load_voice

LINES = ("One.", "Two.")
COLOUR = np.linspace(-1, 1, 80).astype(np.float32)


class Model:
    """Speaks a tone lower than it should, in a colour of its own; its samples are (pitch, …)."""

    def __init__(self, pitch: float, colour: np.ndarray) -> None:
        self.pitch, self.colour = pitch, colour
        self.asked: list[tuple[str, int]] = []

    def speak(self, text: str, voice: Voice, options: Options) -> Audio:
        self.asked.append((text, options.seed))
        factor = np.float32(voice.reading_pitch_factor)
        timbre = np.zeros(80, np.float32) if voice.timbre is None else voice.timbre
        return Audio(np.concatenate([[self.pitch * factor], self.colour + timbre]), 24_000)

    def describe(self, audio: Audio, text_ids: tuple[int, ...] | None) -> Description:
        pitch, colour = float(audio.samples[0]), audio.samples[1:81]
        mel = colour[:, None] + np.array([-20.0, 0, 0.1, 0, -0.1], np.float32)
        return Description(np.arange(0), mel, np.ones(2, np.float32), {"pitch_hz": pitch})


def voice(pitch: float = 200.0) -> Voice:
    loud = np.tile(COLOUR[:, None], (1, 8))
    return dataclasses.replace(fake_engine.voice("ada", pitch), mel=loud)


def test_the_voice_keeps_what_the_model_lacks() -> None:
    model = Model(180.0, np.zeros(80, np.float32))
    made = likened(voice(), LINES, model, model)
    assert model.asked == [("One.", 0), ("Two.", 1)]
    assert made.reading_pitch_factor == pytest.approx(200 / 180)
    assert made.timbre is not None
    assert made.timbre == pytest.approx(0.75 * COLOUR, abs=0.02)  # smoothed at the ends
    heard = model.describe(model.speak("", made, Options()), None)
    assert heard.attributes["pitch_hz"] == pytest.approx(200.0)
    assert np.abs(spectrum(heard.mel) - COLOUR).max() < 0.3


def test_nothing_is_changed_where_nothing_differs() -> None:
    model = Model(200.0, COLOUR)
    made = likened(voice(), LINES, model, model)
    assert made.reading_pitch_factor == 1.0
    assert made.timbre == pytest.approx(np.zeros(80), abs=0.02)


def test_loudness_is_no_colour() -> None:
    model = Model(200.0, COLOUR - 3.0)
    assert likened(voice(), LINES, model, model).timbre == pytest.approx(np.zeros(80), abs=0.02)


def test_a_pitch_that_cannot_be_is_not_believed() -> None:
    for heard, factor in ((100.0, 2 ** (3 / 12)), (400.0, 2 ** (-3 / 12))):
        model = Model(heard, COLOUR)
        assert likened(voice(), LINES, model, model).reading_pitch_factor == pytest.approx(factor)


def test_to_be_likened_twice_is_to_be_likened_once() -> None:
    model = Model(180.0, np.zeros(80, np.float32))
    once = likened(voice(), LINES, model, model)
    twice = likened(once, LINES, model, model)
    assert twice.reading_pitch_factor == once.reading_pitch_factor
    assert np.array_equal(np.asarray(twice.timbre), np.asarray(once.timbre))


def test_more_speech_than_the_prompt_can_be_compared() -> None:
    model = Model(200.0, COLOUR)
    made = likened(voice(), LINES, model, model, np.tile(2 * COLOUR[:, None], (1, 9)))
    assert made.timbre == pytest.approx(0.75 * COLOUR, abs=0.02)


def test_quiet_frames_are_not_compared() -> None:
    mel = np.full((80, 10), -11.0, np.float32)
    mel[:, :4] = COLOUR[:, None]
    assert spectrum(mel) == pytest.approx(COLOUR, abs=1e-6)


@pytest.fixture(scope="module")
def english() -> voxkit.Engine:
    return voxkit.load()


@pytest.fixture(scope="module")
def clone(english: voxkit.Engine) -> Voice:
    reference = english._from_library("julia").reference
    assert reference is not None
    return english.clone(reference, name="julia")


def test_a_clone_of_the_bundled_model_reads_nearer_to_its_recording(
    english: voxkit.Engine, clone: Voice
) -> None:
    plain = dataclasses.replace(clone, reading_pitch_factor=1.0, timbre=None)
    assert clone.timbre is not None
    assert clone.reading_pitch_factor != 1.0
    off = []
    for each in (plain, clone):
        said = english.speak("The boy was there when the sun rose.", each, Options(seed=5))
        heard = english.parts.tokenizer.describe(said, None)
        pitch = abs(np.log(heard.attributes["pitch_hz"] / clone.attributes["pitch_hz"]))
        apart = spectrum(heard.mel) - spectrum(clone.mel)
        off.append((pitch, np.abs(apart - np.median(apart)).mean()))
    assert off[1][0] < off[0][0]
    assert off[1][1] < off[0][1]


def test_the_built_in_voices_were_likened() -> None:
    for path in sorted(BUILTIN_FOLDER.glob("*.safetensors")):
        kept = load_voice(path)
        assert kept.timbre is not None
        assert 0.8 < kept.reading_pitch_factor < 1.2
        assert kept.reading_pitch_factor != 1.0


def test_conversion_does_not_use_it(english: voxkit.Engine, clone: Voice) -> None:
    """What is converted has the tokens of its own speaker, not the reader's."""
    plain = dataclasses.replace(clone, reading_pitch_factor=1.0, timbre=None)
    assert clone.reference is not None
    recording = Audio(clone.reference.samples[: 2 * clone.reference.sample_rate], 24_000)
    one, other = (
        np.concatenate([a.samples for a in english.convert(recording, v)]) for v in (plain, clone)
    )
    assert np.array_equal(one, other)
