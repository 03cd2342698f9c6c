"""Turning a corpus into tokens, aligned phones and voices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_corpus
import torch

from voxkit.modules.fsq import codes_to_tokens
from voxkit.modules.speaker import SpeakerEncoder
from voxkit.phonemes import SYMBOLS, Lexicon, phones
from voxkit.prosody import attributes
from voxkit.train.corpus import PHONE_CLASSES, phone_class
from voxkit.train.data import Utterance
from voxkit.train.encode import (
    Encoded,
    _pieces,
    encode,
    load_encoded,
    outdated,
    shards_of,
    weights_of,
)
from voxkit.train.tokenizer import TokenizerNet

MARKS = {SYMBOLS.index(mark) for mark in ",.?!;"}
BOUNDARY = SYMBOLS.index("_")


@pytest.fixture(scope="module")
def tokenizer() -> TokenizerNet:
    return tiny.stir(tiny_corpus.Knowing(tiny.SPEC.tokenizer, tiny.MEL.bins)).eval()


@pytest.fixture(scope="module")
def speaker() -> SpeakerEncoder:
    return tiny.stir(SpeakerEncoder(tiny.SPEC.speaker, tiny.MEL.bins)).eval()


def run(
    tokenizer: TokenizerNet,
    speaker: SpeakerEncoder,
    folder: Path,
    utterances: Sequence[Utterance] = tiny_corpus.utterances(),
    part: tuple[int, int] = (0, 1),
) -> list[int]:
    return list(encode(utterances, tokenizer, speaker, tiny.MEL, None, folder, part))


@pytest.fixture(scope="module")
def done(
    tokenizer: TokenizerNet, speaker: SpeakerEncoder, tmp_path_factory: pytest.TempPathFactory
) -> list[Encoded]:
    folder = tmp_path_factory.mktemp("encoded")
    run(tokenizer, speaker, folder)
    return load_encoded(tiny_corpus.utterances(), folder)


# ---- what is kept -----------------------------------------------------------------------------


def test_every_utterance_becomes_its_tokens_and_its_voice(
    done: list[Encoded], tokenizer: TokenizerNet, speaker: SpeakerEncoder
) -> None:
    assert [e.utterance for e in done] == list(tiny_corpus.utterances())
    for e in done:
        mel = torch.from_numpy(e.utterance.mel.astype(np.float32)).T[None]
        mel = (mel - tiny.MEL.mean) / tiny.MEL.scale
        with torch.no_grad():
            tokens = codes_to_tokens(tokenizer.encoder(mel), tiny.SPEC.tokenizer.levels)[0]
            vector = speaker(mel)[0]
        assert e.tokens.tolist() == tokens.tolist()
        assert e.tokens.dtype == np.int16
        assert 2 * len(e.tokens) == e.utterance.frames
        np.testing.assert_allclose(e.speaker, vector.numpy(), atol=1e-6)


def test_controls_are_what_can_be_measured(done: list[Encoded]) -> None:
    for e in done:
        assert e.given.tolist() == [1, 1, 1, 1]
        found = attributes(e.controls, e.given > 0, tiny.MEL)
        assert found["pitch_hz"] == pytest.approx(tiny_corpus.PITCH[e.utterance.speaker], rel=0.01)
        # every phone lasts 80 ms, and the edges of silences are blurred
        assert found["rate_phones_s"] == pytest.approx(12.5, rel=0.2)


def test_text_is_laid_along_the_tokens(done: list[Encoded]) -> None:
    for e in done:
        ids = phones(e.utterance.text, Lexicon.bundled()).ids
        assert len(e.pieces) == 1
        piece = e.pieces[0]
        assert piece.start == 0
        assert tuple(piece.symbols) == ids
        assert len(piece.spoken) == len(e.tokens)
        assert (np.diff(piece.spoken) >= 0).all()
        assert set(piece.spoken.tolist()) <= set(range(len(ids)))
        truth = tiny_corpus.sound(e.utterance.text, e.utterance.speaker)[1][1::2]
        heard = [PHONE_CLASSES[c] for c in truth]
        said = [SYMBOLS[ids[n]] for n in piece.spoken]
        right = [
            phone_class(s) == c if s[0].isalpha() else name == "PAU"
            for s, c, name in zip(said, truth, heard, strict=True)
        ]
        assert np.mean(right) > 0.7  # windows of 80 ms blur the edges of sounds of 80 ms


def test_without_text_there_is_neither_piece_nor_rate(
    tokenizer: TokenizerNet, speaker: SpeakerEncoder, tmp_path: Path
) -> None:
    mute = [dataclasses.replace(u, text="") for u in tiny_corpus.utterances()[:2]]
    run(tokenizer, speaker, tmp_path, mute)
    for e in load_encoded(mute, tmp_path):
        assert e.pieces == ()
        assert e.given.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("text", ["blorfex, hello.", "... !"])
def test_text_that_cannot_be_said_is_not_laid_along_the_tokens(
    tokenizer: TokenizerNet, speaker: SpeakerEncoder, tmp_path: Path, text: str
) -> None:
    strange = [dataclasses.replace(tiny_corpus.utterances()[0], text=text)]
    run(tokenizer, speaker, tmp_path, strange)
    assert load_encoded(strange, tmp_path)[0].pieces == ()


def test_text_longer_than_its_clip_is_not_laid_along_the_tokens(
    tokenizer: TokenizerNet, speaker: SpeakerEncoder, tmp_path: Path
) -> None:
    talk = " ".join(["Hello there, my friend."] * 30)
    long = [dataclasses.replace(tiny_corpus.utterances()[0], text=talk)]
    run(tokenizer, speaker, tmp_path, long)
    assert load_encoded(long, tmp_path)[0].pieces == ()


# ---- shard by shard ---------------------------------------------------------------------------


def test_there_is_one_file_for_each_shard(
    tokenizer: TokenizerNet, speaker: SpeakerEncoder, tmp_path: Path
) -> None:
    groups = shards_of(tiny_corpus.utterances())
    assert run(tokenizer, speaker, tmp_path) == [len(group) for group in groups.values()]
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.npz" for name in groups}


def test_a_second_run_encodes_only_what_is_missing(
    tokenizer: TokenizerNet, speaker: SpeakerEncoder, tmp_path: Path
) -> None:
    run(tokenizer, speaker, tmp_path)
    kept, lost = tmp_path / "real-0000.npz", tmp_path / "synthetic-0000.npz"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    assert [e.utterance.set for e in load_encoded(tiny_corpus.utterances(), tmp_path)] == (
        ["real"] * 8
    )
    assert run(tokenizer, speaker, tmp_path) == [8, 4]
    assert kept.stat().st_mtime_ns == before
    assert len(load_encoded(tiny_corpus.utterances(), tmp_path)) == 12


def test_several_processes_share_the_shards(
    tokenizer: TokenizerNet, speaker: SpeakerEncoder, tmp_path: Path
) -> None:
    assert run(tokenizer, speaker, tmp_path, part=(1, 2)) == [4]
    assert [p.name for p in tmp_path.iterdir()] == ["synthetic-0000.npz"]
    assert run(tokenizer, speaker, tmp_path, part=(0, 2)) == [8]


def test_other_weights_encode_the_corpus_anew(
    tokenizer: TokenizerNet, speaker: SpeakerEncoder, tmp_path: Path
) -> None:
    run(tokenizer, speaker, tmp_path)
    assert outdated(tmp_path, weights_of(tokenizer, speaker)) == 0
    other = tiny.stir(SpeakerEncoder(tiny.SPEC.speaker, tiny.MEL.bins), seed=1).eval()
    assert outdated(tmp_path, weights_of(tokenizer, other)) == 2
    before = load_encoded(tiny_corpus.utterances(), tmp_path)
    run(tokenizer, other, tmp_path)
    after = load_encoded(tiny_corpus.utterances(), tmp_path)
    assert outdated(tmp_path, weights_of(tokenizer, other)) == 0
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(a.tokens, b.tokens)
        assert not np.allclose(a.speaker, b.speaker)


# ---- pieces of long utterances ----------------------------------------------------------------


def spread(pauses: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids of four clauses, and frames that speak them with pauses of so many frames between."""
    clause = tiny.phone_ids("_ HH AH0 L OW1 _ DH EH1 R ,")
    ids = (clause * 4)[:-1] + tiny.phone_ids(".")
    spoken, silent = [], []
    for n in range(4):
        base = n * len(clause)
        for position, symbol in enumerate(clause[:-1]):
            if symbol != BOUNDARY:
                spoken += [base + position] * 18
                silent += [False] * 18
        rest = pauses[n] if n < len(pauses) else 4
        spoken += [base + len(clause) - 1] * rest
        silent += [True] * rest
    return np.array(ids), np.array(spoken), np.array(silent)


def test_a_long_utterance_is_cut_in_the_middle_of_its_pauses() -> None:
    ids, spoken, silent = spread([12, 12, 12])
    pieces = list(_pieces(ids, spoken, silent))
    assert len(pieces) == 4
    ends = [p.start + len(p.spoken) for p in pieces]
    assert [p.start for p in pieces] == [0, *ends[:-1]]
    assert ends[-1] == len(spoken) // 2
    for piece in pieces[1:]:
        assert silent[2 * piece.start]  # cut inside a pause
    symbols = [[SYMBOLS[s] for s in p.symbols] for p in pieces]
    assert symbols[0] == "_ HH AH0 L OW1 _ DH EH1 R ,".split()
    assert symbols[-1] == "_ HH AH0 L OW1 _ DH EH1 R .".split()
    for piece in pieces:
        named = ids[spoken[2 * piece.start + 1 : 2 * (piece.start + len(piece.spoken)) : 2]]
        loud = ~silent[2 * piece.start + 1 : 2 * (piece.start + len(piece.spoken)) : 2]
        assert np.array_equal(piece.symbols[piece.spoken][loud], named[loud])


def test_phones_of_one_frame_at_the_edges_of_a_piece_stay_in_its_text() -> None:
    ids, spoken, silent = spread([12, 12, 12])
    hello = spoken[:18]  # 18 frames of HH: now one frame of it, and AH0 for the rest
    assert len(set(hello)) == 1
    spoken[1:18] = spoken[18]
    pieces = list(_pieces(ids, spoken, silent))
    assert [SYMBOLS[s] for s in pieces[0].symbols] == "_ HH AH0 L OW1 _ DH EH1 R ,".split()
    start = 2 * pieces[1].start + int(np.argmin(silent[2 * pieces[1].start :]))
    start += start % 2  # an even frame: no token is read there
    spoken[start + 1 : start + 18] = spoken[start + 18]
    silent[2 * pieces[1].start : start] = True
    again = list(_pieces(ids, spoken, silent))
    assert [SYMBOLS[s] for s in again[1].symbols] == "_ HH AH0 L OW1 _ DH EH1 R ,".split()


def test_the_last_piece_ends_where_the_text_ends() -> None:
    ids, spoken, silent = spread([12, 12, 12])
    end = len(spoken) - 4 - 17  # of R only one frame is left, which no token is read at
    end -= 1 - end % 2
    pieces = list(_pieces(ids, spoken[:end], silent[:end]))
    assert [SYMBOLS[s] for s in pieces[-1].symbols] == "_ HH AH0 L OW1 _ DH EH1 R .".split()


def test_short_pauses_cut_nothing() -> None:
    ids, spoken, silent = spread([4, 4, 4])
    pieces = list(_pieces(ids, spoken, silent))
    assert len(pieces) == 1
    assert tuple(pieces[0].symbols) == tuple(ids)


def test_a_short_utterance_is_left_whole() -> None:
    ids, spoken, silent = spread([12, 12, 12])
    first = slice(0, 2 * 100)
    pieces = list(_pieces(ids, spoken[first], silent[first]))
    assert [p.start for p in pieces] == [0]


@pytest.mark.parametrize("seed", range(5))
def test_every_piece_ends_in_a_mark_and_begins_with_a_word(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids, spoken, silent = spread(list(rng.integers(0, 30, 3)))
    for piece in _pieces(ids, spoken, silent):
        assert piece.symbols[-1] in MARKS
        assert piece.symbols[0] == BOUNDARY
        assert len(piece.spoken) >= 30
