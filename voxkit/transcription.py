"""Writes down what a recording says, with a speech recogniser if one is installed.

The extra `asr` brings one: `pip install "voxkit[asr]"`.  Its network is fetched at the first use.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

from voxkit import onnx
from voxkit.audio import Audio
from voxkit.errors import ModelError

_MODEL = "whisper-base"  # 99 languages, 290 MB
_RATE = 16_000  # Hz


class Recogniser(Protocol):
    """Speech → text."""

    def transcribe(self, audio: Audio) -> str:
        """Return the words of a recording of at most 30 s, empty if none was understood."""


class OnnxRecogniser:
    """Whisper through the package onnx-asr."""

    def transcribe(self, audio: Audio) -> str:
        """Return the words.  Raises `ModelError` if the network cannot be had."""
        samples = audio.resampled(_RATE).samples
        try:
            return str(self._model().recognize(samples, sample_rate=_RATE)).strip()
        except Exception as error:  # what onnx-asr, the hub and onnxruntime raise has no one base
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise ModelError(
                f"The recording could not be transcribed ({reason.rstrip('.')}): give --text."
            ) from error

    def _model(self) -> Any:
        onnx.keep_to_ourselves()
        import onnx_asr

        return onnx_asr.load_model(_MODEL, providers=["CPUExecutionProvider"])


def installed() -> Recogniser | None:
    """Return the recogniser if its package is there."""
    return OnnxRecogniser() if importlib.util.find_spec("onnx_asr") else None
