"""A voice from several recordings sounds like all of them and has the best as its prompt."""

from __future__ import annotations

import dataclasses

import fake_engine
import numpy as np
import pytest

from voxkit import cloning
from voxkit.audio import Audio
from voxkit.cloning import Recording, cloned, prepared
from voxkit.errors import AudioError
from voxkit.examination import Report
from voxkit.library import BUILTIN_FOLDER
from voxkit.reference import Clip
from voxkit.voice import Voice, load_voice

GOOD = Report(9.0, 16_000, 6.0, (0.0, 6.0), -20.0, 40.0, 0.0, 8_000, None, ())


def recording(label: str, direction: list[float], transcript: str | None = None) -> Recording:
    """A recording whose samples are what the fake cloner takes for the speaker vector."""
    clip = Clip(np.array(direction, np.float32), 16_000, 0.0, 6.0)
    return Recording(label, clip, np.array([[0, 300]]), clip, transcript)


class Cloner:
    """Takes the samples for the speaker vector."""

    def heard(self, reference: Audio, *, name: str, transcript: str | None = None) -> Voice:
        pitch = 100.0 + 100.0 * float(reference.samples[0])
        voice = fake_engine.voice(name, pitch)
        return dataclasses.replace(voice, speaker=reference.samples, transcript=transcript)

    def likened(self, voice: Voice) -> Voice:
        return dataclasses.replace(voice, reading_pitch_factor=1.5)


def test_one_recording_is_cloned_as_it_is() -> None:
    voice = cloned(Cloner(), [recording("a", [1, 0], "Hello.")], [GOOD], name="ada")
    assert (voice.name, voice.transcript, voice.reading_pitch_factor) == ("ada", "Hello.", 1.5)


def test_several_recordings_share_the_speaker_and_the_best_is_the_prompt() -> None:
    both = [recording("a", [1.0, 0.2], "One."), recording("b", [0.8, 0.6], "Two.")]
    noisy = dataclasses.replace(GOOD, snr_db=10.0, advice=("There is noise.",))
    for reports, prompt in (([noisy, GOOD], "Two."), ([GOOD, noisy], "One.")):
        voice = cloned(Cloner(), both, reports, name="ada")
        assert voice.transcript == prompt
        assert voice.reading_pitch_factor == 1.5
        assert voice.speaker[1] / voice.speaker[0] == pytest.approx(0.8 / 1.8, rel=0.01)
        assert 180 < voice.attributes["pitch_hz"] < 200  # between the two


def test_recordings_of_two_people_are_refused_by_name() -> None:
    three = [recording("a.wav", [1, 0]), recording("b.wav", [0.9, 0.1]), recording("c.wav", [0, 1])]
    with pytest.raises(AudioError, match=r"^a\.wav and c\.wav sound like two people"):
        cloned(Cloner(), three, [GOOD] * 3, name="ada")


class Ear(Cloner):
    """Takes what is said over a telephone for another person's, as models do."""

    def heard(self, reference: Audio, *, name: str, transcript: str | None = None) -> Voice:
        heard = [1.0, 0.0] if reference.sample_rate == 8_000 else [0.0, reference.samples[50]]
        return dataclasses.replace(fake_engine.voice(name), speaker=np.array(heard, np.float32))


def clip_at(rate: int, level: float = 0.5) -> tuple[Recording, Report]:
    clip = Clip(np.full(rate, level, np.float32), rate, 0.0, 1.0)
    report = dataclasses.replace(GOOD, sample_rate=rate, bandwidth_hz=rate // 2)
    return Recording(f"{rate}.wav", clip, np.array([[0, 100]]), clip, None), report


def test_a_telephone_beside_a_good_recording_is_compared_as_a_telephone() -> None:
    found = [clip_at(44_100), clip_at(8_000), clip_at(44_100)]
    assert cloned(Ear(), [r for r, _ in found], [told for _, told in found], name="ada")
    found[2] = clip_at(44_100, -0.5)  # two people are told apart by what both recordings have
    with pytest.raises(AudioError, match=r"sound like two people"):
        cloned(Ear(), [r for r, _ in found], [told for _, told in found], name="ada")


@pytest.mark.parametrize(
    ("words", "doubted"),
    [
        ("This is what one says in three seconds.", False),
        ("今天天气很好我们去公园吧", False),
        ("Hi.", True),
        ("a long speech that nobody gives in three seconds " * 4, True),
    ],
)
def test_a_transcript_that_cannot_be_of_the_recording_is_doubted(words: str, doubted: bool) -> None:
    assert (recording("a", [1, 0], words).doubt() is not None) is doubted
    assert recording("a", [1, 0]).doubt() is None


def test_speech_is_found_and_cut_out_before_a_model_is_asked() -> None:
    kept = load_voice(BUILTIN_FOLDER / "kathleen.safetensors").reference
    assert kept is not None
    quiet = np.zeros(4 * kept.sample_rate, np.float32)
    long = Audio(np.concatenate([quiet, kept.samples, quiet]), kept.sample_rate)
    found = prepared("ref.wav", long, None)
    assert found.clip.seconds == pytest.approx(kept.seconds, abs=0.3)
    assert found.clip.start_s == pytest.approx(4.0, abs=0.1)
    assert found.report(None).second_speaker is None


def test_a_recording_without_speech_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloning, "find_phrases", lambda audio: np.zeros((0, 2), np.int64))
    with pytest.raises(AudioError, match="Nobody speaks in sea.wav"):
        prepared("sea.wav", Audio(np.zeros(16_000, np.float32), 16_000), None)
