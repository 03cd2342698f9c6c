"""The native speech tokenizer: a recording → what a voice is made of."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from voxkit.audio import Audio
from voxkit.modules.spectral import log_mel
from voxkit.tokenizer import FsqTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> FsqTokenizer:
    return tiny.engine().parts.tokenizer


@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.23, 3.0])
def test_there_are_twenty_five_tokens_a_second(tokenizer: FsqTokenizer, seconds: float) -> None:
    tokens = tokenizer.encode(tiny.tone(120, seconds))
    assert tokens.shape == (int(seconds * 50) // 2,)
    assert tokens.dtype == np.int64
    assert set(tokens.tolist()) <= set(range(tiny.SPEC.tokenizer.codebook))


def test_nothing_becomes_no_tokens(tokenizer: FsqTokenizer) -> None:
    assert tokenizer.encode(Audio(np.zeros(0, np.float32), tiny.RATE)).shape == (0,)


def test_other_sounds_become_other_tokens(tokenizer: FsqTokenizer) -> None:
    low, high = tokenizer.encode(tiny.tone(90, 2)), tokenizer.encode(tiny.tone(400, 2))
    assert (low != high).mean() > 0.3


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_rate_of_the_recording_hardly_matters(tokenizer: FsqTokenizer, rate: int) -> None:
    made = tokenizer.describe(tiny.tone(150, 2, rate), None)
    plain = tokenizer.describe(tiny.tone(150, 2), None)
    assert made.mel.shape == plain.mel.shape
    assert float((made.speaker * plain.speaker).sum()) > 0.9


def test_a_description_holds_what_belongs_together(tokenizer: FsqTokenizer) -> None:
    audio = tiny.tone(150, 1.5)
    made = tokenizer.describe(audio, None)
    assert np.array_equal(made.tokens, tokenizer.encode(audio))
    assert made.mel.shape == (tiny.MEL.bins, tiny.SPEC.mel_per_token * len(made.tokens))
    assert made.mel.dtype == made.speaker.dtype == np.float32
    assert np.linalg.norm(made.speaker) == pytest.approx(1.0, abs=1e-5)
    natural = log_mel(torch.from_numpy(audio.samples)[None], tiny.MEL)[0].numpy()
    assert np.array_equal(made.mel, natural[:, : made.mel.shape[1]])
    assert all(np.isfinite(value) for value in made.attributes.values())


def test_the_rate_of_speech_is_measured_only_with_a_transcript(tokenizer: FsqTokenizer) -> None:
    audio, text = tiny.tone(150, 2), tiny.phone_ids("_ HH AH0 L OW1 .")
    assert "rate_phones_s" not in tokenizer.describe(audio, None).attributes
    once = tokenizer.describe(audio, text).attributes["rate_phones_s"]
    twice = tokenizer.describe(audio, text + text).attributes["rate_phones_s"]
    assert twice == pytest.approx(2 * once)


def test_the_rate_of_speech_counts_phones_and_neither_boundaries_nor_marks(
    tokenizer: FsqTokenizer,
) -> None:
    audio = tiny.tone(150, 2)
    bare = tokenizer.describe(audio, tiny.phone_ids("HH AH0 L OW1"))
    marked = tokenizer.describe(audio, tiny.phone_ids("_ HH AH0 , _ L OW1 ."))
    assert marked.attributes["rate_phones_s"] == bare.attributes["rate_phones_s"]


def test_a_louder_recording_has_more_energy(tokenizer: FsqTokenizer) -> None:
    audio = tiny.tone(150, 2)
    quiet = Audio(audio.samples * np.float32(0.1), audio.sample_rate)
    louder = tokenizer.describe(audio, None).attributes["energy_db"]
    softer = tokenizer.describe(quiet, None).attributes["energy_db"]
    assert louder - softer == pytest.approx(20.0, abs=2.0)  # the log-mel has a floor


def test_arrays_can_be_written_to(tokenizer: FsqTokenizer) -> None:
    made = tokenizer.describe(tiny.tone(150, 1), None)
    for array in (made.tokens, made.mel, made.speaker):
        assert array.flags.writeable  # torch.from_numpy asks for it
