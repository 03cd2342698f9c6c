"""A recogniser, if there is one, is asked for the words; its failures are one sentence."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest

from voxkit import transcription
from voxkit.audio import Audio
from voxkit.errors import ModelError

SPEECH = Audio(np.zeros(44_100, np.float32), 44_100)


class Heard:
    """What a recogniser was given."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer, self.shapes = answer, list[Any]()

    def recognize(self, samples: np.ndarray, *, sample_rate: int) -> str:
        self.shapes.append((samples.shape, samples.dtype.name, sample_rate))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def with_recogniser(monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    module = types.ModuleType("onnx_asr")
    module.load_model = lambda name, providers: heard  # type: ignore[attr-defined]
    module.__spec__ = importlib.util.spec_from_loader("onnx_asr", None)
    monkeypatch.setitem(sys.modules, "onnx_asr", module)


def test_the_words_come_from_the_recogniser_at_the_rate_it_hears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = Heard("  Hello there. ")
    with_recogniser(monkeypatch, heard)
    recogniser = transcription.installed()
    assert recogniser is not None
    assert recogniser.transcribe(SPEECH) == "Hello there."
    assert heard.shapes == [((16_000,), "float32", 16_000)]


def test_a_network_that_cannot_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with_recogniser(monkeypatch, Heard(OSError("no connection.\nTraceback: much more")))
    recogniser = transcription.installed()
    assert recogniser is not None
    with pytest.raises(
        ModelError, match=r"^The recording could not .* \(no connection\): give --te"
    ):
        recogniser.transcribe(SPEECH)


def test_without_the_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert transcription.installed() is None
