"""BPE text, the ONNX speech tokenizer and speaker encoder, and their checks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_onnx
import torch
from tiny_cosyvoice import WORDS, released, spec_of, write_text_files

from voxkit.cosyvoice_front import BpeText, OnnxSpeaker, OnnxTokenizer
from voxkit.cosyvoice_spec import BpeTextSpec
from voxkit.errors import ModelError
from voxkit.modules.spectral import kaldi_fbank, whisper_log_mel

TEXT = spec_of("cosyvoice3").text
SPEECH = released("cosyvoice2").tokenizer
SPEAKER = released("cosyvoice2").speaker


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> BpeText:
    folder = tmp_path_factory.mktemp("text")
    write_text_files(folder, spec_of("cosyvoice3"))
    return BpeText(TEXT, folder)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    count = round(seconds * 16_000)
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


# ---- text ---------------------------------------------------------------------------------------


def test_merges_are_applied_and_spaces_belong_to_the_word_after(bpe: BpeText) -> None:
    word = {w: 256 + i for i, w in enumerate(WORDS)}
    assert bpe.ids("hello") == (word["hello"],)
    assert bpe.ids("wo rl") == (word["wo"], ord(" "), word["rl"])


@pytest.mark.parametrize(
    "text",
    ["hello world", "Grüße, 世界! 😀", "a\n\n b\t c  ", "it's 12,345.6", "ｆｕｌｌ", "\u0301"],
)
def test_every_text_comes_back(bpe: BpeText, text: str) -> None:
    assert bpe.text(bpe.ids(text)) == text


def test_digits_stand_alone_and_contractions_are_cut_off(bpe: BpeText) -> None:
    assert len(bpe.ids("123")) == 3
    assert bpe.ids("he'll") == (*bpe.ids("he"), *bpe.ids("'ll"))
    assert bpe.ids("'ll") == (bpe.ids("'")[0], 256 + WORDS.index("ll"))


def test_composed_and_decomposed_letters_are_one(bpe: BpeText) -> None:
    assert bpe.ids("é") == bpe.ids("e\u0301")


def test_special_tokens_are_found_anywhere_and_have_consecutive_ids(bpe: BpeText) -> None:
    first = TEXT.first_special_id
    for index, token in enumerate(TEXT.special_tokens):
        assert bpe.ids(f"he{token}he") == (*bpe.ids("he"), first + index, *bpe.ids("he")), token


def test_special_tokens_take_no_space_with_them(bpe: BpeText) -> None:
    ids = bpe.ids(" [breath] ")
    assert ids == (*bpe.ids(" "), TEXT.first_special_id + 4, *bpe.ids(" "))


def test_no_text_has_no_ids(bpe: BpeText) -> None:
    assert bpe.ids("") == ()


def test_released_special_tokens_fill_the_released_tables() -> None:
    for family, count, last in (("cosyvoice2", 20, 151_662), ("cosyvoice3", 281, 151_923)):
        spec = released(family).text
        assert len(set(spec.special_tokens)) == count
        assert spec.first_special_id + count - 1 == last
        assert spec.special_tokens.index("<|endofprompt|>") + spec.first_special_id == 151_646


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("vocab", None, "is missing"),
        ("vocab", "{", "is damaged"),
        ("vocab", "[]", "is not a table of token ids"),
        ("vocab", '{"a": 0, "b": 0}', "is not a table of token ids"),
        ("vocab", '{"a": 0, "b": 5}', "is not a table of token ids"),
        ("vocab", '{"a": 0}', "has 1 entries and not the 263"),
        ("merges", None, "is missing"),
        ("merges", b"\xff\xff", "is damaged"),
        ("merges", "#version: 0.2\nh e\nhello", "Line 3 of .* is no merge"),
        ("merges", "zz zz", "does not fit"),
        ("merges", "", "is empty"),
        ("vocab", '{"a": [0]}', "is not a table"),
    ],
)
def test_damaged_text_files_are_named(
    file: str, content: str | bytes | None, message: str, tmp_path: Path
) -> None:
    write_text_files(tmp_path, spec_of("cosyvoice3"))
    path = tmp_path / (TEXT.vocabulary_file if file == "vocab" else TEXT.merges_file)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelError, match=message) as raised:
        BpeText(TEXT, tmp_path)
    assert path.name in str(raised.value)


def test_text_tables_are_read_by_their_names_in_the_spec(tmp_path: Path) -> None:
    spec = BpeTextSpec("bpe", "v.json", "m.txt", 3, ("<x>",), "<x>", 80, 60, "")
    (tmp_path / "v.json").write_text(json.dumps({"a": 0, "b": 1, "aa": 2}), encoding="utf-8")
    (tmp_path / "m.txt").write_text("a a", encoding="utf-8")
    assert BpeText(spec, tmp_path).ids("abaa<x>") == (0, 1, 2, 3)


# ---- speech tokens ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> OnnxTokenizer:
    file = tiny_onnx.speech_tokenizer(tmp_path_factory.mktemp("onnx") / "tokenizer.onnx")
    return OnnxTokenizer(SPEECH, file)


def expected(mel: torch.Tensor) -> np.ndarray:
    """What the tiny tokenizer makes of a log-mel (1, M, F)."""
    return (mel[0, 0, ::4].numpy() * 100).__abs__().clip(0, 6560).astype(np.int64)


@pytest.mark.parametrize("samples", [640, 641, 16_000, 16_159])
def test_four_frames_give_a_token(tokenizer: OnnxTokenizer, samples: int) -> None:
    tokens = tokenizer.encode(noise(samples / 16_000))
    assert len(tokens) == -(-(samples // 160) // 4)
    assert tokens.dtype == np.int64


def test_speech_goes_in_as_whisper_hears_it(tokenizer: OnnxTokenizer) -> None:
    samples = noise(2.0)
    mel = whisper_log_mel(torch.from_numpy(samples)[None], bins=128)
    assert np.array_equal(tokenizer.encode(samples), expected(mel))


@pytest.mark.parametrize("seconds", [30.0, 30.02, 45.0, 56.0, 70.3])
def test_speech_of_any_length_is_one_row_of_tokens(
    tokenizer: OnnxTokenizer, seconds: float
) -> None:
    """The tiny tokenizer has no context, so windows must join to what the whole would give."""
    samples = noise(seconds)
    tokens = tokenizer.encode(samples)
    mel = whisper_log_mel(torch.from_numpy(samples)[None], bins=128)
    assert np.array_equal(tokens, expected(mel))


def test_no_speech_has_no_tokens(tokenizer: OnnxTokenizer) -> None:
    assert tokenizer.encode(noise(0.0)).shape == tokenizer.encode(noise(0.009)).shape == (0,)


# ---- speaker ------------------------------------------------------------------------------------


def test_a_speaker_is_heard_through_the_bank_without_its_mean(tmp_path: Path) -> None:
    speaker = OnnxSpeaker(SPEAKER, tiny_onnx.speaker_encoder(tmp_path / "campplus.onnx"))
    samples = noise(1.0)
    bank = kaldi_fbank(torch.from_numpy(samples)[None])[0].double().numpy()
    mix = np.random.default_rng(0).normal(size=(80, 192)).astype(np.float32)
    vector = speaker.embed(samples)
    assert vector.shape == (192,) and vector.dtype == np.float32
    np.testing.assert_allclose(vector, bank.var(axis=0) @ mix, atol=1e-2)


# ---- files that are something else --------------------------------------------------------------


@pytest.mark.parametrize("kind", [OnnxTokenizer, OnnxSpeaker])
def test_files_that_are_no_onnx_are_named(kind: type, tmp_path: Path) -> None:
    spec = SPEECH if kind is OnnxTokenizer else SPEAKER
    with pytest.raises(ModelError, match=r"no\.onnx is missing"):
        kind(spec, tmp_path / "no.onnx")
    whole = tiny_onnx.speaker_encoder(tmp_path / "whole.onnx").read_bytes()
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n", whole[:-200]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.onnx"):
            kind(spec, tmp_path / "bad.onnx")


def test_one_model_in_place_of_the_other_is_refused(tmp_path: Path) -> None:
    speech = tiny_onnx.speech_tokenizer(tmp_path / "speech.onnx")
    speaker = tiny_onnx.speaker_encoder(tmp_path / "speaker.onnx")
    with pytest.raises(ModelError, match=r"speaker\.onnx takes 1 inputs and not 2"):
        OnnxTokenizer(SPEECH, speaker)
    with pytest.raises(ModelError, match=r"speech\.onnx takes 2 inputs and not 1"):
        OnnxSpeaker(SPEAKER, speech)


def test_a_tokenizer_for_another_mel_is_refused(tmp_path: Path) -> None:
    file = tiny_onnx.speech_tokenizer(tmp_path / "v1.onnx", bins=80)
    with pytest.raises(ModelError, match=r"v1\.onnx takes tensor\(float\) \[1, 80, 'frames'\]"):
        OnnxTokenizer(SPEECH, file)


def test_a_tokenizer_of_another_rate_is_refused(tmp_path: Path) -> None:
    file = tiny_onnx.speech_tokenizer(tmp_path / "fast.onnx", every=2)
    with pytest.raises(ModelError, match=r"fast\.onnx gave 50 tokens .* not 25"):
        OnnxTokenizer(SPEECH, file).encode(noise(1.0))


def test_a_tokenizer_with_a_larger_codebook_is_refused(tmp_path: Path) -> None:
    file = tiny_onnx.speech_tokenizer(tmp_path / "large.onnx", codebook=6561)
    spec = spec_of("cosyvoice2").tokenizer
    with pytest.raises(ModelError, match=r"large\.onnx gave a token outside 0 to 39"):
        OnnxTokenizer(spec, file).encode(noise(1.0))


def test_a_speaker_encoder_of_another_width_is_refused(tmp_path: Path) -> None:
    file = tiny_onnx.speaker_encoder(tmp_path / "wide.onnx", width=256)
    with pytest.raises(ModelError, match=r"wide\.onnx gave \(1, 256\) .* not 192"):
        OnnxSpeaker(SPEAKER, file).embed(noise(1.0))
