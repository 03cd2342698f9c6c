"""Training data made of tones: one timbre a phone, one pitch a speaker, in memory or in folders."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import tiny
import torch
from torch import Tensor

from voxkit.modules.spectral import log_mel
from voxkit.phonemes import Lexicon, phones
from voxkit.train.corpus import F0_PER_FRAME, PHONE_CLASSES, phone_class
from voxkit.train.data import Utterance
from voxkit.train.encode import Encoded, Piece
from voxkit.train.tokenizer import TokenizerNet

PITCH = {"ann": 200.0, "bob": 110.0, "flite-x": 140.0}  # Hz, by speaker
BRIGHTNESS = {"ann": 1.0, "bob": -1.0, "flite-x": 0.0}  # high overtones against low ones
TEXTS = (
    "Hello there, my friend.",
    "The river is very deep.",
    "Nobody knew what to do.",
    "We can go home now.",
    "Seven old men walked by.",
    "Is it raining again?",
)
_PHONE_FRAMES = 4  # 80 ms


def segments_of(text: str) -> list[tuple[int, int]]:
    """Phone class and number of mel frames of each sound of `text`, silence around it."""
    silence = PHONE_CLASSES.index("PAU")
    found = [(silence, 5)]
    for symbol in phones(text, Lexicon.bundled()).symbols:
        if symbol[0].isalpha():
            found.append((phone_class(symbol), _PHONE_FRAMES))
        elif symbol == ",":
            found.append((silence, 9))
    return [*found, (silence, 5)]


def sound(text: str, speaker: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Say `text` in tones: samples (S,) float32 and the phone class of each mel frame (F,)."""
    labels = np.concatenate([np.full(n, c, np.int16) for c, n in segments_of(text)])
    labels = labels[: len(labels) // 2 * 2]
    each = np.repeat(labels, tiny.HOP)
    time = np.arange(len(each)) / tiny.RATE
    colour = 500.0 + 70.0 * each  # Hz, the timbre of each class
    pitch = PITCH[speaker]
    wave = np.zeros(len(each))
    for k in range(1, int(3900 / pitch)):
        strength = np.exp(-(((pitch * k - colour) / 250.0) ** 2)) + 0.02
        strength *= (pitch * k / 1500.0) ** BRIGHTNESS[speaker]
        wave += strength * np.sin(2 * np.pi * pitch * k * time + k)
    wave *= 0.15 * (each != PHONE_CLASSES.index("PAU"))
    noise = 1e-3 * np.random.default_rng(seed).standard_normal(len(each))
    return (wave + noise).astype(np.float32), labels


def utterance(
    name: str, set_name: str, speaker: str, text: str, *, held_out: bool = False, seed: int = 0
) -> Utterance:
    """One utterance as a shard would hold it; those of the set `synthetic` come with labels."""
    wave, labels = sound(text, speaker, seed)
    mel = log_mel(torch.from_numpy(wave)[None], tiny.MEL)[0].T.numpy()
    voiced = np.repeat(labels != PHONE_CLASSES.index("PAU"), F0_PER_FRAME)
    return Utterance(
        shard=f"{set_name}-0000",
        id=name,
        set=set_name,
        speaker=speaker,
        text=text,
        held_out=held_out,
        mel=mel.astype(np.float16),
        f0=(voiced * PITCH[speaker]).astype(np.float16),
        phones=labels if set_name == "synthetic" else np.full(len(mel), -1, np.int16),
        wav=(wave * 32767).astype(np.int16),
    )


@functools.cache
def utterances() -> tuple[Utterance, ...]:
    """Twelve of them: two recorded speakers and a synthetic one; the last of each is held out."""
    made = []
    for speaker, set_name in (("ann", "real"), ("bob", "real"), ("flite-x", "synthetic")):
        for n, text in enumerate(TEXTS[:4]):
            name = f"{speaker}-{n}"
            made.append(utterance(name, set_name, speaker, text, held_out=n == 3, seed=n))
    return tuple(made)


@functools.cache
def encoded() -> tuple[Encoded, ...]:
    """The same utterances with random tokens, and their text spread evenly over them."""
    rng = np.random.default_rng(0)
    made = []
    for u in utterances():
        count = u.frames // 2
        symbols = np.array(phones(u.text, Lexicon.bundled()).ids, np.int16)
        spoken = (np.arange(count) * len(symbols) // count).astype(np.int16)
        vector = rng.standard_normal(tiny.SPEC.speaker.embedding).astype(np.float32)
        made.append(
            Encoded(
                utterance=u,
                tokens=rng.integers(0, tiny.SPEC.tokenizer.codebook, count).astype(np.int16),
                speaker=vector / np.linalg.norm(vector),
                controls=rng.standard_normal(4).astype(np.float32),
                given=np.ones(4, np.float32),
                pieces=(Piece(0, symbols, spoken),),
            )
        )
    return tuple(made)


def recordings(folder: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    """Write a set of recordings: `metadata.csv` of (id, speaker, text), and their clips."""
    (folder / "clips").mkdir(parents=True)
    lines = "".join("|".join(row) + "\n" for row in rows)
    (folder / "metadata.csv").write_text(lines, encoding="utf-8")
    for name, speaker, text in rows:
        wave, _ = sound(text, speaker)
        soundfile.write(folder / "clips" / f"{name}.wav", wave, tiny.RATE)
    return folder


class Knowing(TokenizerNet):
    """A tokenizer that recognises the sounds of the tones at once: the nearest one known."""

    def decode(self, codes: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score phones by their distance to the sounds of the corpus; the rest as usual."""
        _, prosody, mel = super().decode(codes, clean)
        natural = (clean.transpose(1, 2) * tiny.MEL.scale + tiny.MEL.mean).detach()
        scores = torch.full((*natural.shape[:2], len(PHONE_CLASSES)), -200.0)
        for label, rows in _templates().items():
            scores[..., label] = -torch.cdist(natural, rows).amin(-1)
        return scores, prosody, mel


@functools.cache
def _templates() -> dict[int, Tensor]:
    """Mean mel of each phone class in each utterance."""
    rows: dict[int, list[np.ndarray]] = {}
    for u in utterances():
        _, labels = sound(u.text, u.speaker)
        for label in np.unique(labels):
            mean = u.mel[labels == label].astype(np.float32).mean(0)
            rows.setdefault(int(label), []).append(mean)
    return {label: torch.from_numpy(np.stack(means)) for label, means in rows.items()}


class InProcess:
    """Stands in for a pool of processes, so that a test's replacements hold in the workers."""

    def __init__(self, workers: int, context: object) -> None:
        self.workers = workers

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *trouble: object) -> None:
        pass

    def map(self, work, *columns) -> Iterator:
        """Do one job after the other."""
        return map(work, *columns)


def steady_pitch(wav: np.ndarray, mel: object, frames: int) -> np.ndarray:
    """Stand in for the pitch tracker: 120 Hz everywhere."""
    return np.full(F0_PER_FRAME * frames, 120.0)
