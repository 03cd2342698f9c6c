"""The space of voices is learnt from the speakers of a corpus whose gender is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from voxkit.audio import Audio
from voxkit.errors import TrainingError
from voxkit.train.data import Utterance
from voxkit.train.voice_space import VoicesRecipe, genders, learnt
from voxkit.voice import Description
from voxkit.voice_space import VoiceSpace

RECIPE = VoicesRecipe(sets=("one", "two"), women=("kathleen",), clips=2, directions=40)


def people(count: int) -> list[Utterance]:
    """Two utterances each of `count` speakers, the even ones higher."""
    made = []
    for number in range(2 * count):
        speaker = number % count
        tone = tiny.tone(120.0 + 80 * (speaker % 2 == 0) + speaker, 2.0, seed=number)
        wav = (tone.samples * 32767).astype(np.int16)
        nothing = np.zeros((0, 16), np.float16)
        row = Utterance(
            "shard", str(number), "one", f"s{speaker}", "", False,
            mel=nothing, f0=nothing, phones=nothing, wav=wav,
        )  # fmt: skip
        made.append(row)
    return made


class Ear:
    """Hears the loudest frequency."""

    def describe(self, audio: Audio, text_ids: Any) -> Description:
        pitch = self._pitch(audio)
        rng = np.random.default_rng(round(pitch))
        vector = rng.standard_normal(8).astype(np.float32)
        told = {"pitch_hz": pitch, "pitch_range_st": 2.0 + rng.random(), "energy_db": -30.0}
        mel = rng.normal(-6, 2, (16, 100)).astype(np.float32)
        return Description(np.arange(50), mel, vector / np.linalg.norm(vector), told)

    def f0(self, audio: Audio) -> np.ndarray:
        return np.full(400, self._pitch(audio))

    def _pitch(self, audio: Audio) -> float:
        spectrum = np.abs(np.fft.rfft(audio.samples))
        return float(np.argmax(spectrum)) * audio.sample_rate / len(audio.samples)


def space(utterances: Sequence[Utterance], women: dict[str, bool]) -> VoiceSpace:
    return learnt(
        utterances,
        women,
        RECIPE,
        Ear(),
        tiny.MEL,
        made_by="tiny:1",
        report=lambda done, total: None,
    )


def test_the_space_knows_how_high_women_and_men_speak() -> None:
    found = space(people(20), {f"s{n}": n % 2 == 0 for n in range(20)})
    assert (found.made_by, found.speakers) == ("tiny:1", 20)
    women, men = np.exp(found.means[:, 0])
    assert women == pytest.approx(209, rel=0.05)
    assert men == pytest.approx(130, rel=0.05)
    assert len(found.basis) <= 10  # no more directions than the speakers can tell


def test_speakers_of_unknown_gender_and_other_sets_are_left_out() -> None:
    known = {f"s{n}": n % 2 == 0 for n in range(16)}
    assert space(people(20), known).speakers == 16
    foreign = [dataclasses.replace(u, set="synthetic") for u in people(2)]
    assert space([*people(16), *foreign], known).speakers == 16


def test_too_few_speakers_are_told_by_number() -> None:
    with pytest.raises(TrainingError, match="5 women and 5 men whose gender is known: at least 8"):
        space(people(10), {f"s{n}": n % 2 == 0 for n in range(10)})


def test_genders_come_from_the_tables_and_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    table = (
        "; ID |SEX| SUBSET\n14   | F | train | 25 | Kristin\n16 | M | train\nodd line\n17 | X |\n"
    )
    (tmp_path / "two" / "SPEAKERS.TXT").write_text(table, encoding="utf-8")
    assert genders(tmp_path, RECIPE) == {"14": True, "16": False, "kathleen": True}
