"""Native token generator network: [voice][phones …][task][speech tokens …] → the next speech token.

The voice and the phones see each other whole (a prefix); speech tokens are causal.  One attention
head is taught during training to look at the phone being spoken, which makes a small model find the
text.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.dit import CONTROLS
from voxkit.modules.fsq import tokens_to_codes
from voxkit.modules.transformer import Transformer
from voxkit.spec import FsqTokenizerSpec, PhoneGeneratorSpec


class PhoneLm(nn.Module):
    """Token LM over phones.  Token K (the codebook's size) ends the utterance."""

    digits: Tensor  # (K, E)

    def __init__(
        self, spec: PhoneGeneratorSpec, tokens: FsqTokenizerSpec, symbols: int, speaker: int
    ) -> None:
        super().__init__()
        width = spec.transformer.width
        self.spec, self.stop = spec, tokens.codebook
        self.transformer: Any = Transformer(spec.transformer)  # or what runs one
        self.symbols = nn.Embedding(symbols, width)
        self.voice = nn.Sequential(
            nn.Linear(speaker + 2 * CONTROLS, 128), nn.GELU(), nn.Linear(128, width)
        )
        self.task = nn.Parameter(torch.randn(width) * 0.02)
        digits = _digit_features(tokens)
        self.register_buffer("digits", digits, persistent=False)
        self.heard = nn.Parameter(torch.randn(digits.shape[1], width) * 0.02)
        self.heard_own = nn.Parameter(torch.zeros(tokens.codebook, width))
        self.said = nn.Parameter(torch.randn(digits.shape[1], width) * 0.01)
        self.said_own = nn.Parameter(torch.zeros(tokens.codebook + 1, width))
        nn.init.normal_(self.symbols.weight, std=0.05)
        for name, weight in self.transformer.named_parameters():
            if name.endswith(("merge.weight", "down.weight")):
                nn.init.normal_(weight, std=0.02 / (2 * spec.transformer.layers) ** 0.5)
            elif weight.dim() == 2:
                nn.init.normal_(weight, std=0.03)

    def tables(self) -> tuple[Tensor, Tensor]:
        """Embeddings of heard tokens (K, D) and the output matrix (K + 1, D).

        Rows share what their digits have in common, so rare codes are learnt from frequent ones.
        """
        heard = self.digits @ self.heard + self.heard_own
        said = F.pad(self.digits @ self.said, (0, 0, 0, 1)) + self.said_own
        return heard, said

    def prefix(self, speaker: Tensor, controls: Tensor, given: Tensor, symbols: Tensor) -> Tensor:
        """speaker (B, S), controls and given (B, 4), symbol ids (B, N) → (B, N + 2, D)."""
        voice = self.voice(torch.cat([speaker, controls * given, given], dim=-1))
        task = self.task.expand(len(symbols), 1, -1)
        return torch.cat([voice[:, None], self.symbols(symbols), task], dim=1)

    def beginning(
        self, speaker: Tensor, controls: Tensor, given: Tensor, symbols: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what is read of voice and text (1, N + 2, D), and who sees whom."""
        x = self.prefix(speaker, controls, given, symbols)
        length = x.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=x.device)
        mask[:-1, -1] = False  # the text does not see the task mark
        return x, mask


def _digit_features(tokens: FsqTokenizerSpec) -> Tensor:
    """One-hot digits of every token and of every pair of its digits (K, dims·L + pairs·L²)."""
    ids = torch.arange(tokens.codebook)
    codes = tokens_to_codes(ids, tokens.levels, tokens.dims)
    digits = ((codes + 1) * (tokens.levels - 1) / 2).round().long()
    single = F.one_hot(digits, tokens.levels).float()
    pairs = [
        (single[:, i, :, None] * single[:, j, None, :]).flatten(1)
        for i in range(tokens.dims)
        for j in range(i)
    ]
    return torch.cat([single.flatten(1), *pairs], dim=1)
