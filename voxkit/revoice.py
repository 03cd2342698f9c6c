"""Says a recording again with another voice: words, pauses and timing stay.

The recording's speech tokens go through the decoder with the voice that is wanted, piece by piece,
in memory that does not grow with its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from voxkit.audio import Audio
from voxkit.modules.formants import move_formants
from voxkit.prosody import Prosody
from voxkit.segments import Piece, pieces, resampled
from voxkit.spec import MelSpec
from voxkit.voice import Voice

_LEAD, _TAIL = 5, 5  # tokens before and after a piece that are decoded with it, 0.2 s
_FADE_S = 0.02  # by which pieces overlap

Generators = Callable[[int], tuple[torch.Generator, torch.Generator, torch.Generator]]


class Ear(Protocol):
    """Speech → speech tokens."""

    def encode(self, audio: Audio) -> np.ndarray:
        """Return the speech tokens (T,) of a recording."""


class Drawer(Protocol):
    """Speech tokens → mel."""

    def seed(self, state: Any, generator: torch.Generator) -> Any:
        """Return the state with the noise of one piece."""

    def decode(self, tokens: Tensor, state: Any, last: bool) -> tuple[Tensor, Any]:
        """Take tokens (t,) → all finished mel (1, M, f), and the state."""


class Mouth(Protocol):
    """Mel → waveform."""

    def init_state(self, generator: torch.Generator, pitch: Prosody) -> Any:
        """Return the state before the first frame of speech whose pitch is changed so."""

    def vocode(self, mel: Tensor, state: Any, last: bool) -> tuple[Tensor, Any]:
        """Take mel (1, M, f) → all finished samples (s,) in [-1, 1], and the state."""


class Parts(Protocol):
    """What of a model is needed."""

    @property
    def tokenizer(self) -> Ear:
        """Hears."""

    @property
    def decoder(self) -> Drawer:
        """Draws."""

    @property
    def vocoder(self) -> Mouth:
        """Sounds."""


class Revoicer:
    """Converts piece after piece; holds nothing of any recording."""

    def __init__(self, parts: Parts, mel: MelSpec, token_rate: int) -> None:
        self.parts, self.mel = parts, mel
        self.token = mel.sample_rate // token_rate  # samples of one speech token

    def convert(
        self, blocks: Iterable[Audio], voice: Voice, start: Any, generators: Generators
    ) -> Iterator[Audio]:
        """Yield the recording that comes in `blocks` as `voice` says it, of the same length.

        `start` is the decoder's state after the voice's reference.
        """
        rate = self.mel.sample_rate
        fade = round(_FADE_S * rate)
        ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
        tail = np.zeros(0, np.float32)  # of the piece before, past its end
        for index, piece in enumerate(pieces(resampled(blocks, rate), rate, self.token)):
            samples = np.zeros(piece.samples + fade, np.float32)
            if not piece.silent:
                said = self._say(piece, voice, start, generators(index))[: len(samples)]
                samples[: len(said)] = said
            shared = min(len(tail), piece.samples)
            fading = tail[:shared] * (1 - ramp[:shared])
            samples[:shared] = fading + samples[:shared] * ramp[:shared]
            tail = samples[piece.samples :]
            yield Audio(samples[: piece.samples], rate)

    def _say(
        self, piece: Piece, voice: Voice, start: Any, noise: tuple[torch.Generator, ...]
    ) -> np.ndarray:
        """Return the samples of a piece and of some of what follows it."""
        parts = self.parts
        tokens = parts.tokenizer.encode(piece.heard)
        lead = min(_LEAD, piece.before)
        end = piece.before + math.ceil(piece.samples / self.token) + _TAIL
        spoken = torch.from_numpy(tokens[piece.before - lead : end])
        _, flow, source = noise
        mel, _ = parts.decoder.decode(spoken, parts.decoder.seed(start, flow), True)
        mel = move_formants(mel, voice.formant_factor, self.mel)
        sound = parts.vocoder.init_state(source, Prosody(factor=voice.pitch_factor))
        wav, _ = parts.vocoder.vocode(mel, sound, True)
        return wav.clamp(-1, 1).cpu().numpy()[lead * self.token :]
