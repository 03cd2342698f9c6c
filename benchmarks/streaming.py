"""Measures streaming: first-audio latency, whether playback would stutter, what hops cost in total.

    python benchmarks/streaming.py --threads 2
    python benchmarks/streaming.py --random-weights cosyvoice2 --device cuda --dtype bf16
    python benchmarks/streaming.py --cpu-time --runs 1     # on a machine that has other work

Latency is that of a loaded model: with the voice's reference read for an earlier request, as on a
server, and with one that it has to read first.  A listener starts to play with the first piece;
the slack is how much sound is left when the next piece comes, and below zero it stutters.  The
total is what decoder and vocoder spend on given tokens, hop by hop against all in one hop.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from speed import cpu_name

import voxkit

TEXT = (
    "The birch canoe slid on the smooth planks, and nobody said a word. Two customers were "
    "already waiting in the cold. One of them wanted rye bread."
)
LENGTHS_S = (5, 10, 20, 40)  # of given tokens

Clock = Callable[[], float]


def heard(engine: Any, voice: Any, seed: int, clock: Clock) -> dict[str, float]:
    """Stream the text once: first-audio latency, the least slack in ms, RTF."""
    began = clock()
    first, played_s, slack = 0.0, 0.0, float("inf")
    for piece in engine.stream(TEXT, voice, voxkit.Options(seed=seed)):
        now = clock() - began
        if not first:
            first = now
        else:
            slack = min(slack, played_s - (now - first))
        played_s += piece.seconds
    return {
        "first_audio_ms": 1000 * first,
        "least_slack_ms": 1000 * slack,
        "rtf": (clock() - began) / played_s,
    }


def unread(voice: Any, run: int) -> Any:
    """Return the voice with a reference that differs by a hair, so that it was not read before."""
    return dataclasses.replace(voice, mel=voice.mel + np.float32(1e-4 * (run + 1)))


def decoded(engine: Any, voice: Any, count: int, hops: Iterator[int], clock: Clock) -> float:
    """Turn `count` random tokens into sound in the given hops; return the seconds it took."""
    import torch

    tokens = torch.randint(0, 1000, (count,), generator=torch.Generator().manual_seed(0))
    parts = engine.parts
    start = engine._readings.after(voice, voxkit.Options())
    began, at, last = clock(), 0, False
    mel_state = parts.decoder.seed(start, torch.Generator().manual_seed(1))
    wav_state = parts.vocoder.init_state(torch.Generator().manual_seed(2))
    while not last:
        size = next(hops)
        last = at + size >= count
        mel, mel_state = parts.decoder.decode(tokens[at : at + size], mel_state, last)
        wav, wav_state = parts.vocoder.vocode(mel, wav_state, last)
        wav.cpu()
        at += size
    return clock() - began


def totals(
    engine: Any, voice: Any, lengths_s: list[int], runs: int, clock: Clock
) -> list[dict[str, float]]:
    """What decoder and vocoder spend on speech of several lengths."""
    rows = []
    for seconds in lengths_s:
        count = seconds * engine.spec.token_rate
        streamed, whole = [], []
        for _ in range(runs):
            hops = engine.parts.decoder.hops(voice, ())
            streamed.append(decoded(engine, voice, count, hops, clock))
            whole.append(decoded(engine, voice, count, iter([count]), clock))
        hop_s, one_s = statistics.median(streamed), statistics.median(whole)
        rows.append(
            {
                "speech_s": seconds,
                "streamed_s": hop_s,
                "streamed_rtf": hop_s / seconds,
                "one_hop_s": one_s,
                "ratio": hop_s / one_s,
            }
        )
    return rows


def loaded(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Return an engine and its voice."""
    import torch

    if arguments.random_weights is None:
        engine = voxkit.load(arguments.model, device=arguments.device, threads=arguments.threads)
        return engine, voxkit.find_voice(arguments.voice or engine.default_voice)
    from voxkit import random_model
    from voxkit.checkpoint import settled

    device, precision = settled(
        arguments.device, arguments.threads, arguments.dtype, None, compat=False
    )
    with torch.inference_mode():
        return random_model.load(arguments.random_weights, device, precision)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take every figure."""
    import torch

    clock = time.process_time if arguments.cpu_time else time.perf_counter
    engine, voice = loaded(arguments)
    heard(engine, voice, 0, clock)  # the first call pays for caches and tables
    known = [heard(engine, voice, seed, clock) for seed in range(arguments.runs)]
    fresh = [heard(engine, unread(voice, run), run, clock) for run in range(arguments.runs)]
    medians = {name: statistics.median(run[name] for run in known) for name in known[0]}
    return {
        "model": engine.spec.name,
        "weights": "random" if arguments.random_weights else "its own",
        "machine": cpu_name(),
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "clock": "CPU time" if arguments.cpu_time else "wall time",
        "runs": arguments.runs,
        **medians,
        "least_slack_ms": min(run["least_slack_ms"] for run in known),
        "first_audio_new_voice_ms": statistics.median(run["first_audio_ms"] for run in fresh),
        "totals": totals(engine, voice, arguments.seconds, arguments.runs, clock),
    }


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    slack = found["least_slack_ms"]
    verdict = "no stutter" if slack >= 0 else "stutters"
    lines = [
        f"`{found['model']}` ({found['weights']} weights) on {found['machine']}, "
        f"{found['device']}, {found['threads']} threads, {found['clock']}; "
        f"medians of {found['runs']} runs.",
        "",
        "| Figure | Value |",
        "|---|---|",
        f"| first-audio latency, voice used before | {found['first_audio_ms']:.0f} ms |",
        f"| first-audio latency, voice new | {found['first_audio_new_voice_ms']:.0f} ms |",
        f"| least slack of all runs | {slack:.0f} ms: {verdict} |",
        f"| RTF, streamed | {found['rtf']:.3f} |",
        "",
        "| Speech | Decoder and vocoder, streamed | RTF | In one hop | Ratio |",
        "|---|---|---|---|---|",
    ]
    for row in found["totals"]:
        lines.append(
            f"| {row['speech_s']} s | {row['streamed_s']:.2f} s | {row['streamed_rtf']:.3f} | "
            f"{row['one_hop_s']:.2f} s | {row['ratio']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--random-weights", choices=["cosyvoice2", "cosyvoice3"])
    parser.add_argument("--voice", help="the model's own default if not given")
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, nargs="+", default=LENGTHS_S, help="of the totals")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, not wall time")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments)
    print(json.dumps(found, indent=2) if arguments.json else table(found))


if __name__ == "__main__":
    main()
