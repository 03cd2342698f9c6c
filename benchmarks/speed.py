"""Measures how fast a model speaks: cold start, RTF, first-audio latency, memory, each part.

    python benchmarks/speed.py --runs 5 --threads 2
    python benchmarks/speed.py --long          # also 10,000 characters, whose memory must not grow

Cold figures are of whole `voxkit speak` processes, warm ones of one loaded engine.  Every figure is
the median of the runs; nothing else should be running.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import soundfile as sf

import voxkit
from voxkit.measuring import PARTS, SENTENCE, Clock, clock_of, peak_mib, take

PARAGRAPH = (
    "The baker opened the shop before dawn. Two customers were already waiting in the cold. "
    "One of them wanted rye bread, and the other had only come to get warm. "
)


def cold_speak(text: str, arguments: list[str]) -> dict[str, float]:
    """Run `voxkit speak` in a process of its own: wall time and length in s, peak memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.wav"
        command = [sys.executable, "-m", "voxkit", "speak", "-", "-o", str(out), "--quiet"]
        began = time.perf_counter()
        process = subprocess.Popen([*command, "--seed", "0", *arguments], stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(text.encode())
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"voxkit speak ended with status {process.returncode}.")
        info = sf.info(out)
    return {"wall_s": wall_s, "audio_s": info.duration, "peak_mib": usage.ru_maxrss / 1024}


def warm_speak(engine: Any, voice: Any, text: str, seed: int, clock: Clock) -> dict[str, float]:
    """Stream one text from a loaded engine: first-audio latency, RTF, and each part's RTF."""
    found = take(engine, voice, text, seed, clock)
    parts = {f"{name}_rtf": spent / found.audio_s for name, spent in found.parts_s.items()}
    return {
        "first_audio_ms": found.first_audio_s * 1000,
        "rtf": found.wall_s / found.audio_s,
        "audio_s": found.audio_s,
        **parts,
    }


def long_text() -> str:
    """Whole sentences, just under 10,000 characters."""
    return (PARAGRAPH * (10_000 // len(PARAGRAPH) + 1))[:9_999].rpartition(".")[0] + "."


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def cpu_name() -> str:
    """What the machine calls its processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take every figure."""
    flags = ["--model", arguments.model, "--device", arguments.device]
    flags += ["--voice", arguments.voice] if arguments.voice else []
    flags += ["--threads", str(arguments.threads)] if arguments.threads else []
    # Before torch is loaded here: a child's peak memory counts from its parent's size.
    cold = [cold_speak(arguments.text, flags) for _ in range(arguments.runs)]
    long = cold_speak(long_text(), flags) if arguments.long else None

    import torch

    from voxkit.checkpoint import settled

    clock = clock_of(settled(arguments.device, arguments.threads)[0].type)
    began = clock()
    engine = voxkit.load(arguments.model, device=arguments.device, threads=arguments.threads)
    load_s = clock() - began
    voice = voxkit.find_voice(arguments.voice or engine.default_voice)
    warm_speak(engine, voice, arguments.text, 0, clock)  # the first call pays for caches and tables
    warm = [
        warm_speak(engine, voice, arguments.text, seed, clock) for seed in range(arguments.runs)
    ]
    result: dict[str, Any] = {
        "model": arguments.model,
        "machine": f"{cpu_name()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": arguments.device,
        "runs": arguments.runs,
        "cold": medians(cold),
        "warm": medians(warm) | {"load_s": load_s},
    }
    result["warm"]["peak_mib"] = peak_mib()
    return result | ({"long": long} if long else {})


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    cold, warm = result["cold"], result["warm"]
    rows = [
        ("cold `voxkit speak`, wall time", f"{cold['wall_s']:.2f} s for {cold['audio_s']:.1f} s"),
        ("cold, peak memory", f"{cold['peak_mib']:.0f} MiB"),
        ("load in a warm process", f"{warm['load_s']:.2f} s"),
        ("first-audio latency, warm", f"{warm['first_audio_ms']:.0f} ms"),
        ("real-time factor (RTF), warm", f"{warm['rtf']:.3f}"),
    ]
    rows += [(f"– of it {part}", f"{warm.get(f'{part}_rtf', 0.0):.3f}") for part in PARTS]
    rows.append(("peak memory of the warm process", f"{warm['peak_mib']:.0f} MiB"))
    if long := result.get("long"):
        rows.append(("10,000 characters, RTF", f"{long['wall_s'] / long['audio_s']:.3f}"))
        rows.append(("10,000 characters, peak memory", f"{long['peak_mib']:.0f} MiB"))
    head = (
        f"`{result['model']}` on {result['machine']}; torch {result['torch']}, "
        f"{result['threads']} threads, {result['device']}; medians of {result['runs']} runs.\n\n"
        "| Figure | Value |\n|---|---|\n"
    )
    return head + "\n".join(f"| {name} | {value} |" for name, value in rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--voice", help="the model's own default if not given")
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--text", default=SENTENCE)
    parser.add_argument("--long", action="store_true", help="also speak 10,000 characters")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments)
    print(json.dumps(result, indent=2) if arguments.json else table(result))


if __name__ == "__main__":
    main()
