"""Measures streaming: first-audio latency, whether playback would stutter, what hops cost in total.

    python benchmarks/streaming.py --threads 2
    python benchmarks/streaming.py --seconds 5 10 --runs 1 # sooner: shorter totals, one run
    python benchmarks/streaming.py --random-weights cosyvoice2 --device cuda --dtype bf16
    python benchmarks/streaming.py --cpu-time --runs 1     # on a machine that has other work

Latency is that of a loaded model: with the voice's reference read for an earlier request, as on a
server, and with one that it has to read first.  A listener starts to play with the first piece;
the slack is how much sound is left when the next piece comes, and below zero it stutters.  What is
used is the share of the sound in hand that is played by then.  The total is what decoder and
vocoder spend on given tokens, hop by hop against all in one hop.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import loading
import numpy as np
from speed import cpu_name

import voxkit
from voxkit.checkpoint import settled
from voxkit.measuring import Clock, clock_of

TEXT = (
    "The birch canoe slid on the smooth planks, and nobody said a word. Two customers were "
    "already waiting in the cold. One of them wanted rye bread."
)
LENGTHS_S = (5, 10, 20, 40)  # of given tokens


def say(words: str) -> None:
    """Tell whoever waits how far it is."""
    print(words, file=sys.stderr, flush=True)


def heard(engine: Any, voice: Any, seed: int, clock: Clock) -> dict[str, float]:
    """Stream the text once: first-audio latency, the longest gap and least slack in ms, RTF."""
    began = clock()
    first = before = played_s = gap = used = 0.0
    slack = float("inf")
    for piece in engine.stream(TEXT, voice, voxkit.Options(seed=seed)):
        now = clock() - began
        if not first:
            first = now
        else:
            slack = min(slack, played_s - (now - first))
            used = max(used, (now - first) / played_s)
            gap = max(gap, now - before)
        before = now
        played_s += piece.seconds
    whole = clock() - began
    return {
        "first_audio_ms": 1000 * first,
        "first_audio_of_all": first / whole,
        "longest_gap_ms": 1000 * gap,
        "least_slack_ms": 1000 * slack,
        "most_used": used,
        "rtf": whole / played_s,
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
        for run in range(runs):
            say(f"decoding {seconds} s, run {run + 1} of {runs}")
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
        engine = loading.loaded(arguments)
        return engine, voxkit.find_voice(arguments.voice or engine.default_voice)
    from voxkit import random_model

    device, precision = settled(
        arguments.device, arguments.threads, arguments.dtype, arguments.quantize
    )
    with torch.inference_mode():
        return random_model.load(arguments.random_weights, device, precision)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take every figure."""
    import torch

    device = settled(arguments.device, arguments.threads)[0].type
    clock = time.process_time if arguments.cpu_time else clock_of(device)
    say("loading")
    engine, voice = loaded(arguments)
    heard(engine, voice, 0, clock)  # the first call pays for caches and tables
    known, fresh = [], []
    for run in range(arguments.runs):
        say(f"speaking, run {run + 1} of {arguments.runs}")
        known.append(heard(engine, voice, run, clock))
        fresh.append(heard(engine, unread(voice, run), run, clock))
    medians = {name: statistics.median(run[name] for run in known) for name in known[0]}
    return {
        "model": engine.spec.name,
        "weights": "random" if arguments.random_weights else "its own",
        "machine": cpu_name(),
        "device": device,
        "dtype": arguments.dtype,
        "quantize": arguments.quantize,
        "threads": torch.get_num_threads(),
        "clock": "CPU time" if arguments.cpu_time else "wall time",
        "runs": arguments.runs,
        **medians,
        "longest_gap_ms": max(run["longest_gap_ms"] for run in known),
        "least_slack_ms": min(run["least_slack_ms"] for run in known),
        "most_used": max(run["most_used"] for run in known),
        "first_audio_new_voice_ms": statistics.median(run["first_audio_ms"] for run in fresh),
        "totals": totals(engine, voice, arguments.seconds, arguments.runs, clock),
    }


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    slack = found["least_slack_ms"]
    verdict = "no stutter" if slack >= 0 else "stutters"
    lines = [
        f"`{found['model']}` ({found['weights']} weights, dtype {found['dtype']}, "
        f"quantize {found['quantize']}) on {found['machine']}, {found['device']}, "
        f"{found['threads']} threads, {found['clock']}; "
        f"medians of {found['runs']} runs.",
        "",
        "| Figure | Value |",
        "|---|---|",
        f"| first-audio latency, voice used before | {found['first_audio_ms']:.0f} ms |",
        f"| first-audio latency, voice new | {found['first_audio_new_voice_ms']:.0f} ms |",
        f"| first audio's share of all the time | {found['first_audio_of_all']:.0%} |",
        f"| longest gap between pieces | {found['longest_gap_ms']:.0f} ms |",
        f"| most of the sound in hand that is used | {found['most_used']:.0%} |",
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
    loading.add_flags(parser)
    parser.add_argument("--random-weights", choices=["cosyvoice2", "cosyvoice3"])
    parser.add_argument("--voice", help="the model's own default if not given")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, nargs="*", default=LENGTHS_S, help="of the totals")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, not wall time")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.cpu_time and arguments.device != "cpu":
        parser.error("--cpu-time tells nothing of a GPU.")
    found = measure(arguments)
    print(json.dumps(found, indent=2) if arguments.json else table(found))


if __name__ == "__main__":
    main()
