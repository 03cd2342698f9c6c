"""Spectra agree with the numbers that the public front ends produce."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from voxkit.modules import spectral
from voxkit.modules.spectral import (
    kaldi_fbank,
    log_mel,
    resample,
    slaney_mel_basis,
    whisper_log_mel,
)
from voxkit.spec import MelSpec

# Slices of clips and of what the public front ends of CosyVoice 2 and 3 make of the whole clips.
DATA = Path(__file__).parents[1] / "data" / "spectral.npz"
MEL_8K = MelSpec(24_000, 1920, 1920, 480, 80, 0.0, 8_000.0)
MEL_12K = MelSpec(24_000, 1920, 1920, 480, 80, 0.0, 12_000.0)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(DATA) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


@pytest.mark.parametrize(("name", "spec"), [("mel8k", MEL_8K), ("mel12k", MEL_12K)])
def test_log_mel_is_that_of_the_public_front_end(
    golden: dict[str, Tensor], name: str, spec: MelSpec
) -> None:
    head = log_mel(golden["wav24_head"][None], spec)[0]
    tail = log_mel(golden["wav24_tail"][None], spec)[0]
    assert tail.shape[1] == len(golden["wav24_tail"]) // 480
    # 3e-5: what two correct float32 implementations may differ by in the log domain
    torch.testing.assert_close(head[:, :18], golden[f"{name}_head"], atol=3e-5, rtol=0)
    torch.testing.assert_close(tail[:, 2:], golden[f"{name}_tail"], atol=3e-5, rtol=0)


def test_fbank_is_that_of_kaldi(golden: dict[str, Tensor]) -> None:
    ours = kaldi_fbank(golden["wav16"][None])
    torch.testing.assert_close(ours[0], golden["fbank"], atol=1e-3, rtol=0)


def test_whisper_mel_is_that_of_whisper(golden: dict[str, Tensor]) -> None:
    ours = whisper_log_mel(golden["wav16"][None])
    torch.testing.assert_close(ours[0, :, 2:48], golden["whisper"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [(24_000, 16_000, "head_to_16k"), (44_100, 24_000, "head_44k_to_24k")],
)
def test_resampling_is_the_windowed_sinc_of_the_field(
    golden: dict[str, Tensor], old: int, new: int, name: str
) -> None:
    expected = golden[name]
    ours = resample(golden["wav24_head"], old, new)[: len(expected)]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "spec"), [("mel8k", MEL_8K), ("mel12k", MEL_12K)])
def test_mel_basis_is_that_of_librosa(golden: dict[str, Tensor], name: str, spec: MelSpec) -> None:
    ours = torch.from_numpy(slaney_mel_basis(spec))
    torch.testing.assert_close(ours, golden[f"{name}_basis"], atol=1e-8, rtol=0)


def test_mel_basis_covers_every_bin() -> None:
    basis = slaney_mel_basis(MEL_8K)
    assert basis.shape == (80, 961)
    assert (basis.sum(axis=1) > 0).all()
    assert (basis[:, np.fft.rfftfreq(1920, 1 / 24_000) > 8_000] == 0).all()


@pytest.mark.parametrize("samples", [0, 1, 479, 480, 720, 721, 1439, 1440])
def test_short_clips_have_a_frame_per_whole_hop(samples: int) -> None:
    wav = torch.linspace(-0.5, 0.5, samples).repeat(2, 1)
    mel = log_mel(wav, MEL_8K)
    assert mel.shape == (2, 80, samples // 480)
    assert mel.isfinite().all()
    assert whisper_log_mel(wav).shape == (2, 128, samples // 160)
    assert kaldi_fbank(wav).shape == (2, max(0, 1 + (samples - 400) // 160), 80)
    assert resample(wav, 24_000, 16_000).shape == (2, -(-samples * 2 // 3))


def test_a_batch_is_the_same_as_its_clips_one_by_one(golden: dict[str, Tensor]) -> None:
    wav = golden["wav16"].reshape(2, -1) * torch.tensor([[1.0], [0.1]])
    for function in (kaldi_fbank, whisper_log_mel):
        alone = torch.cat([function(one[None]) for one in wav])
        torch.testing.assert_close(function(wav), alone, atol=1e-5, rtol=0)


def test_a_mel_first_made_in_inference_mode_can_be_trained_through_later() -> None:
    spec = MelSpec(8_000, 64, 64, 16, 10, 0.0, 4_000.0)  # used by no other test, so not yet cached
    wav = torch.sin(torch.arange(400) * 0.3)[None]
    with torch.inference_mode():
        heard = log_mel(wav, spec).clone()
    trained = wav.clone().requires_grad_()
    mel = log_mel(trained, spec)
    mel.sum().backward()
    assert trained.grad is not None
    assert trained.grad.abs().sum() > 0
    torch.testing.assert_close(mel.detach(), torch.from_numpy(heard.numpy()))


def test_gradient_of_the_mel_is_the_slope_of_the_mel() -> None:
    spec = MelSpec(8_000, 64, 64, 16, 12, 0.0, 4_000.0)
    noise = torch.Generator().manual_seed(1)
    wav, direction = torch.randn(2, 1, 320, generator=noise)
    start = wav.clone().requires_grad_()
    log_mel(start, spec).mean().backward()
    assert start.grad is not None
    step = 1e-2
    above, below = (log_mel(wav + s * direction, spec).mean() for s in (step, -step))
    slope = float(above - below) / (2 * step)
    # 2 %: central differences of a float32 logarithm
    assert float((start.grad * direction).sum()) == pytest.approx(slope, rel=0.02)


def test_the_mel_stays_float32_under_autocast(golden: dict[str, Tensor]) -> None:
    wav = golden["wav24_head"][None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mel = log_mel(wav, MEL_8K)
    assert mel.dtype == torch.float32
    torch.testing.assert_close(mel, log_mel(wav, MEL_8K))


def test_importing_the_module_imports_no_torchaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in {"torchaudio", "librosa", "vocos"}]:
        monkeypatch.delitem(sys.modules, name)
    runpy.run_path(spectral.__file__)
    assert not {"torchaudio", "librosa", "vocos"} & sys.modules.keys()
