"""Measures how well a model speaks: error rates of a recogniser, predicted opinion, voice identity.

    python benchmarks/quality.py --judge DIR --voice NAME --voice NAME --seeds 3
    python benchmarks/quality.py --judge DIR --quantize int8

The judges live outside voxkit and are never trained on: DIR holds `judge_env.sh`, which prints a
python, and `judge.py` with the verbs cer, sim and mos.  A list is a TSV of id, text and, where the
text is not written as it is read, the words as spoken.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loading
import numpy as np
import soundfile as sf

import voxkit

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Line:
    """One utterance of a list."""

    id: str
    text: str
    spoken: str


@dataclass(frozen=True)
class Score:
    """One list, voice and seed, as judged."""

    cer: float
    wer: float
    bad: float  # share of utterances with CER > 0.5
    limit: float  # share of utterances that hit the length limit
    mos: float
    rtf: float


def read_list(path: Path) -> list[Line]:
    """Read a TSV of id, text and optionally the words as spoken."""
    rows = [row.split("\t") for row in path.read_text(encoding="utf-8").splitlines() if row]
    return [Line(row[0], row[1], row[-1]) for row in rows]


class Judge:
    """The judges' program, run in its own environment."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "judge.py"
        command = [str(folder / "judge_env.sh")]
        built = subprocess.run(command, check=True, capture_output=True, text=True)
        self._python = built.stdout.strip().splitlines()[-1]

    def _ask(self, *arguments: str) -> list[str]:
        command = [self._python, str(self._program), *arguments]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return answer.stdout.splitlines()

    def error_rates(self, lines: list[Line], folder: Path) -> tuple[float, float, float]:
        """Return CER, WER and the share of utterances with CER > 0.5."""
        listing = folder / "list.tsv"
        rows = "".join(f"{line.id}\t{line.spoken}\n" for line in lines)
        listing.write_text(rows, encoding="utf-8")
        *utterances, summary = self._ask("cer", str(listing), str(folder))
        (folder / "heard.tsv").write_text("\n".join(utterances) + "\n", encoding="utf-8")
        found = re.match(r"CER ([\d.]+) WER ([\d.]+)", summary)
        if not found:
            sys.exit(f"The judge said {summary!r} in place of its summary.")
        parts = [row.split("\t") for row in utterances]
        bad = sum(edits(said, heard) > 0.5 * len(said) for _, said, heard in parts)
        return float(found[1]), float(found[2]), bad / len(lines)

    def opinion(self, files: list[Path]) -> float:
        """Return the mean DNSMOS P.808 of some files."""
        answers = self._ask("mos", *map(str, files))
        return statistics.mean(float(answer.split()[0]) for answer in answers)

    def similarities(self, files: list[Path], others: list[Path]) -> np.ndarray:
        """Return the cosines of the speaker embeddings of files (rows) and others (columns).

        As the verb sim gives them, but with one start of the judge for all.
        """
        program = (
            "import json, sys; sys.path.insert(0, sys.argv[1]); import judge; "
            "print(json.dumps([judge.embed(name).tolist() for name in sys.argv[2:]]))"
        )
        names = [str(file) for file in (*files, *others)]
        command = [self._python, "-c", program, str(self._program.parent), *names]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        vectors = np.array(json.loads(answer.splitlines()[-1]))
        return vectors[: len(files)] @ vectors[len(files) :].T


def edits(said: str, heard: str) -> int:
    """Count the insertions, deletions and substitutions between two texts (Levenshtein, 1966)."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


class Counted:
    """A generator that notes whether a request ran into the length limit."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.cut = False

    def tokens(
        self, text_ids: tuple[int, ...], *args: Any, instruction: str | None = None
    ) -> Iterator[int]:
        """Hand the tokens on, counting them."""
        _, most = self._generator.bounds(text_ids)
        count = 0
        for token in self._generator.tokens(text_ids, *args, instruction=instruction):
            count += 1
            yield token
        self.cut = self.cut or count >= most


def synthesise(
    engine: Any, voice: Any, lines: list[Line], options: voxkit.Options, folder: Path
) -> tuple[float, float]:
    """Speak a list into `folder`/id.wav; return the RTF and the share that hit the length limit."""
    folder.mkdir(parents=True, exist_ok=True)
    wall_s, audio_s, cut = 0.0, 0.0, 0
    for line in lines:
        counted = Counted(engine.parts.generator)
        watched = type(engine)(
            engine.spec,
            dataclasses.replace(engine.parts, generator=counted),
            fingerprint=engine.fingerprint,
            default_voice=engine.default_voice,
        )
        began = time.perf_counter()
        audio = watched.speak(line.text, voice, options)
        wall_s += time.perf_counter() - began
        audio_s += len(audio.samples) / audio.sample_rate
        cut += counted.cut
        sf.write(folder / f"{line.id}.wav", audio.samples, audio.sample_rate)
    return wall_s / audio_s, cut / len(lines)


def join(files: list[Path], out: Path) -> Path:
    """Write some files end to end: one clip that is long enough for a speaker encoder."""
    parts = [sf.read(file, dtype="float32") for file in files]
    sf.write(out, np.concatenate([samples for samples, _ in parts]), parts[0][1])
    return out


def similarities(
    judge: Judge, folder: Path, voices: list[str], lines: list[Line], seeds: int
) -> tuple[list[list[float]], list[Path]]:
    """Compare each voice's first half of the lines with each voice's second half, both ways.

    Returns the means of both ways and the files of the first halves.
    """
    half = len(lines) // 2
    first, second = [], []
    for voice in voices:
        own = folder / voice
        for name, part, into in (("first", lines[:half], first), ("second", lines[half:], second)):
            files = [own / f"{seed}" / f"{line.id}.wav" for seed in range(seeds) for line in part]
            into.append(join(files, own / f"{name}.wav"))
    one_way = judge.similarities(first, second)
    return ((one_way + one_way.T) / 2).tolist(), first


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Synthesise every list with every voice and seed, and ask the judges."""
    judge = Judge(arguments.judge)
    engine = loading.loaded(arguments)
    voices = [voxkit.find_voice(name) for name in arguments.voice or [engine.default_voice]]
    names = [voice.name for voice in voices]
    lists = arguments.list or [
        arguments.judge / "harvard20.tsv",
        HERE / "sentences40.tsv",
        HERE / "sentences200.tsv",
    ]
    rows = []
    for path in lists:
        lines = read_list(path)[: arguments.limit]
        for voice in voices:
            scores = []
            for seed in range(arguments.seeds):
                folder = arguments.out / path.stem / voice.name / str(seed)
                options = voxkit.Options(seed=seed, steps=arguments.steps)
                rtf, limit = synthesise(engine, voice, lines, options, folder)
                cer, wer, bad = judge.error_rates(lines, folder)
                files = [folder / f"{line.id}.wav" for line in lines]
                mos = math.nan if arguments.no_mos else judge.opinion(files)
                scores.append(Score(cer, wer, bad, limit, mos, rtf))
                print(f"{path.stem} {voice.name} seed {seed}: CER {cer:.3f}", file=sys.stderr)
            rows.append(
                {"list": path.stem, "voice": voice.name, "lines": len(lines), **summary(scores)}
            )
    lines = read_list(lists[0])[: arguments.limit]
    folder = arguments.out / lists[0].stem
    matrix, spoken = similarities(judge, folder, names, lines, arguments.seeds)
    real = dict(pair.split("=", 1) for pair in arguments.real)
    known = [n for n in names if n in real]
    spoken = [file for file, n in zip(spoken, names, strict=True) if n in real]
    cosines = judge.similarities(spoken, [Path(real[n]) for n in known]).diagonal() if known else []
    own = dict(zip(known, map(float, cosines), strict=True))
    return {
        "model": arguments.model,
        "seeds": arguments.seeds,
        "steps": arguments.steps,
        "dtype": arguments.dtype,
        "quantize": arguments.quantize,
        "scores": rows,
        "voices": names,
        "similarity": matrix,
        "own": own,
    }


def summary(scores: list[Score]) -> dict[str, Any]:
    """The mean of each figure over the seeds, and the lowest and highest CER."""
    figures = ("cer", "wer", "bad", "limit", "mos", "rtf")
    means = {name: statistics.mean(getattr(s, name) for s in scores) for name in figures}
    cers = [s.cer for s in scores]
    return means | {"cer_range": [min(cers), max(cers)]}


def tables(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    kept = f"--dtype {result['dtype']}"
    kept += f" --quantize {result['quantize']}" if result["quantize"] else ""
    out = [
        f"`{result['model']}` ({kept}), means over {result['seeds']} seeds.",
        "",
        "| List | Lines | Voice | CER (lowest–highest) | WER | CER > 0.5 | At the length limit "
        "| DNSMOS | RTF |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["scores"]:
        low, high = row["cer_range"]
        out.append(
            f"| {row['list']} | {row['lines']} | {row['voice']} "
            f"| {row['cer']:.3f} ({low:.3f}–{high:.3f}) | {row['wer']:.3f} | {row['bad']:.1%} "
            f"| {row['limit']:.1%} | {row['mos']:.2f} | {row['rtf']:.2f} |"
        )
    voices = result["voices"]
    out += [
        "",
        "Similarity of voices (cosine; half of the lines against the other half, both ways):",
        "",
    ]
    out += ["| | " + " | ".join(voices) + " |", "|---" * (len(voices) + 1) + "|"]
    for voice, values in zip(voices, result["similarity"], strict=True):
        out.append(f"| {voice} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    if result["own"]:
        shares = ", ".join(f"{voice} {value:.2f}" for voice, value in result["own"].items())
        out += ["", f"Similarity to recordings of the speaker: {shares}."]
    return "\n".join(out)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    judge = os.environ.get("VOXKIT_JUDGE")
    parser.add_argument("--judge", type=Path, default=judge, required=not judge, metavar="DIR")
    loading.add_flags(parser)
    parser.add_argument("--voice", action="append", help="may be given several times")
    parser.add_argument(
        "--list", action="append", type=Path, help="TSV; may be given several times"
    )
    parser.add_argument("--limit", type=int, help="only the first lines of each list")
    parser.add_argument(
        "--real",
        action="append",
        default=[],
        metavar="VOICE=FILE",
        help="a recording of a voice's speaker; may be given several times",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of the decoder; the model's own if not given")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--no-mos", action="store_true", help="leave DNSMOS out, the slowest judge")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments)
    print(json.dumps(result, indent=2) if arguments.json else tables(result))


if __name__ == "__main__":
    main()
