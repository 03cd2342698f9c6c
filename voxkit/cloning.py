"""Makes a voice from recordings of a person: finds the speech and keeps the best of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voxkit.activity import find_phrases
from voxkit.audio import LOWEST_RATE, Audio
from voxkit.errors import AudioError
from voxkit.examination import Report, examine, speech_turns
from voxkit.mixing import mixed
from voxkit.reference import LONGEST_WHOLE_S, Clip, fits_whole, reference_clip
from voxkit.voice import Description, Voice

_TALK = (3.0, 35.0)  # letters a second of speech; a transcript with fewer or more is of another
_STRANGERS = 0.3  # similarity below which two recordings are of two people
_AS_WIDE = 1.25  # bandwidths further apart than this factor are not the same


class Cloner(Protocol):
    """An engine that clones."""

    def heard(self, reference: Audio, *, name: str, transcript: str | None = None) -> Voice:
        """Make a voice of what is heard in a recording."""

    def likened(self, voice: Voice) -> Voice:
        """Bring a voice nearer to its recording."""


class Listener(Protocol):
    """A model's ear."""

    def describe(self, audio: Audio, text_ids: tuple[int, ...] | None) -> Description:
        """Return what a voice keeps of a recording, the speaker vector with it."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording in which the speech has been found."""

    label: str  # what the user calls it
    audio: Audio
    phrases: np.ndarray  # (P, 2) frames of 10 ms
    clip: Clip
    transcript: str | None
    unused: str | None = None  # a transcript of more speech than can be used with its words

    def report(self, listener: Listener | None) -> Report:
        """Tell how good it is; only with a `listener` whether there is a second speaker."""
        turns = speech_turns(self.audio, self.phrases) if listener else []
        vectors = [listener.describe(turn, None).speaker for turn in turns] if listener else []
        return examine(self.audio, self.phrases, self.clip, vectors)

    def doubt(self) -> str | None:
        """Say what is wrong with the transcript, or None."""
        if self.unused is not None:
            return (
                f"{self.label} speaks for longer than the {LONGEST_WHOLE_S:g} s that can be used "
                "with a transcript: its best seconds are used, without the transcript."
            )
        if self.transcript is None:
            return None
        seconds = float((self.phrases[:, 1] - self.phrases[:, 0]).sum()) / 100
        letters = sum(c.isalnum() for c in self.transcript)
        wide = sum(
            ord(c) >= 0x2E80 for c in self.transcript
        )  # one such sign is about three letters
        speed = (letters + 2 * wide) / seconds
        if _TALK[0] <= speed <= _TALK[1]:
            return None
        return (
            f"The transcript has {letters} letters for {seconds:.1f} s of speech: is it that of "
            f"{self.label}?"
        )


def prepared(label: str, audio: Audio, transcript: str | None) -> Recording:
    """Find the speech of a recording and choose what to clone from.  Raises `AudioError`.

    The transcript is left out where there is more speech than can be used whole.
    """
    phrases = find_phrases(audio)
    if not len(phrases):
        raise AudioError(f"Nobody speaks in {label}: give a recording of one person speaking.")
    words = transcript if fits_whole(phrases) else None
    clip = reference_clip(audio, whole=words is not None, phrases=phrases)
    unused = transcript if words is None else None
    return Recording(label, audio, phrases, clip, words, unused)


def cloned(
    engine: Cloner, recordings: Sequence[Recording], reports: Sequence[Report], *, name: str
) -> Voice:
    """Make a voice: the best recording is its prompt, all of them tell how the speaker sounds.

    Raises `AudioError` for recordings of different people.
    """
    voices = [engine.heard(r.clip, name=name, transcript=r.transcript) for r in recordings]
    if len(voices) == 1:
        return engine.likened(voices[0])
    for i, j in itertools.combinations(range(len(voices)), 2):
        pair = (recordings[i], recordings[j])
        if _alike(voices[i], voices[j]) < _STRANGERS and not _one_person(
            engine, pair, (reports[i], reports[j])
        ):
            raise AudioError(
                f"{pair[0].label} and {pair[1].label} sound like two people: give recordings of "
                "one."
            )
    best = max(range(len(voices)), key=lambda i: _worth(reports[i]))
    shares = np.array([r.clip.seconds for r in recordings])
    whole = mixed(list(zip(voices, shares / shares.sum(), strict=True)), name=name)
    attributes = {**voices[best].attributes, **whole.attributes}
    voice = dataclasses.replace(voices[best], speaker=whole.speaker, attributes=attributes)
    return engine.likened(voice)


def _alike(one: Voice, other: Voice) -> float:
    """Return how alike two voices sound, -1 to 1."""
    lengths = np.linalg.norm(one.speaker) * np.linalg.norm(other.speaker)
    return float(one.speaker @ other.speaker / lengths)


def _one_person(
    engine: Cloner, pair: tuple[Recording, Recording], reports: tuple[Report, Report]
) -> bool:
    """Tell whether two recordings, one of them duller, sound alike when both are as dull.

    A telephone takes so much from a voice that beside a good recording it seems another's.
    """
    narrow, wide = sorted(report.bandwidth_hz for report in reports)
    if narrow * _AS_WIDE > wide:
        return False
    rate = max(2 * narrow, LOWEST_RATE)
    clips = [Clip(r.clip.resampled(rate).samples, rate) for r in pair]
    one, other = (engine.heard(clip, name="dull") for clip in clips)
    return _alike(one, other) >= _STRANGERS


def _worth(report: Report) -> float:
    """Weigh length against noise and damage: one second is worth 4 dB."""
    length = min(report.used_s[1] - report.used_s[0], 8.0)
    return length + min(report.snr_db, 40.0) / 4 - 200 * report.clipped - 4 * len(report.advice)
