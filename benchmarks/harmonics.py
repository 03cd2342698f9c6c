"""Measures how far voice stands out of the noise between its harmonics, recorded and vocoded.

    python benchmarks/harmonics.py FOLDER

FOLDER is a set of the training corpus, as for `stages.py`; no judges are needed.  Where the pitch
is steady, the mean level at its multiples less that halfway between them is taken of bands, in dB.
The pitch is the vocoder's reading, moved by up to 5 % to where the contrast below 3 kHz is most.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from stages import held_out, stages

import voxkit
from voxkit.reference import reference_clip

BANDS = ((0, 1000), (1000, 2000), (2000, 3000), (3000, 4000), (4000, 6000))  # Hz
WINDOW = 1200  # samples at 24 kHz: some six periods of a high voice
FFT, HOP = 2048, 240


def levels(samples: np.ndarray) -> np.ndarray:
    """Samples (S,) → dB (FFT / 2 + 1, frames)."""
    window = torch.hann_window(WINDOW)
    found = torch.stft(
        torch.from_numpy(samples),
        FFT,
        HOP,
        WINDOW,
        window,
        return_complex=True,
        pad_mode="constant",
    )
    db: np.ndarray = (20 * (found.abs() + 1e-6).log10()).numpy()
    return db


def contrast(column: np.ndarray, f0: float, rate: int) -> np.ndarray:
    """Levels of one frame → how far harmonics stand out in each of the bands, in dB."""
    hertz = np.arange(len(column)) * rate / FFT
    found = []
    for low, high in BANDS:
        multiples = np.arange(np.ceil(max(low, f0) / f0), np.floor(high / f0) + 1)
        peaks = np.interp(multiples * f0, hertz, column)
        valleys = np.interp((multiples + 0.5) * f0, hertz, column)
        found.append(np.mean(peaks - valleys))
    return np.array(found)


def sharpest(column: np.ndarray, f0: float, rate: int) -> np.ndarray:
    """The same with the pitch that makes it largest."""
    tried = [contrast(column, f0 * factor, rate) for factor in np.linspace(0.95, 1.05, 21)]
    return max(tried, key=lambda bands: float(bands[:3].sum()))


def measure(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Compare recordings with what the vocoder makes of their mel."""
    engine = voxkit.load(arguments.model, device="cpu", threads=arguments.threads)
    rate, mel_spec = engine.sample_rate, engine.spec.mel
    ways = stages(engine, None)
    rows: dict[str, list[np.ndarray]] = {"recordings": [], "vocoder": []}
    for job in held_out(arguments.folder, arguments.limit):
        clip = reference_clip(voxkit.read_audio(Path(job.clip)), whole=True)
        mel = torch.from_numpy(engine.parts.tokenizer.describe(clip, None).mel)[None]
        with torch.inference_mode():
            reading = engine.parts.vocoder.model.measure_pitch(
                (mel - mel_spec.mean) / mel_spec.scale
            )
        f0, voiced = (x[0, ::2].numpy() for x in reading)  # every 10 ms, as the levels
        columns = {name: levels(ways[name](clip)) for name in rows}
        count = min(len(f0), *(x.shape[1] for x in columns.values()))
        for t in range(2, count - 2):
            steady = abs(np.log(f0[t + 2] / f0[t - 2])) <= 0.04
            if steady and voiced[t - 2 : t + 3].min() >= 0.8:
                for name, db in columns.items():
                    rows[name].append(sharpest(db[:, t], float(f0[t]), rate))
    return {name: np.mean(found, axis=0).round(2).tolist() for name, found in rows.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--limit", type=int, default=30)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(
        "| dB | "
        + " | ".join(f"{low / 1000:g} to {high / 1000:g} kHz" for low, high in BANDS)
        + " |"
    )
    print("|---" * (1 + len(BANDS)) + "|")
    for name, bands in found.items():
        print(f"| {name} | " + " | ".join(f"{x:.1f}" for x in bands) + " |")


if __name__ == "__main__":
    main()
