"""How one sentence is delivered: what the model is told, and what is done to the sound it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voxkit.instruct import Family, render
from voxkit.options import Options
from voxkit.prosody import Prosody
from voxkit.style import Style
from voxkit.text import Sentence
from voxkit.voice import Voice

_KNEE = 0.8  # of full scale; what is louder is bent towards full scale and never reaches it


@dataclass(frozen=True)
class Delivery:
    """The exact numbers of one sentence."""

    prosody: Prosody
    gain: float  # factor of the samples
    pause_ms: float  # silence after it, in case another sentence follows
    instruction: str | None  # in the words that the model was trained on

    def level(self, samples: np.ndarray) -> np.ndarray:
        """Bring samples (s,) to their loudness, within (-1, 1): they are bent and never clipped."""
        samples = samples * np.float32(self.gain)
        over = np.maximum(np.abs(samples) - np.float32(_KNEE), 0)
        bent = np.float32(_KNEE) + np.float32(1 - _KNEE) * np.tanh(over / np.float32(1 - _KNEE))
        return np.where(over > 0, np.copysign(bent, samples), samples)


class Cast:
    """Who speaks in one request; each voice is found once, when its name first comes."""

    def __init__(self, voice: Voice, find: Callable[[str], Voice]) -> None:
        self._find = find
        self._voices: dict[str | None, Voice] = {None: voice}

    def voice(self, name: str | None) -> Voice:
        """Return the voice of that name; None is the voice of the request."""
        if name not in self._voices:
            assert name is not None  # who speaks by default is known from the start
            self._voices[name] = self._find(name)
        return self._voices[name]


@dataclass(frozen=True)
class Wishes:
    """What one request asks for beside its words."""

    options: Options
    style: Style
    cast: Cast


def deliver(sentence: Sentence, wishes: Wishes, family: Family) -> Delivery:
    """Work out how a sentence of a request is delivered."""
    options, voice = wishes.options, wishes.cast.voice(sentence.manner.voice)
    told = render(sentence.manner.over(wishes.style), family)
    numbers = told.controls
    return Delivery(
        prosody=Prosody(
            speed=options.speed * numbers.rate * voice.rate_factor,
            factor=2 ** (numbers.pitch_st / 12) * voice.pitch_factor * voice.reading_pitch_factor,
            spread=numbers.pitch_range,
            centre_hz=(
                voice.attributes.get("pitch_hz", Prosody.centre_hz) / voice.reading_pitch_factor
            ),
            whisper=numbers.whisper,
        ),
        gain=10 ** (numbers.energy_db / 20),
        pause_ms=(
            _pause_ms(sentence, options) * numbers.pause
            if sentence.pause_ms is None
            else sentence.pause_ms
        ),
        instruction=told.instruction,
    )


def _pause_ms(sentence: Sentence, options: Options) -> float:
    """Silence after a sentence: more after a paragraph, little inside one that was cut."""
    factor = 2.0 if sentence.paragraph_end else 0.25 if sentence.cut else 1.0
    return options.sentence_pause_ms * factor
