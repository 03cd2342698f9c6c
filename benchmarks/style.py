"""Measures whether a model delivers what `--instruct` promises: duration, pitch, loudness, words.

    python benchmarks/style.py --judge DIR --limit 10

Every description is spoken with the same voice and seed as a neutral reading, and compared with it.
DIR holds the judges of `benchmarks/quality.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile as sf
from quality import Judge, Line, read_list

import voxkit
from voxkit.instruct import NEUTRAL, Style, render, understand

WORDS = ("slowly", "fast", "higher", "lower", "monotone", "lively", "louder", "softer", "whisper")
HOP, FRAME = 240, 2048  # samples at 24 kHz
SILENT_DB = 40.0  # below the loudest frame


@dataclass(frozen=True)
class Heard:
    """What is measured of a list, spoken in one style."""

    seconds: float
    pitch_st: float  # median f0 above 1 Hz
    spread_st: float  # of f0, 10th to 90th percentile
    level_db: float  # RMS
    voiced: float  # share of the frames that are not silent
    peak: float


def speak_list(
    engine: Any, voice: Any, lines: list[Line], style: Style, seed: int, folder: Path
) -> Heard:
    """Speak a list into `folder`/id.wav and measure it."""
    folder.mkdir(parents=True, exist_ok=True)
    spoken = [
        engine.speak(line.text, voice, voxkit.Options(seed=seed), style=style) for line in lines
    ]
    for line, audio in zip(lines, spoken, strict=True):
        sf.write(folder / f"{line.id}.wav", audio.samples, audio.sample_rate)
    pitch, voiced, frames = [], 0, 0
    for audio in spoken:
        f0, is_voiced, _ = librosa.pyin(
            audio.samples, fmin=60, fmax=600, sr=audio.sample_rate, frame_length=FRAME,
            hop_length=HOP,
        )  # fmt: skip
        rms = librosa.feature.rms(y=audio.samples, frame_length=FRAME, hop_length=HOP)[0]
        loud = rms > rms.max() * 10 ** (-SILENT_DB / 20)
        pitch.append(12 * np.log2(f0[is_voiced & loud]))
        voiced, frames = voiced + int((is_voiced & loud).sum()), frames + int(loud.sum())
    heard = np.concatenate(pitch)
    everything = np.concatenate([audio.samples for audio in spoken])
    low, median, high = np.percentile(heard, (10, 50, 90)) if len(heard) else (math.nan,) * 3
    return Heard(
        seconds=sum(audio.seconds for audio in spoken),
        pitch_st=float(median),
        spread_st=float(high - low),
        level_db=float(10 * np.log10(np.mean(everything**2))),
        voiced=voiced / frames,
        peak=float(np.abs(everything).max()),
    )


def row(words: str, style: Style, made: Heard, plain: Heard, cer: float) -> dict[str, Any]:
    """Set what was promised beside what was heard."""
    told = render(style, "native").controls
    return {
        "words": words,
        "promised": {
            "duration": 1 / told.rate,
            "pitch_st": told.pitch_st,
            "pitch_range": told.pitch_range,
            "energy_db": told.energy_db,
        },
        "heard": {
            "duration": made.seconds / plain.seconds,
            "pitch_st": made.pitch_st - plain.pitch_st,
            "pitch_range": made.spread_st / plain.spread_st,
            "energy_db": made.level_db - plain.level_db,
        },
        "voiced": made.voiced,
        "peak": made.peak,
        "cer": cer,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown, promised → heard."""
    out = [
        "| Words | Duration × | Pitch, st | Pitch range × | Loudness, dB | Voiced | Peak | CER |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found in rows:
        pairs = " | ".join(
            f"{found['promised'][name]:.2f} → {found['heard'][name]:.2f}"
            for name in ("duration", "pitch_st", "pitch_range", "energy_db")
        )
        rest = f"{found['voiced']:.2f} | {found['peak']:.2f} | {found['cer']:.3f}"
        out.append(f"| {found['words'] or '(neutral)'} | {pairs} | {rest} |")
    return "\n".join(out)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    judge = os.environ.get("VOXKIT_JUDGE")
    parser.add_argument("--judge", type=Path, default=judge, required=not judge, metavar="DIR")
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--voice")
    parser.add_argument("--words", action="append", help="a description; may be given again")
    parser.add_argument("--limit", type=int, help="only the first lines of the list")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/style"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    ears = Judge(arguments.judge)
    engine = voxkit.load(arguments.model, device="cpu", threads=1)
    voice = voxkit.find_voice(arguments.voice or engine.default_voice)
    lines = read_list(arguments.judge / "harvard20.tsv")[: arguments.limit]
    rows, plain = [], None
    for words in ("", *(arguments.words or WORDS)):
        style = understand(words) if words else NEUTRAL
        folder = arguments.out / (words or "neutral").replace(" ", "-")
        made = speak_list(engine, voice, lines, style, arguments.seed, folder)
        plain = plain or made
        rows.append(row(words, style, made, plain, ears.error_rates(lines, folder)[0]))
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    print(json.dumps(rows, indent=2) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
