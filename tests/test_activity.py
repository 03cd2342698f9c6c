"""Speech is found in recordings, quiet or loud, and nothing else is taken for it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from voxkit import activity
from voxkit.activity import find_phrases
from voxkit.audio import Audio
from voxkit.errors import AudioError
from voxkit.library import BUILTIN_FOLDER
from voxkit.voice import load_voice


@pytest.fixture(scope="module")
def speech() -> Audio:
    """A few seconds of Dawn, with pauses."""
    kept = load_voice(BUILTIN_FOLDER / "dawn.safetensors").reference
    assert kept is not None
    return kept


def padded(audio: Audio, seconds: float) -> Audio:
    quiet = np.zeros(round(seconds * audio.sample_rate), np.float32)
    return Audio(np.concatenate([quiet, audio.samples, quiet]), audio.sample_rate)


def test_speech_is_found_between_silences(speech: Audio) -> None:
    phrases = find_phrases(padded(speech, 2.0))
    assert 180 <= phrases[0, 0] <= 240  # frames of 10 ms
    assert phrases[-1, 1] <= 100 * (speech.seconds + 2.3)
    assert (phrases[1:, 0] - phrases[:-1, 1] >= 15).all()
    assert (np.diff(phrases) > 0).all()


@pytest.mark.parametrize("gain", [0.01, 0.1, 3.0])
def test_the_level_hardly_matters(speech: Audio, gain: float) -> None:
    quiet = Audio(np.clip(gain * speech.samples, -1, 1).astype(np.float32), speech.sample_rate)
    spoken, heard = (int(np.diff(find_phrases(a)).sum()) for a in (speech, quiet))
    assert heard == pytest.approx(spoken, rel=0.1)


def test_hiss_hum_silence_and_nothing_are_no_speech() -> None:
    rng, time = np.random.default_rng(0), np.arange(48_000) / 16_000
    for samples in (
        0.1 * rng.standard_normal(48_000),
        0.3 * np.sin(2 * np.pi * 50 * time),
        np.zeros(48_000),
        np.zeros(0),
    ):
        assert find_phrases(Audio(samples.astype(np.float32), 16_000)).shape == (0, 2)


def test_without_the_detector_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    activity._session.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AudioError, match='pip install "silero-vad'):
        find_phrases(Audio(np.zeros(16_000, np.float32), 16_000))
    activity._session.cache_clear()


def test_onnxruntime_is_told_to_send_nothing_before_it_is_imported() -> None:
    code = (
        "import os, sys\n"
        "class Told(dict):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime':\n"
        "            print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Told())\n"
        "import numpy as np\n"
        "from voxkit.activity import find_phrases\n"
        "from voxkit.audio import Audio\n"
        "find_phrases(Audio(np.zeros(16_000, np.float32), 16_000))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert done.stdout.split() == [b"1"]


def test_the_package_that_loads_torch_is_not_imported() -> None:
    source = Path(activity.__file__).read_text(encoding="utf-8")
    assert "import silero_vad" not in source
