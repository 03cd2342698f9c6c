"""What the released hub models are run with, of which golden numbers bring their own copy."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

BOTH = {
    "token_rate": 25,
    "mel.hop": 480,
    "mel.n_fft": 1920,
    "tokenizer.frames_per_token": 4,
    "generator.sampling.top_p": 0.8,
    "generator.sampling.top_k": 25,
    "generator.sampling.repeat_window": 10,
    "generator.sampling.repeat_limit": 1,  # 0.1 of the window
    "generator.min_tokens_per_text_id": 2.0,
    "generator.max_tokens_per_text_id": 20.0,
    "generator.interleaved_text": 5,
    "generator.interleaved_speech": 15,
    "decoder.flow.steps": 10,
    "decoder.flow.guidance": 0.7,
    "decoder.lookahead": 3,
    "decoder.chunk": 25,
    "decoder.noise_frames": 15000,  # 300 s
    "vocoder.harmonics": 9,  # the fundamental and 8 above it
    "vocoder.sine_level": 0.1,
    "vocoder.noise_level": 0.003,
    "vocoder.voiced_hz": 10.0,
    "vocoder.limit": 0.99,
    "stream.first_hop": 25,
    "stream.max_hop": 100,
}
OWN: dict[str, dict[str, Any]] = {
    "cosyvoice2": {
        "mel.fmax": 8000.0,
        "generator.end_id": 6561,
        "generator.fill_id": 6563,
        "generator.silent_tokens": [],
        "vocoder.phase": "linear",
        "vocoder.noise": "normal",
    },
    "cosyvoice3": {
        "mel.fmax": 12000.0,
        "generator.end_id": 6562,
        "generator.fill_id": 6564,
        "generator.silent_tokens": [1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323],
        "vocoder.phase": "nearest",
        "vocoder.noise": "uniform",
    },
}
# Quirks of the public implementation that one of the two does not have.
ABSENT = {
    "cosyvoice2": {
        "generator.quirks.prefix_counts_as_text",
        "generator.quirks.text_stream_decodes_before_text",
    },
    "cosyvoice3": {"vocoder.quirks.discarded_draws", "vocoder.quirks.hamming_crossfade_frames"},
}


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Name every leaf of nested objects by its path."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, below in value.items():
        found |= flat(below, f"{prefix}.{name}" if prefix else name)
    return found


def shipped(family: str) -> dict[str, Any]:
    file = resources.files("voxkit") / "specs" / f"{family}.json"
    return flat(json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("family", OWN)
def test_the_numbers_are_those_of_the_release(family: str) -> None:
    spec, expected = shipped(family), BOTH | OWN[family]
    assert {name: spec[name] for name in expected} == expected


@pytest.mark.parametrize("family", OWN)
def test_every_quirk_that_the_release_has_is_there_for_compat(family: str) -> None:
    quirks = {name: on for name, on in shipped(family).items() if ".quirks." in name}
    assert len(quirks) == 14
    assert {name for name, on in quirks.items() if not on} == ABSENT[family]
