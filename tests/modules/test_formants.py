"""Formants move by the factor that is asked for, and not at all by 1."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from tiny import MEL

from voxkit.modules.formants import move_formants
from voxkit.spec import MelSpec

REAL = MelSpec(24_000, 1920, 1920, 480, 80, 0.0, 12_000.0)


def test_a_factor_of_one_changes_nothing() -> None:
    mel = torch.randn(1, MEL.bins, 7)
    assert move_formants(mel, 1.0, MEL) is mel


@pytest.mark.parametrize("factor", [0.85, 0.95, 1.1, 1.2])
def test_a_resonance_moves_by_the_factor(factor: float) -> None:
    centres = librosa.mel_frequencies(82, fmin=0, fmax=12_000)[1:-1]
    mel = torch.from_numpy(-(((centres - 2000) / 300) ** 2)).float()[None, :, None]
    moved = move_formants(mel, factor, REAL)[0, :, 0]
    peak = float(centres[int(moved.argmax())])
    step = float(np.diff(centres)[int(moved.argmax())])
    assert peak == pytest.approx(2000 * factor, abs=step)


def test_frames_are_moved_one_by_one() -> None:
    mel = torch.randn(1, REAL.bins, 9, generator=torch.Generator().manual_seed(0))
    whole = move_formants(mel, 1.1, REAL)
    parts = [move_formants(part, 1.1, REAL) for part in mel.split(4, dim=2)]
    assert torch.equal(whole, torch.cat(parts, dim=2))
    assert torch.isfinite(whole).all()
