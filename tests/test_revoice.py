"""Conversion keeps the time of a recording, streams it, and asks for a voice of the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_cosyvoice

from voxkit import checkpoint
from voxkit.audio import Audio
from voxkit.engine import Engine
from voxkit.errors import VoiceError
from voxkit.options import Options
from voxkit.voice import Voice


@pytest.fixture(scope="module", params=["native", *tiny_cosyvoice.FAMILIES])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Engine, Voice]:
    """A tiny engine of every family, and a voice of it."""
    if request.param == "native":
        return tiny.engine(), tiny.voice()
    root = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(root / "cache"))
        folder = tiny_cosyvoice.hub_folder(root / "model", request.param)
        engine = checkpoint.load(folder, device="cpu")
    voice = tiny_cosyvoice.voice(tiny_cosyvoice.spec_of(request.param))
    return engine, dataclasses.replace(voice, made_by=engine.fingerprint)


def converted(
    engine: Engine, voice: Voice, audio: Audio | list[Audio], seed: int = 0
) -> np.ndarray:
    pieces = list(engine.convert(audio, voice, Options(seed=seed)))
    assert {piece.sample_rate for piece in pieces} == {engine.sample_rate}
    return np.concatenate([piece.samples for piece in pieces])


@pytest.mark.parametrize(("seconds", "rate"), [(0.01, tiny.RATE), (1.0, 16_000), (5.03, 11_025)])
def test_a_converted_recording_lasts_as_long(
    pair: tuple[Engine, Voice], seconds: float, rate: int
) -> None:
    audio = tiny.tone(150.0, seconds, rate)
    made = converted(*pair, audio)
    assert len(made) == round(len(audio.samples) * pair[0].sample_rate / rate)
    assert np.isfinite(made).all()
    assert np.abs(made).max() <= 1.0


def test_one_seed_gives_one_result_and_blocks_change_nothing(pair: tuple[Engine, Voice]) -> None:
    audio = tiny.tone(150.0, 6.0)
    whole = converted(*pair, audio)
    parts = [Audio(part, audio.sample_rate) for part in np.array_split(audio.samples, 9)]
    assert np.array_equal(converted(*pair, parts), whole)


def test_the_first_piece_comes_before_the_recording_is_read() -> None:
    read: list[int] = []

    def arriving() -> list[Audio]:
        for second in range(30):
            read.append(second)
            yield tiny.tone(150.0, 1.0, seed=second)  # type: ignore[misc]

    next(iter(tiny.engine().convert(arriving(), tiny.voice())))
    assert len(read) <= 6


def test_another_voice_and_another_seed_sound_otherwise() -> None:
    audio = tiny.tone(150.0, 2.0)
    one = converted(tiny.engine(), tiny.voice(0), audio)
    assert not np.array_equal(one, converted(tiny.engine(), tiny.voice(1), audio))
    assert not np.array_equal(one, converted(tiny.engine(), tiny.voice(0), audio, seed=1))


def test_silence_stays_silence() -> None:
    silence = Audio(np.zeros(2 * tiny.RATE, np.float32), tiny.RATE)
    assert not converted(tiny.engine(), tiny.voice(), silence).any()


def test_nothing_becomes_nothing() -> None:
    assert list(tiny.engine().convert(Audio(np.zeros(0, np.float32), 8_000), tiny.voice())) == []


def test_a_voice_of_another_model_is_refused_at_once() -> None:
    with pytest.raises(VoiceError, match="made by other:1"):
        tiny.engine().convert(tiny.tone(150.0, 1.0), tiny.voice(made_by="other:1"))


def test_numbers_that_no_voice_of_the_model_has_are_refused(tmp_path: Path) -> None:
    good = tiny.voice()
    for changes in (
        {"mel": np.zeros((7, good.mel.shape[1]), np.float32)},
        {"speaker": np.ones(3, np.float32)},
        {"tokens": np.full(len(good.tokens), 10**6)},
        {"mel": np.zeros((16, 3 * len(good.tokens)), np.float32)},
    ):
        bad = dataclasses.replace(good, **changes)
        for use in (tiny.engine().stream, tiny.engine().adopt):
            with pytest.raises(VoiceError, match="numbers are of another model"):
                use("Hello.", bad) if use == tiny.engine().stream else use(bad)
