"""Measures designed voices: do they sound as described, and does every seed give another?

    python benchmarks/design.py --judge DIR

Pitch is measured by WORLD (`pip install "voxkit[train]"`) and rate by the voice activity detector,
in a sentence that the design has not heard; similarity by the judges' speaker encoder, see
`quality.py`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyworld
from quality import Judge
from scipy.stats import spearmanr

import voxkit
from voxkit.activity import find_phrases
from voxkit.audio import write_audio
from voxkit.design import design
from voxkit.library import BUILTIN_FOLDER
from voxkit.voice_space import FILE, GENDERS, load_space
from voxkit.voice_wish import read_wish

SENTENCE = "She said that the road to the village was closed until the end of the week."
PITCHES = ("very deep", "deep", "", "high", "very high")
RATES = ("very slow", "slow", "", "fast", "very fast")
WHO = ("man", "woman")
ALIKE = (
    "an old man, deep and slow, a little hoarse",
    "a young woman, high and fast",
    "a man",
    "a woman, clear and bright",
)


def main() -> None:
    """Design, speak, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    judge = os.environ.get("VOXKIT_JUDGE")
    parser.add_argument("--judge", type=Path, default=judge, required=not judge, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=4, help="voices of each description")
    parser.add_argument("--first-seed", type=int, default=0, help="of the voices compared")
    parser.add_argument("--only-differs", action="store_true", help="leave the fifty voices out")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    engine = voxkit.load(device="cpu", threads=arguments.threads)
    result: dict[str, Any] = {} if arguments.only_differs else {"follows": follows(engine)}
    result["differs"] = differs(engine, arguments)
    print(json.dumps(result, indent=2))


def follows(engine: Any) -> dict[str, float]:
    """Design fifty voices and rank what was asked for against what is heard."""
    space = load_space(BUILTIN_FOLDER.parent / FILE)
    asked, heard = [], []
    for seed, (who, pitch, rate) in enumerate(itertools.product(WHO, PITCHES, RATES)):
        wish = read_wish(", ".join(word for word in (f"a {who}", pitch, rate) if word))
        audio = spoken(engine, space, wish, seed)
        gender = GENDERS.index(wish.gender or "female")
        asked.append((space.means[gender][0] + (wish.pitch_st or 0) * np.log(2) / 12, wish.rate))
        phrases = find_phrases(audio)
        seconds = float((phrases[:, 1] - phrases[:, 0]).sum()) / 100
        heard.append((median_pitch(audio), 1 / seconds))
        print(f"{wish.words}: {heard[-1][0]:.0f} Hz, {seconds:.2f} s", file=sys.stderr)
    wanted, got = np.array(asked), np.array(heard)
    men, women = slice(0, len(got) // 2), slice(len(got) // 2, len(got))
    return {
        "voices": len(got),
        "pitch_rank_correlation": float(spearmanr(wanted[:, 0], got[:, 0])[0]),
        "pitch_among_men": float(spearmanr(wanted[men, 0], got[men, 0])[0]),
        "pitch_among_women": float(spearmanr(wanted[women, 0], got[women, 0])[0]),
        "rate_rank_correlation": float(spearmanr(wanted[:, 1], got[:, 1])[0]),
    }


def differs(engine: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare voices of one description, each saying the same words."""
    space = load_space(BUILTIN_FOLDER.parent / FILE)
    judge = Judge(arguments.judge)
    found: dict[str, Any] = {}
    everything: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for words in ALIKE:
            files = []
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                files.append(Path(folder) / f"{len(found)}-{seed}.wav")
                write_audio(files[-1], spoken(engine, space, read_wish(words), seed))
            pairs = np.triu_indices(len(files), 1)
            alike = judge.similarities(files, files)[pairs].tolist()
            everything += alike
            found[words] = {"mean": statistics.mean(alike), "most": max(alike)}
            print(f"{words}: {alike}", file=sys.stderr)
    return found | {"mean": statistics.mean(everything), "most": max(everything)}


def spoken(engine: Any, space: Any, wish: Any, seed: int) -> voxkit.Audio:
    """Design a voice and let it say the sentence."""
    ear, mel = engine.parts.tokenizer, engine.spec.mel
    voice = design(wish, space, engine, ear, mel, seed=seed, name="designed")
    audio: voxkit.Audio = engine.speak(SENTENCE, voice, voxkit.Options(seed=1000 + seed))
    return audio


def median_pitch(audio: voxkit.Audio) -> float:
    """Return the median f0 in Hz."""
    samples = audio.samples.astype(np.float64)
    f0, _ = pyworld.harvest(samples, audio.sample_rate, f0_floor=50.0, f0_ceil=550.0)
    return float(np.median(f0[f0 > 0]))


if __name__ == "__main__":
    main()
