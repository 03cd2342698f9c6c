"""Reading training shards."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_corpus

from voxkit.errors import TrainingError
from voxkit.train.corpus import F0_PER_FRAME
from voxkit.train.data import Mixture, Utterance, load_corpus


def write_shard(folder: Path, utterances: list[Utterance]) -> None:
    """Write utterances as the documentation of a shard says."""
    folder.mkdir(parents=True)
    for name in ("wav", "mel", "f0", "phones"):
        np.save(folder / f"{name}.npy", np.concatenate([getattr(u, name) for u in utterances]))
    rows = [
        {k: getattr(u, k) for k in ("id", "set", "speaker", "text", "held_out", "frames")}
        for u in utterances
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "utterances.jsonl").write_text(text, encoding="utf-8")


def test_utterances_come_back_as_they_were_written(tmp_path: Path) -> None:
    given = list(tiny_corpus.utterances())
    write_shard(tmp_path / "b-0000", given[:5])
    write_shard(tmp_path / "a-0000", given[5:])
    (tmp_path / ".partial-x").mkdir()
    found = load_corpus(tmp_path)
    assert [u.id for u in found] == [u.id for u in given[5:] + given[:5]]  # shards in name order
    for u, wanted in zip(found, given[5:] + given[:5], strict=True):
        assert u.shard == ("a-0000" if wanted in given[5:] else "b-0000")
        assert (u.set, u.speaker, u.text, u.held_out, u.frames) == (
            (wanted.set, wanted.speaker, wanted.text, wanted.held_out, wanted.frames)
        )
        for name in ("wav", "mel", "f0", "phones"):
            assert np.array_equal(getattr(u, name), getattr(wanted, name)), name
        assert len(u.wav) == u.frames * tiny.HOP
        assert len(u.f0) == u.frames * F0_PER_FRAME


def test_arrays_stay_on_the_disk(tmp_path: Path) -> None:
    write_shard(tmp_path / "a-0000", list(tiny_corpus.utterances()))
    assert isinstance(load_corpus(tmp_path)[0].mel, np.memmap)


def test_a_folder_without_shards_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="voxkit train corpus"):
        load_corpus(tmp_path)


def test_a_folder_that_is_not_there_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="voxkit train corpus"):
        load_corpus(tmp_path / "corpus")


def test_a_mixture_draws_its_sets_in_their_shares() -> None:
    mixture = Mixture(tiny_corpus.utterances(), {"real": 3.0, "synthetic": 1.0})
    rng = np.random.default_rng(0)
    counts = Counter(mixture.draw(rng).set for _ in range(2000))
    assert counts["real"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_a_mixture_draws_only_what_it_names() -> None:
    mixture = Mixture(tiny_corpus.utterances(), {"synthetic": 1.0, "absent": 5.0, "real": 0.0})
    rng = np.random.default_rng(0)
    assert {mixture.draw(rng).set for _ in range(50)} == {"synthetic"}


def test_a_mixture_draws_every_utterance_and_repeats_itself_with_the_same_seed() -> None:
    mixture = Mixture(tiny_corpus.utterances(), {"real": 1.0})
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    drawn = [mixture.draw(rng).id for _ in range(200)]
    assert len(set(drawn)) == 8
    assert drawn == [mixture.draw(same).id for _ in range(200)]


def test_shares_of_sets_that_are_not_there_are_refused() -> None:
    with pytest.raises(TrainingError, match="shares"):
        Mixture(tiny_corpus.utterances(), {"absent": 1.0})


def test_the_shares_need_not_be_whole(tmp_path: Path) -> None:
    many = [dataclasses.replace(u, set=f"s{n % 3}") for n, u in enumerate(tiny_corpus.utterances())]
    mixture = Mixture(many, {"s0": 0.1, "s1": 0.1, "s2": 0.1})
    rng = np.random.default_rng(0)
    assert {mixture.draw(rng).set for _ in range(50)} == {"s0", "s1", "s2"}
