"""Letter-to-sound network: how a word that no dictionary knows is said."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.rotary import rotary, rotate
from voxkit.phonemes import PHONES, fold
from voxkit.spec import PhoneTextSpec

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
SLOTS = 2  # phones that one letter may stand for at most: x → K S
BLANK = len(PHONES)
MAX_LETTERS = 64  # a longer word is read in pieces
_KERNEL = 5
_PRIMARY = {v + "1": v for v in {p[:2] for p in PHONES if p[-1].isdigit()}}


class Letters(nn.Module):
    """Transformer encoder over letters with two phone slots a letter, trained with CTC.

    Graves et al. 2006, "Connectionist Temporal Classification"; monotonic and non-autoregressive,
    so a word costs one forward pass and cannot run away.
    """

    def __init__(self, spec: PhoneTextSpec) -> None:
        super().__init__()
        width = spec.letters_width
        self.embedding = nn.Embedding(len(ALPHABET) + 1, width, padding_idx=0)
        self.neighbours = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2)
        self.layers = nn.ModuleList(
            _Layer(width, spec.letters_heads) for _ in range(spec.letters_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, SLOTS * (len(PHONES) + 1))

    def forward(self, letters: Tensor) -> Tensor:
        """letters (B, C), 1-26 padded with 0 → log probabilities (B, 2C, 70), the blank last."""
        real = letters > 0
        x = self.embedding(letters)  # 0 on padding, which so looks like the edge of the word
        x = x + F.gelu(self.neighbours(x.transpose(1, 2)).transpose(1, 2))
        width: Any = self.layers[0].head_width
        turns = rotary(torch.arange(letters.shape[1], device=x.device), width, 100.0)
        for layer in self.layers:
            x = layer(x, real, turns)
        scores: Tensor = self.head(self.norm(x))
        return scores.unflatten(2, (SLOTS, -1)).flatten(1, 2).log_softmax(-1)

    def phones(self, word: str) -> tuple[str, ...]:
        """Return ARPAbet phones with stress for `word`; letters outside a-z are not heard."""
        known = [c for c in fold(word) if c in ALPHABET]
        pieces = [known[i : i + MAX_LETTERS] for i in range(0, len(known), MAX_LETTERS)]
        return tuple(phone for piece in pieces for phone in self._read(piece))

    @torch.inference_mode()
    def _read(self, letters: Sequence[str]) -> tuple[str, ...]:
        ids = torch.tensor([encode(letters)], device=self.head.weight.device)
        return stressed(collapse(self(ids)[0].argmax(-1).tolist()))


class _Layer(nn.Module):
    """Attention over the word, then feed-forward; each normalised before and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)

    def forward(self, x: Tensor, real: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, C, D), real (B, C) False on padding → (B, C, D)."""
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x)).chunk(3, -1)
        )
        seen = F.scaled_dot_product_attention(
            rotate(q, *turns), rotate(k, *turns), v, attn_mask=real[:, None, None, :]
        )
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        hidden: Tensor = self.down(F.gelu(self.up(self.feed_norm(x))))
        return x + hidden


def encode(letters: Sequence[str]) -> list[int]:
    """Letters a-z → 1-26."""
    return [ALPHABET.index(c) + 1 for c in letters]


def collapse(path: Sequence[int]) -> tuple[str, ...]:
    """Turn a CTC path of phone indices into phones: repeats merge, blanks vanish."""
    steps = itertools.pairwise([BLANK, *path])
    kept = [now for before, now in steps if now not in (before, BLANK)]
    return tuple(PHONES[i] for i in kept)


def stressed(sounds: tuple[str, ...]) -> tuple[str, ...]:
    """Give a word without primary stress one: on its secondary stress, else its first vowel."""
    if any(s in _PRIMARY for s in sounds):
        return sounds
    vowels = [i for i, s in enumerate(sounds) if s[-1].isdigit()]
    if not vowels:
        return sounds
    place = next((i for i in vowels if sounds[i].endswith("2")), vowels[0])
    return (*sounds[:place], sounds[place][:2] + "1", *sounds[place + 1 :])
