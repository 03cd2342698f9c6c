"""Native speech tokenizer: a recording → speech tokens, mel, speaker vector and attributes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from voxkit.audio import Audio
from voxkit.modules.fsq import FsqEncoder, codes_to_tokens
from voxkit.modules.speaker import SpeakerEncoder
from voxkit.modules.spectral import log_mel
from voxkit.modules.vocos import Vocos
from voxkit.phonemes import phone_count
from voxkit.prosody import measure
from voxkit.reference import reference_clip
from voxkit.spec import ModelSpec
from voxkit.voice import Description


class FsqTokenizer:
    """The encoder, the speaker encoder and the vocoder's ear for pitch."""

    def __init__(
        self, spec: ModelSpec, encoder: FsqEncoder, speaker: SpeakerEncoder, pitch: Vocos
    ) -> None:
        self.spec = spec
        self.encoder, self.speaker, self.pitch = encoder, speaker, pitch

    def clip(self, audio: Audio, *, whole: bool) -> Audio:
        """Return what of a recording a voice is made of; all of its speech where `whole`."""
        return reference_clip(audio, whole=whole)

    @torch.inference_mode()
    def encode(self, audio: Audio) -> np.ndarray:
        """Return the speech tokens (T,) of a recording."""
        codes = self.encoder(self._normalised(self._mel(audio)))
        return codes_to_tokens(codes, self.spec.tokenizer.levels)[0].cpu().numpy()

    @torch.inference_mode()
    def describe(self, audio: Audio, text_ids: tuple[int, ...] | None) -> Description:
        """Return what a voice keeps of a reference."""
        mel = self._mel(audio)
        normalised = self._normalised(mel)
        tokens = codes_to_tokens(self.encoder(normalised), self.spec.tokenizer.levels)[0]
        pitch = self._f0(normalised)
        level = mel[0].mean(0)
        spoken_s = float((level > level.max() - 4.5).sum()) / self.spec.mel.frame_rate
        rate = phone_count(text_ids) / spoken_s if text_ids and spoken_s > 0 else None
        natural = mel[0].cpu().numpy()
        return Description(
            tokens=tokens.cpu().numpy(),
            mel=natural,
            speaker=self.speaker(normalised)[0].cpu().numpy(),
            attributes=measure(pitch, natural, rate),
        )

    @torch.inference_mode()
    def f0(self, audio: Audio) -> np.ndarray:
        """Return f0 (4F,) in Hz, 0 where unvoiced, four values a mel frame."""
        return self._f0(self._normalised(self._mel(audio)))

    def _f0(self, normalised: Tensor) -> np.ndarray:
        f0, voicing = self.pitch.measure_pitch(normalised)
        return (f0 * (voicing > 0.5)).flatten().cpu().numpy()

    def _mel(self, audio: Audio) -> Tensor:
        """Return the log-mel (1, M, F) with an even number of frames."""
        samples = audio.resampled(self.spec.mel.sample_rate).samples
        device = self.encoder.leave.weight.device
        mel = log_mel(torch.from_numpy(samples)[None].to(device), self.spec.mel)
        ratio = self.spec.mel_per_token
        return mel[:, :, : mel.shape[2] // ratio * ratio]

    def _normalised(self, mel: Tensor) -> Tensor:
        return (mel - self.spec.mel.mean) / self.spec.mel.scale
