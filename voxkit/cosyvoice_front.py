"""What CosyVoice models hear and read: speech and voices through ONNX files, text as BPE ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxkit import onnx
from voxkit.cosyvoice_spec import BpeTextSpec, OnnxSpeakerSpec, OnnxTokenizerSpec
from voxkit.errors import ModelError
from voxkit.modules.spectral import kaldi_fbank, whisper_log_mel
from voxkit.multilingual import prepare
from voxkit.multilingual_stream import MultilingualStream
from voxkit.passages import join_glue
from voxkit.text import MAX_CHARACTERS, Script

# How Qwen2 cuts text before it merges bytes (arXiv 2407.10671; the pattern is part of the model).
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class BpeText:
    """Text ↔ text ids.  Special tokens of the model are recognised wherever they stand."""

    def __init__(self, spec: BpeTextSpec, folder: Path) -> None:
        """Read vocabulary and merges from a model's folder.  Raises `ModelError`."""
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
        from tokenizers.models import BPE

        vocabulary = _read_vocabulary(folder / spec.vocabulary_file)
        merges = _read_merges(folder / spec.merges_file)
        if len(vocabulary) != spec.first_special_id:
            raise ModelError(
                f"{folder / spec.vocabulary_file} has {len(vocabulary)} entries and not the "
                f"{spec.first_special_id} of this model: get the model again."
            )
        self.spec = spec
        self.language: str | None = None
        self.marks = frozenset(t for t in spec.special_tokens if not t.startswith("<|"))
        try:
            self._bpe = Tokenizer(BPE(vocab=vocabulary, merges=merges))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ModelError(
                f"{folder / spec.merges_file} does not fit {spec.vocabulary_file} ({error})."
            ) from error
        self._bpe.normalizer = normalizers.NFC()
        self._bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        self._bpe.decoder = decoders.ByteLevel()
        self._bpe.add_special_tokens(
            [AddedToken(token, normalized=False) for token in spec.special_tokens]
        )

    def prepare(self, text: str) -> Script:
        """Normalise text of any language that the model speaks and cut it into sentences."""
        return self._prepared(text, self.spec.most_ids, self.spec.least_ids)

    def arriving(self) -> MultilingualStream:
        """Return what takes a text in while it is being written."""
        return MultilingualStream(self.prepare)

    def plain(self, text: str) -> str:
        """Return a text as it is read, in one piece; nothing in it can steer the model."""
        sentences = self._prepared(text, MAX_CHARACTERS, MAX_CHARACTERS).sentences
        return reduce(lambda a, b: a + join_glue(a, b) + b, (s.text for s in sentences))

    def _prepared(self, text: str, most: int, least: int) -> Script:
        marks = self.spec.special_tokens
        return prepare(text, length=lambda s: len(self.ids(s)), most=most, least=least, marks=marks)

    def ids(self, sentence: str) -> tuple[int, ...]:
        """Return the ids (N,) of a text, none added before or after."""
        return tuple(self._bpe.encode(sentence, add_special_tokens=False).ids)

    def text(self, ids: Sequence[int]) -> str:
        """Ids → text, special tokens included."""
        return self._bpe.decode(list(ids), skip_special_tokens=False)


def _read_vocabulary(file: Path) -> dict[str, int]:
    try:
        vocabulary = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file} is missing: get the model again.") from None
    except ValueError as error:
        raise ModelError(f"{file} is damaged ({error}): get the model again.") from None
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror or error}).") from None
    numbers = list(vocabulary.values()) if isinstance(vocabulary, dict) else [None]
    if not all(type(n) is int for n in numbers) or set(numbers) != set(range(len(numbers))):
        raise ModelError(f"{file} is not a table of token ids: get the model again.")
    return vocabulary


def _read_merges(file: Path) -> list[tuple[str, str]]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise ModelError(f"{file} is missing: get the model again.") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is damaged ({error}): get the model again.") from None
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror or error}).") from None
    merges = []
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, gap, right = line.partition(" ")
        if not gap or not left or not right or " " in right:
            raise ModelError(f"Line {number} of {file} is no merge: get the model again.")
        merges.append((left, right))
    if not merges:
        raise ModelError(f"{file} is empty: get the model again.")
    return merges


class OnnxTokenizer:
    """Speech tokenizer of the hub: audio at 16 kHz → speech tokens."""

    def __init__(self, spec: OnnxTokenizerSpec, file: Path) -> None:
        """Open the file.  Raises `ModelError` if it is missing, damaged or something else."""
        self.spec, self.file = spec, file
        self._session = _session(file, inputs=2)
        mel, length = self._session.get_inputs()
        _check_input(file, mel, "float", (None, spec.bins, None))
        _check_input(file, length, "int32", (None,))
        self._names = (mel.name, length.name)

    def encode(self, samples: np.ndarray) -> np.ndarray:
        """Samples (S,) float32 at `spec.sample_rate` → tokens (T,) int64, T = ceil(S / 640).

        Speech beyond what the model hears at once goes in windows that overlap; each gives the
        tokens up to the middle of the overlap.
        """
        mel = whisper_log_mel(torch.from_numpy(samples)[None], bins=self.spec.bins).numpy()
        window, overlap = self.spec.window_frames, self.spec.overlap_frames
        if mel.shape[2] <= window:
            return self._tokens(mel)
        half, pieces, start = overlap // 2 // self.spec.frames_per_token, [], 0
        while True:
            last = start + window >= mel.shape[2]
            tokens = self._tokens(mel[:, :, start : start + window])
            pieces.append(tokens[half if start else 0 : len(tokens) if last else -half])
            if last:
                return np.concatenate(pieces)
            start += window - overlap

    def _tokens(self, mel: np.ndarray) -> np.ndarray:
        """One window of log-mel (1, bins, F) → tokens (T,), T = ceil(F / 4)."""
        frames = mel.shape[2]
        if frames == 0:
            return np.zeros(0, np.int64)
        feed = {
            self._names[0]: np.ascontiguousarray(mel, np.float32),
            self._names[1]: np.array([frames], np.int32),
        }
        tokens = np.asarray(self._session.run(None, feed)[0]).reshape(-1)
        expected = -(-frames // self.spec.frames_per_token)
        if len(tokens) != expected or tokens.dtype.kind not in "iu":
            raise ModelError(
                f"{self.file} gave {len(tokens)} tokens of type {tokens.dtype} for {frames} frames "
                f"and not {expected} whole numbers: it is no speech tokenizer of this model."
            )
        if (tokens < 0).any() or (tokens >= self.spec.codebook).any():
            raise ModelError(
                f"{self.file} gave a token outside 0 to {self.spec.codebook - 1}: "
                "it is no speech tokenizer of this model."
            )
        return tokens.astype(np.int64)


class OnnxSpeaker:
    """Speaker encoder of the hub: audio at 16 kHz → one vector."""

    def __init__(self, spec: OnnxSpeakerSpec, file: Path) -> None:
        """Open the file.  Raises `ModelError` if it is missing, damaged or something else."""
        self.spec, self.file = spec, file
        self._session = _session(file, inputs=1)
        (banks,) = self._session.get_inputs()
        _check_input(file, banks, "float", (None, None, spec.bins))
        self._name = banks.name

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Samples (S,) float32 at `spec.sample_rate`, 25 ms or more → speaker (D,) float32."""
        banks = kaldi_fbank(torch.from_numpy(samples)[None])
        banks = banks - banks.mean(dim=1, keepdim=True)
        vector = np.asarray(self._session.run(None, {self._name: banks.numpy()})[0])
        if vector.size != self.spec.embedding or not np.isfinite(vector).all():
            raise ModelError(
                f"{self.file} gave {vector.shape} for one speaker and not {self.spec.embedding} "
                "finite numbers: it is no speaker encoder of this model."
            )
        return vector.reshape(-1).astype(np.float32)


def _session(file: Path, *, inputs: int) -> Any:
    """Open an ONNX file on CPU with one thread, which is fastest for these (one clip a voice)."""
    if not file.is_file():
        raise ModelError(f"{file} is missing: get the model again.")
    try:
        session = onnx.session(file)
    except Exception as error:  # onnxruntime's errors share no narrower base
        raise ModelError(
            f"{file} cannot be opened as an ONNX model: delete it and get the model again."
        ) from error
    if len(session.get_inputs()) != inputs:
        raise ModelError(
            f"{file} takes {len(session.get_inputs())} inputs and not {inputs}: "
            "it is of another model."
        )
    return session


def _check_input(file: Path, found: Any, kind: str, shape: tuple[int | None, ...]) -> None:
    """Refuse an input of another type, number of axes or fixed size.  None is any size."""
    fits = found.type == f"tensor({kind})" and len(found.shape) == len(shape)
    if fits:
        pairs = zip(found.shape, shape, strict=True)
        fits = all(n is None or not isinstance(size, int) or size == n for size, n in pairs)
    if not fits:
        raise ModelError(
            f"{file} takes {found.type} {found.shape} as {found.name!r}: it is of another model."
        )
