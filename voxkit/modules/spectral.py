"""Turns waveforms into what the models hear: log-mels, filter banks, and other sample rates."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from voxkit.modules.torchaudio_cpu import make_importable
from voxkit.spec import MelSpec

WHISPER_RATE = 16_000


def log_mel(wav: Tensor, spec: MelSpec) -> Tensor:
    """wav (B, S) at `spec.sample_rate` → mel (B, M, F), natural log floored at 1e-5; F = S // hop.

    Differentiable.  Computed in float32 whatever the autocast state, since the log of a coarse sum
    is useless.  A clip too short to be reflected is continued with silence.
    """
    frames = wav.shape[-1] // spec.hop
    if frames == 0:
        return wav.new_zeros(wav.shape[0], spec.bins, 0, dtype=torch.float32)
    window, basis = _window_and_basis(spec, wav.device)
    left = (spec.n_fft - spec.hop) // 2
    right = spec.n_fft - spec.hop - left
    with torch.autocast(wav.device.type, enabled=False):
        wav = wav.float()
        if wav.shape[-1] <= right:
            wav = pad(wav, (0, right + 1 - wav.shape[-1]))
        padded = pad(wav[:, None], (left, right), mode="reflect")[:, 0]
        bins = torch.stft(
            padded, spec.n_fft, spec.hop, spec.win, window, center=False, return_complex=True
        )
        magnitude = torch.view_as_real(bins[..., :frames]).square().sum(-1).add(1e-9).sqrt()
        return (basis @ magnitude).clamp_min(1e-5).log()


def kaldi_fbank(wav: Tensor) -> Tensor:
    """wav (B, S) at 16 kHz → log Mel filter bank (B, F, 80) as Kaldi computes it, without dither.

    25 ms Povey windows every 10 ms, edges snipped: F = 1 + (S - 400) // 160, or 0 below 25 ms.
    """
    make_importable()
    from torchaudio.compliance import kaldi

    if wav.shape[-1] < 400 or wav.shape[0] == 0:
        return wav.new_zeros(wav.shape[0], max(0, 1 + (wav.shape[-1] - 400) // 160), 80)
    with torch.autocast(wav.device.type, enabled=False):
        banks = [kaldi.fbank(one[None].float(), num_mel_bins=80) for one in wav]
    return torch.stack(banks)


def whisper_log_mel(wav: Tensor, *, bins: int = 128) -> Tensor:
    """wav (B, S) at 16 kHz → Whisper's scaled log-mel (B, bins, F), F = S // 160.

    log10 of the power mel, cut 8 below the clip's own maximum, then (x + 4) / 4.
    """
    spec = MelSpec(WHISPER_RATE, 400, 400, 160, bins, 0.0, 8000.0)
    frames = wav.shape[-1] // spec.hop
    if frames == 0:
        return wav.new_zeros(wav.shape[0], bins, 0, dtype=torch.float32)
    window, basis = _window_and_basis(spec, wav.device)
    with torch.autocast(wav.device.type, enabled=False):
        wav = wav.float()
        if wav.shape[-1] <= spec.n_fft // 2:
            wav = pad(wav, (0, spec.n_fft // 2 + 1 - wav.shape[-1]))
        stft = torch.stft(wav, spec.n_fft, spec.hop, window=window, return_complex=True)
        power = torch.view_as_real(stft[..., :frames]).square().sum(-1)
        log = (basis @ power).clamp_min(1e-10).log10()
        floor = log.amax(dim=(1, 2), keepdim=True) - 8.0
        return (torch.maximum(log, floor) + 4.0) / 4.0


def resample(wav: Tensor, old_rate: int, new_rate: int) -> Tensor:
    """wav (..., S) at `old_rate` Hz → (..., ceil(S * new / old)) by a Hann-windowed sinc."""
    if old_rate == new_rate or wav.shape[-1] == 0:
        return wav
    make_importable()
    from torchaudio.functional import resample as sinc_resample

    return sinc_resample(wav, old_rate, new_rate)


@lru_cache(maxsize=16)
def _window_and_basis(spec: MelSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the periodic Hann window (win,) and the mel basis (M, n_fft // 2 + 1) on `device`.

    Kept between calls, so they must not be inference tensors even when the first call is made in
    inference mode: autograd could not save those for a later training step.
    """
    with torch.inference_mode(False):
        window = torch.hann_window(spec.win, periodic=True, dtype=torch.float32).to(device)
        return window, torch.from_numpy(slaney_mel_basis(spec)).to(device)


def slaney_mel_basis(spec: MelSpec) -> np.ndarray:
    """Return the mel filters (M, n_fft // 2 + 1) of Slaney's Auditory Toolbox (1998), float32.

    Triangles of equal area, even on a scale linear below 1 kHz and logarithmic above.  The same
    numbers as `librosa.filters.mel`, whose import alone would cost every start 1.8 s.
    """
    edges = _mel_to_hz(np.linspace(_hz_to_mel(spec.fmin), _hz_to_mel(spec.fmax), spec.bins + 2))
    freqs = np.fft.rfftfreq(spec.n_fft, 1.0 / spec.sample_rate)
    rise = (freqs - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - freqs) / (edges[2:] - edges[1:-1])[:, None]
    area = (edges[2:] - edges[:-2])[:, None] / 2.0
    return (np.maximum(0.0, np.minimum(rise, fall)) / area).astype(np.float32)


# Slaney's scale: 200/3 Hz per mel below 1 kHz (mel 15), a factor of 6.4 every 27 mel above.
_LINEAR_HZ, _KNEE_HZ, _KNEE_MEL, _LOG_STEP = 200.0 / 3.0, 1000.0, 15.0, np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _LINEAR_HZ
    return float(_KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HZ, above)
