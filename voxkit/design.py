"""Makes a voice that belongs to nobody from a description in words.

A person is drawn from the space of voices; then a sentence is spoken, and what its pitch still
lacks becomes the voice's pitch factor.  The sentence is kept as the voice's recording, from which
other models make their own.
"""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Protocol

import numpy as np

from voxkit.audio import Audio
from voxkit.options import Options
from voxkit.reference import reference_clip
from voxkit.spec import MelSpec
from voxkit.traits import Listener, measure_traits
from voxkit.voice import Voice
from voxkit.voice_space import GENDERS, Gender, VoiceSpace
from voxkit.voice_wish import Wish

SAMPLE = "The boat came in with the tide, and everyone went down to see who was on board."
_CENTRE_HZ = 146.0  # between the medians of men and women
_PITCH_FACTORS = (0.6, 1.8)  # beyond, the vocoder's filters no longer fit their source
# By which voices of one description differ.
_PITCH_NOISE_ST, _RATE_NOISE, _FORMANT_REACH = 1.2, 0.04, 0.2
_REACHES = (1.0, 0.5, 0.0)  # of pitch and formants from their middle, by attempt
_SURE = 0.8  # probability of the gender asked for that one sentence must have
_TURN = 0x9E3779B97F4A7C15  # golden section in units of 2⁻⁶⁴: its multiples lie far apart
_ST = math.log(2) / 12
_STREAM = 0x766F6963  # keeps these draws apart from those of speech with the same seed


class Speaker(Protocol):
    """An engine that speaks."""

    def speak(self, text: str, voice: Voice, options: Options) -> Audio:
        """Return a text as spoken by a voice."""


def design(
    wish: Wish,
    space: VoiceSpace,
    speaker: Speaker,
    listener: Listener,
    mel: MelSpec,
    *,
    seed: int,
    name: str,
) -> Voice:
    """Make a voice; the same wish, model and seed give the same one.

    One that does not sound like the man or woman asked for is drawn again, nearer to the middle.
    """
    for attempt in range(len(_REACHES)):
        voice = drawn(wish, space, mel, seed=seed, name=name, attempt=attempt)
        aim = voice.attributes["pitch_hz"]
        heard = listener.describe(speaker.speak(SAMPLE, voice, Options(seed=seed)), None)
        if pitch := heard.attributes.get("pitch_hz"):
            low, high = _PITCH_FACTORS
            voice = dataclasses.replace(voice, pitch_factor=min(max(aim / pitch, low), high))
        clip = reference_clip(speaker.speak(SAMPLE, voice, Options(seed=seed)), whole=True)
        if wish.gender is None or _is_heard_as(wish.gender, clip, space, listener, mel):
            break
    return dataclasses.replace(voice, transcript=SAMPLE, reference=clip)


def _is_heard_as(
    gender: Gender, clip: Audio, space: VoiceSpace, listener: Listener, mel: MelSpec
) -> bool:
    """Tell whether listeners would hardly doubt it."""
    heard = measure_traits(clip, listener, mel)
    femininity = space.femininity(heard.traits, heard.speaker)
    return (femininity if gender == "female" else 1 - femininity) > _SURE


def drawn(
    wish: Wish, space: VoiceSpace, mel: MelSpec, *, seed: int, name: str, attempt: int = 0
) -> Voice:
    """Draw a voice as the space has it, without a recording or a pitch factor."""
    rng = np.random.default_rng([seed, _STREAM, *[attempt] * (attempt > 0)])
    gender = wish.gender or _likely_gender(wish, rng)
    middle = float(space.means[GENDERS.index(gender)][0])
    spread = math.sqrt(space.covariance[0, 0])
    formant_place, pitch_place = places(seed)
    reach = _REACHES[attempt]
    off = reach * NormalDist().inv_cdf(0.02 + 0.96 * pitch_place)
    if wish.pitch_hz is None and wish.pitch_st is None:
        pitch = middle + off * spread
    else:
        pitch = middle if wish.pitch_hz is None else math.log(wish.pitch_hz)
        pitch += ((wish.pitch_st or 0.0) + _PITCH_NOISE_ST * off) * _ST
    wanted = dict(wish.traits) | {"pitch_hz": (pitch - middle) / spread}
    rate = wish.rate * math.exp(_RATE_NOISE * float(rng.standard_normal()))
    formants = wish.formants * math.exp(reach * _FORMANT_REACH * (2 * formant_place - 1))
    person = space.draw(gender, wanted, rng)
    return Voice(
        name=name,
        made_by=space.made_by,
        description=wish.words,
        source=f"Designed from words; drawn from the space of {space.speakers} recorded voices",
        creation={"how": "design", "words": wish.words, "seed": seed, "gender": gender},
        attributes={
            "pitch_hz": math.exp(pitch),
            "pitch_range_st": max(person.traits["pitch_range_st"], 0.5),
            "energy_db": person.traits["energy_db"],
        },
        rate_factor=min(max(rate, 0.4), 2.5),
        formant_factor=min(max(formants, 0.8), 1.25),
        tokens=np.zeros(0, np.int64),
        mel=np.zeros((mel.bins, 0), np.float32),
        speaker=person.speaker,
    )


def places(seed: int) -> tuple[float, float]:
    """Return where a seed lies among high formants and low ones, and among high voices and low.

    Four seeds in a row have formants a third of the range apart, the most there is room for: what
    tells voices of one description apart best.  Those with the same formants differ in pitch.
    """
    round_, turn = divmod(seed, 4)
    pitch = (2**63 + (round_ - turn) * _TURN) % 2**64 / 2**64
    return (1, 3, 0, 2)[turn] / 3, pitch


def _likely_gender(wish: Wish, rng: np.random.Generator) -> Gender:
    """Draw a gender where none was said: deep voices are mostly men's, high ones women's."""
    height = wish.pitch_st or 0.0
    if wish.pitch_hz is not None:
        height += math.log(wish.pitch_hz / _CENTRE_HZ) / _ST
    return "female" if rng.random() < 1 / (1 + math.exp(-0.8 * height)) else "male"
