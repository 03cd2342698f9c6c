"""The stretch to clone from is speech at a common level that ends in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxkit.audio import Audio, read_audio
from voxkit.errors import AudioError
from voxkit.reference import reference_clip

RATE = 16_000


def speech(seconds: float, *, level: float = 0.2, rate: int = RATE) -> np.ndarray:
    """Imitate speech: a buzz whose loudness rises and falls with four syllables a second."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * time + k * k) / k for k in range(1, 8))
    return (level * buzz * (0.6 - 0.4 * np.cos(2 * np.pi * 4 * time))).astype(np.float32)


def pause(seconds: float, *, rate: int = RATE) -> np.ndarray:
    return np.zeros(round(seconds * rate), np.float32)


def hiss(samples: np.ndarray, level: float) -> np.ndarray:
    return samples + level * np.random.default_rng(0).standard_normal(len(samples), np.float32)


def recording(*parts: np.ndarray, rate: int = RATE) -> Audio:
    return Audio(np.concatenate(parts), rate)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean()))


def test_silence_at_both_ends_is_cut_and_a_little_kept() -> None:
    clip = reference_clip(recording(pause(2.0), speech(3.0), pause(1.5)))
    assert clip.seconds == pytest.approx(3.15, abs=0.06)
    assert clip.sample_rate == RATE


@pytest.mark.parametrize("level", [0.004, 0.05, 0.4])
def test_speech_comes_to_one_level(level: float) -> None:
    clip = reference_clip(recording(pause(0.5), speech(3.0, level=level), pause(0.5)))
    spoken = clip.samples[RATE // 5 : -RATE // 5]
    assert 20 * np.log10(rms(spoken)) == pytest.approx(-20, abs=0.5)
    assert np.abs(clip.samples).max() <= 0.9


def test_a_peak_stays_below_full_scale() -> None:
    loud = speech(3.0, level=0.02)
    loud[RATE : RATE + 3] = 0.9
    clip = reference_clip(recording(loud))
    assert np.abs(clip.samples).max() == pytest.approx(0.9, abs=1e-3)


def test_an_offset_is_taken_away() -> None:
    clip = reference_clip(recording(pause(0.3), speech(3.0), pause(0.3)))
    shifted = recording(pause(0.3), speech(3.0), pause(0.3)).samples * 0.5 + np.float32(0.3)
    np.testing.assert_allclose(
        reference_clip(Audio(shifted, RATE)).samples, clip.samples, atol=2e-3
    )


def test_a_long_recording_gives_the_stretch_with_most_speech_and_ends_in_silence() -> None:
    thin = [part for _ in range(4) for part in (speech(0.5), pause(2.0))]
    dense = [part for _ in range(3) for part in (speech(3.0), pause(0.2))]
    start = sum(len(part) for part in thin)
    audio = recording(*thin, *dense, *thin)
    clip = reference_clip(audio)
    assert clip.seconds <= 10.0
    assert clip.seconds == pytest.approx(9.4 + 0.15, abs=0.1)
    assert rms(clip.samples[-RATE // 20 :]) < 1e-9
    found = np.correlate(audio.samples[::8], clip.samples[::8], "valid").argmax() * 8
    assert found == pytest.approx(start, abs=0.1 * RATE)


def test_speech_without_pauses_is_cut_where_it_is_quietest() -> None:
    clip = reference_clip(recording(speech(14.0)))
    assert 6.5 < clip.seconds <= 10.0
    end = len(clip.samples) - RATE // 10  # a tenth of a second of silence follows the cut
    assert rms(clip.samples[end:]) == 0.0
    # The buzz is quietest at whole quarters of a second.
    assert (end / RATE) % 0.25 == pytest.approx(0.0, abs=0.04) or (
        end / RATE
    ) % 0.25 == pytest.approx(0.25, abs=0.04)


def test_a_short_recording_that_is_clipped_throughout_is_used_whole() -> None:
    clip = reference_clip(recording(pause(0.5), np.clip(speech(2.0, level=3.0), -1, 1)))
    assert clip.seconds == pytest.approx(2.15, abs=0.06)


def test_a_transcript_is_never_left_with_half_its_speech() -> None:
    short = recording(speech(6.0), pause(0.3), speech(3.0))
    assert reference_clip(short, whole=True).seconds == pytest.approx(9.4, abs=0.1)
    long = recording(speech(6.0), pause(0.3), speech(6.0))
    assert reference_clip(long).seconds < 7.0
    assert reference_clip(long, whole=True).seconds == pytest.approx(12.4, abs=0.1)


def test_more_speech_than_any_model_takes_is_refused_with_a_transcript() -> None:
    long = recording(speech(16.0), pause(0.3), speech(16.0))
    with pytest.raises(AudioError, match=r"32\.3 s and 30 s can be used"):
        reference_clip(long, whole=True)


@pytest.mark.parametrize("level", [0.001, 0.02])
def test_a_noisy_room_does_not_count_as_speech(level: float) -> None:
    samples = np.concatenate([pause(3.0), speech(2.0), pause(3.0)])
    clip = reference_clip(Audio(hiss(samples, level), RATE))
    assert clip.seconds == pytest.approx(2.15, abs=0.2)


def test_clicks_do_not_count_as_speech() -> None:
    clicks = pause(5.0)
    clicks[:: RATE // 2] = 0.9
    with pytest.raises(AudioError, match="holds no speech|only 0"):
        reference_clip(Audio(clicks, RATE))


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_every_common_rate_and_stereo_will_do(tmp_path: Path, rate: int) -> None:
    one = np.concatenate([pause(0.5, rate=rate), speech(2.0, rate=rate), pause(0.5, rate=rate)])
    soundfile.write(tmp_path / "stereo.wav", np.stack([one, one], 1), rate)
    clip = reference_clip(read_audio(tmp_path / "stereo.wav"))
    assert clip.sample_rate == rate
    assert clip.seconds == pytest.approx(2.15, abs=0.06)


@pytest.mark.parametrize(
    ("samples", "rate", "says"),
    [
        (pause(5.0), RATE, "holds no speech"),
        (np.zeros(0, np.float32), RATE, "holds no speech"),
        (np.zeros(7, np.float32), RATE, "holds no speech"),
        (hiss(pause(5.0), 1e-4), RATE, "holds no speech"),
        (hiss(pause(5.0), 0.01), RATE, "holds no speech"),
        (pause(5.0) + np.float32(0.5), RATE, "holds no speech"),
        (
            np.concatenate([pause(2.0), speech(0.6), pause(2.0)]),
            RATE,
            r"only 0\.6 s of speech: give at least 1 s",
        ),
        (np.full(RATE * 3, np.nan, np.float32), RATE, "not numbers"),
        (speech(3.0, rate=4_000), 4_000, "8000 Hz or more"),
    ],
)
def test_what_cannot_be_cloned_is_refused_in_one_sentence(
    samples: np.ndarray, rate: int, says: str
) -> None:
    with pytest.raises(AudioError, match=says) as caught:
        reference_clip(Audio(samples, rate))
    assert "\n" not in str(caught.value)
