"""A report tells what is wrong with a recording, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from voxkit.audio import Audio
from voxkit.examination import Report, examine, speech_turns
from voxkit.reference import Clip

RATE = 16_000


def speech(seconds: float, level: float = 0.15, seed: int = 0) -> np.ndarray:
    """Noise of all frequencies that swells like syllables."""
    time = np.arange(round(seconds * RATE)) / RATE
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)
    return level * swell * np.random.default_rng(seed).standard_normal(len(time))


def recording(noise: float = 1e-4, **changes: float) -> tuple[Audio, np.ndarray]:
    """Two phrases of speech between pauses, in a room with noise."""
    parts = [np.zeros(RATE), speech(3.0, **changes), np.zeros(RATE), speech(3.0, **changes)]
    samples = np.concatenate([*parts, np.zeros(RATE)])
    samples = samples + noise * np.random.default_rng(9).standard_normal(len(samples))
    phrases = np.array([[100, 400], [500, 800]])
    return Audio(np.clip(samples, -1, 1).astype(np.float32), RATE), phrases


def report(audio: Audio, phrases: np.ndarray, turns: list[np.ndarray] | None = None) -> Report:
    clip = Clip(audio.samples, audio.sample_rate, 1.0, 8.0)
    return examine(audio, phrases, clip, turns or [])


def test_a_clean_recording_needs_no_advice() -> None:
    found = report(*recording())
    assert found.advice == ()
    assert (found.seconds, found.speech_s, found.used_s) == (9.0, 6.0, (1.0, 8.0))
    assert found.level_dbfs == pytest.approx(-20.6, abs=1.0)
    assert found.clipped == 0
    assert found.bandwidth_hz >= 7_500
    assert found.second_speaker is None


@pytest.mark.parametrize("wanted", [10.0, 25.0, 40.0])
def test_the_distance_of_speech_from_noise_is_measured(wanted: float) -> None:
    audio, phrases = recording()
    level = float(np.sqrt(np.square(audio.samples[RATE : 4 * RATE]).mean()))
    found = report(*recording(noise=level / 10 ** (wanted / 20)))
    assert found.snr_db == pytest.approx(wanted, abs=2.0)
    assert ("noise" in " ".join(found.advice)) is (wanted < 20)


def test_overdriven_speech_is_told_from_loud_speech() -> None:
    assert "overdriven" in " ".join(report(*recording(level=0.9)).advice)
    assert report(*recording(level=0.9)).clipped > 0.01
    assert report(*recording(level=0.2)).clipped == 0


def test_quiet_short_and_dull_recordings_are_told() -> None:
    quiet = report(*recording(noise=1e-6, level=0.002))
    assert any("quiet" in advice for advice in quiet.advice)
    audio, phrases = recording()
    assert "Only 1.0 s" in report(audio, phrases[:1] // 3 + [67, 67]).advice[0]
    spectrum = np.fft.rfft(audio.samples)
    spectrum[round(3400 / 8000 * len(spectrum)) :] = 0
    dull = Audio(np.fft.irfft(spectrum, len(audio.samples)).astype(np.float32), RATE)
    found = report(dull, phrases)
    assert found.bandwidth_hz == pytest.approx(3_400, abs=200)
    assert any("telephone" in advice for advice in found.advice)


def test_a_second_speaker_is_suspected_where_turns_fall_into_two_groups() -> None:
    rng = np.random.default_rng(0)
    ann, bob = np.eye(16)[0], np.eye(16)[1]

    def turns(*who: np.ndarray) -> list[np.ndarray]:
        rows = [w + 0.15 * rng.standard_normal(16) for w in who]
        return [row / np.linalg.norm(row) for row in rows]

    audio, phrases = recording()
    one = report(audio, phrases, turns(*[ann] * 8))
    two = report(audio, phrases, turns(*[ann] * 5, *[bob] * 3))
    assert one.second_speaker is not None
    assert one.second_speaker > 0.6
    assert one.advice == ()
    assert two.second_speaker is not None
    assert two.second_speaker < 0.3
    assert "second person" in two.advice[0]


def test_turns_are_pieces_of_the_speech_at_one_level() -> None:
    audio, phrases = recording()
    turns = speech_turns(audio, phrases)
    assert len(turns) == 4
    assert all(turn.seconds == pytest.approx(1.5, abs=0.02) for turn in turns)
    levels = [float(np.sqrt(np.square(turn.samples).mean())) for turn in turns]
    assert levels == pytest.approx([0.1] * 4, rel=0.01)
    long = np.array([[0, 900]] * 60)
    assert len(speech_turns(audio, long)) <= 40
