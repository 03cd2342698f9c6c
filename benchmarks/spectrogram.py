"""Draws what a voice sounds like beside a recording of its speaker: spectrograms up to 12 kHz.

    python benchmarks/spectrogram.py RECORDING "The same words." --voice NAME -o spectrogram.png

Needs matplotlib (`pip install "voxkit[train]"`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import voxkit


def draw(sounds: dict[str, voxkit.Audio], out: Path) -> None:
    """Write one spectrogram for each sound, below each other, on the same scales."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    longest = max(audio.seconds for audio in sounds.values())
    for axis, (name, audio) in zip(figure.subplots(len(sounds)), sounds.items(), strict=True):
        samples = audio.samples / max(1e-6, float(np.abs(audio.samples).max()))
        axis.specgram(
            samples + 1e-9, NFFT=720, Fs=audio.sample_rate, noverlap=600, vmin=-130, vmax=-30
        )
        axis.set(title=name, ylabel="Hz", ylim=(0, 12_000), xlim=(0, longest))
    figure.savefig(out, dpi=70)


def main() -> None:
    """Speak and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("text")
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--voice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=Path("spectrogram.png"))
    arguments = parser.parse_args()
    engine = voxkit.load(arguments.model, device="cpu")
    voice = engine.adopt(voxkit.find_voice(arguments.voice or engine.default_voice))
    spoken = engine.speak(arguments.text, voice, voxkit.Options(seed=arguments.seed))
    recording = voxkit.read_audio(arguments.recording).resampled(engine.sample_rate)
    draw(
        {f"recording of {voice.name}": recording, f"{voice.name} by {engine.spec.name}": spoken},
        arguments.out,
    )


if __name__ == "__main__":
    main()
