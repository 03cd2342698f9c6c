"""Turns a corpus into what generator and decoder learn from: tokens, aligned phones, voices.

One `.npz` a shard is kept, so that a run that was stopped goes on where it was.  It names the
weights that made it, and is made anew by others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from voxkit.checkpoint import digest
from voxkit.modules.fsq import codes_to_tokens
from voxkit.modules.speaker import SpeakerEncoder
from voxkit.phonemes import SYMBOLS, LetterReader, Lexicon, phones
from voxkit.prosody import controls, measure
from voxkit.spec import MelSpec
from voxkit.train.align import align, graph
from voxkit.train.data import Utterance
from voxkit.train.tokenizer import TokenizerNet

_SILENT_FRAMES = 8  # a pause of 160 ms may end a piece
_PIECE_TOKENS = 60  # pieces of long utterances last at least 2.4 s
_LONG_TOKENS = 110


@dataclass(frozen=True)
class Encoded:
    """One utterance as tokens."""

    utterance: Utterance
    tokens: np.ndarray  # (T,) int16
    speaker: np.ndarray  # (D,) float32
    controls: np.ndarray  # (4,) float32: rate, pitch, pitch range, energy, about 0 ± 1
    given: np.ndarray  # (4,) float32, 0 where a control could not be measured
    pieces: tuple[Piece, ...]  # empty where there is no text


@dataclass(frozen=True)
class Piece:
    """A stretch of an utterance between two pauses, with its text."""

    start: int  # first token
    symbols: np.ndarray  # (N,) int16 symbol ids
    spoken: np.ndarray  # (T',) int16 position in `symbols` that each token speaks


def encode(
    utterances: Sequence[Utterance],
    tokenizer: TokenizerNet,
    speaker: SpeakerEncoder,
    mel: MelSpec,
    letters: LetterReader | None,
    folder: Path,
    part: tuple[int, int] = (0, 1),
) -> Iterator[int]:
    """Encode shard by shard into `folder`; yields the number of utterances of each shard.

    `part` = (i, n) takes every n-th shard from the i-th, for several processes side by side.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_by = weights_of(tokenizer, speaker)
    shards = shards_of(utterances)
    for name in list(shards)[part[0] :: part[1]]:
        path = folder / f"{name}.npz"
        if _made_by(path) != made_by:
            arrays: dict[str, np.ndarray] = {"made_by": np.array(made_by)}
            for i, u in enumerate(shards[name]):
                for key, value in _encode(u, tokenizer, speaker, mel, letters).items():
                    arrays[f"{i}/{key}"] = value
            partial = folder / f".{name}-{os.getpid()}.npz"
            np.savez(partial, **arrays)  # type: ignore[arg-type]
            partial.replace(path)
        yield len(shards[name])


def weights_of(tokenizer: TokenizerNet, speaker: SpeakerEncoder) -> str:
    """Return a digest of the weights that decide what `encode` makes."""
    state = {f"tokenizer.{n}": w.cpu() for n, w in tokenizer.state_dict().items()}
    return digest(state | {f"speaker.{n}": w.cpu() for n, w in speaker.state_dict().items()})


def outdated(folder: Path, made_by: str) -> int:
    """Count the shards in `folder` that other weights than `made_by` have encoded."""
    return sum(_made_by(path) != made_by for path in folder.glob("[!.]*.npz"))


def _made_by(path: Path) -> str:
    if not path.exists():
        return ""
    with np.load(path) as file:
        return str(file["made_by"]) if "made_by" in file.files else ""


def shards_of(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """Group utterances by the shard they lie in."""
    groups: dict[str, list[Utterance]] = {}
    for u in utterances:
        groups.setdefault(u.shard, []).append(u)
    return groups


def load_encoded(utterances: Sequence[Utterance], folder: Path) -> list[Encoded]:
    """Read what `encode` wrote for these utterances; shards not encoded yet are left out."""
    found = []
    for name, group in shards_of(utterances).items():
        path = folder / f"{name}.npz"
        if not path.exists():
            continue
        with np.load(path) as file:
            rows: list[dict[str, np.ndarray]] = [{} for _ in group]
            for key in file.files:
                index, inside, entry = key.partition("/")
                if inside:
                    rows[int(index)][entry] = file[key]
        for u, row in zip(group, rows, strict=True):
            pieces: list[Piece] = []
            while f"{len(pieces)}/symbols" in row:
                n = len(pieces)
                pieces.append(
                    Piece(int(row[f"{n}/start"]), row[f"{n}/symbols"], row[f"{n}/spoken"])
                )
            found.append(
                Encoded(
                    u,
                    row["tokens"],
                    row["speaker"],
                    row["controls"],
                    row["given"],
                    tuple(pieces),
                )
            )
    return found


@torch.inference_mode()
def _encode(
    u: Utterance,
    tokenizer: TokenizerNet,
    speaker: SpeakerEncoder,
    mel: MelSpec,
    letters: LetterReader | None,
) -> dict[str, np.ndarray]:
    features = torch.from_numpy(u.mel.astype(np.float32)).T[None]
    features = (features - mel.mean) / mel.scale
    codes = tokenizer.encoder(features)
    row = {
        "tokens": codes_to_tokens(codes, tokenizer.encoder.spec.levels)[0].numpy().astype(np.int16),
        "speaker": speaker(features)[0].numpy(),
    }
    text = phones(u.text, Lexicon.bundled(), letters) if u.text else None
    path = states = None
    if text is not None and text.ids and not text.unknown:
        states = graph(text)
        path = align(tokenizer.decode(codes, features)[0].log_softmax(-1)[0].numpy(), states)
    rate = 0.0
    if path is not None and text is not None and states is not None:
        spoken = states.symbols[path]
        silent = states.optional[path]
        rate = float((~states.optional).sum() / max(1, (~silent).sum()) * mel.frame_rate)
        for n, piece in enumerate(_pieces(np.array(text.ids), spoken, silent)):
            row |= {
                f"{n}/start": np.int64(piece.start),
                f"{n}/symbols": piece.symbols,
                f"{n}/spoken": piece.spoken,
            }
    attributes = measure(u.f0.astype(np.float32), u.mel.astype(np.float32).T, rate)
    row["controls"], row["given"] = controls(attributes, mel)
    return row


def _pieces(ids: np.ndarray, spoken: np.ndarray, silent: np.ndarray) -> Iterator[Piece]:
    """Cut a long utterance at its pauses; a piece ends in a mark, `,` inside and `.` at the end.

    ids (N,) and, for every mel frame, the position that it speaks and whether it is silent (F,).
    The pieces leave out nothing that is spoken, even if only for one frame.
    """
    comma, stop = SYMBOLS.index(","), SYMBOLS.index(".")
    marks = {SYMBOLS.index(m) for m in ",.?!;"}
    word = SYMBOLS.index("_")
    frames = len(spoken) // 2 * 2
    token_symbol, token_silent = spoken[1:frames:2], silent[1:frames:2]
    total = len(token_symbol)
    cuts = [0]
    if total > _LONG_TOKENS:
        run = 0
        for t in range(total):
            run = run + 1 if token_silent[t] else 0
            middle = t - run // 2
            if (
                run == _SILENT_FRAMES // 2
                and middle - cuts[-1] >= _PIECE_TOKENS
                and total - middle >= _PIECE_TOKENS // 2
            ):
                cuts.append(middle)
    cuts.append(total)
    for start, end in zip(cuts, cuts[1:], strict=False):
        within = slice(2 * start, None if end == total else 2 * end)
        said = spoken[within][~silent[within]]
        if len(said) == 0:
            continue
        first = int(said.min()) if start else 0
        last = int(said.max()) if end < total else len(ids) - 1
        while first > 0 and ids[first - 1] == word:
            first -= 1
        symbols = list(ids[first : last + 1])
        follows = int(ids[last + 1]) if last + 1 < len(ids) else word
        if symbols[-1] not in marks:
            symbols.append(follows if follows in marks else (stop if end == total else comma))
        where = np.clip(token_symbol[start:end] - first, 0, len(symbols) - 1)
        yield Piece(start, np.array(symbols, np.int16), where.astype(np.int16))
