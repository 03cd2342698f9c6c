"""Measures CosyVoice 2 and Fun-CosyVoice 3 at their full size, with random weights in their place.

    python benchmarks/hub_fullsize.py --threads 2                   # both families
    python benchmarks/hub_fullsize.py cosyvoice2 --dtype fp32       # one, with float32 weights
    python benchmarks/hub_fullsize.py cosyvoice2 --device cuda
    python benchmarks/hub_fullsize.py cosyvoice2 --beside           # and what upstream reckons

The real weights take long to fetch and speed does not depend on them.  So a checkpoint folder is
written that has the files, key names and shapes of the release, random numbers of a size that keeps
every layer alive, and ONNX front ends that are toys: how long a clone takes is not measured.
The folder goes through `voxkit clone` and `voxkit speak`, then through an engine whose parts are
timed, and is deleted.  It needs 5 GB of disk and 4 GB of memory for one family, 8 GB and 6 GB for
the other.

The public implementation's figures are of another machine.  With `--beside` its work is done here
too, in the same run: the same modules in plain float32, tokens one by one with the text head that
it evaluates for every position and throws away, then reference and speech through the flow at once.
What its Python takes beside that is left out, so this is no slower than it is.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from speed import cpu_name
from torch.nn import functional as F

import voxkit
from voxkit.checkpoint import settled
from voxkit.errors import VoxkitError
from voxkit.measuring import clock_of, high_water_mib, timed
from voxkit.modules import linears
from voxkit.options import WHOLE
from voxkit.prosody import NATURAL
from voxkit.voice import load_voice

TESTS = Path(__file__).resolve().parents[1] / "tests"
TEXT = "Birch."  # six text ids: at 20 tokens for each, the most allowed, 120 tokens or 4.8 s
REFERENCE_S = 3.0
TEXT_HEAD = (151_936, 896)  # of both releases: a row for each text id
PREFILL = 177  # positions before the first token in the setting of the figures below
# The public implementation: 2 threads of one machine, fp32, 5 s of speech with a 3 s reference.
UPSTREAM = {
    "cosyvoice2": {"token_ms": 136.0, "flow_rtf": 2.0, "hift_rtf": 0.14, "rtf": 5.4},
    "cosyvoice3": {"token_ms": 136.0, "flow_rtf": 4.4, "hift_rtf": 0.16, "rtf": 7.5},
}


def write_folder(path: Path, family: str) -> None:
    """Write a checkpoint of the released sizes, one file after the other."""
    sys.path.append(str(TESTS))
    from tiny_cosyvoice import hub_folder, released

    hub_folder(path, family, spec=released(family), tireless=True)


@dataclass(frozen=True)
class Finished:
    """A command that has ended: its wall time and the most memory it held."""

    wall_s: float
    peak_gb: float  # 0 where nothing tells


def command(*words: str) -> Finished:
    """Run `voxkit` in a process of its own."""
    began, peak_mib = time.perf_counter(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "voxkit", *words])
    while process.poll() is None:  # what is told after its end counts the size of this process in
        peak_mib = high_water_mib(process.pid) or peak_mib
        time.sleep(0.01)
    if process.returncode:
        sys.exit(f"voxkit {words[0]} ended with status {process.returncode}.")
    return Finished(time.perf_counter() - began, peak_mib * (1 << 20) / 1e9)


def write_reference(path: Path) -> None:
    """Write the first seconds of the recording in the default voice."""
    voice = voxkit.find_voice(voxkit.load().default_voice)
    clip = voice.reference
    assert clip is not None
    samples = clip.samples[: round(REFERENCE_S * clip.sample_rate)]
    voxkit.write_audio(path, voxkit.Audio(samples, clip.sample_rate))


def staged(
    folder: Path, voice_file: Path, loading: dict[str, Any], clock: Callable[[], float]
) -> dict[str, float]:
    """Speak with timed parts; return what a file took, by stage, and a stream to its start."""
    began = clock()
    engine = voxkit.load(folder, **loading)
    result = {"load_s": clock() - began}
    voice = load_voice(voice_file)
    for first_hop in (None, None, WHOLE, WHOLE):  # a stream, a file; the second time counts
        seconds: dict[str, float] = {}
        first_s = audio_s = 0.0
        options = voxkit.Options(seed=1, first_hop=first_hop)
        began = clock()
        for piece in timed(engine, seconds, clock).stream(TEXT, voice, options):
            first_s = first_s or clock() - began
            audio_s += piece.seconds
        wall_s = clock() - began
        tokens = audio_s * engine.spec.token_rate
        result |= {
            "audio_s": audio_s,
            "first_audio_s": result["first_audio_s"] if first_hop else first_s,
            "token_ms": 1000 * seconds["generator"] / tokens,
            "flow_rtf": seconds["decoder"] / audio_s,
            "hift_rtf": seconds["vocoder"] / audio_s,
            "rtf": wall_s / audio_s,
        }
    return result


def plain(
    folder: Path, voice_file: Path, loading: dict[str, Any], clock: Callable[[], float]
) -> dict[str, float]:
    """Do what the public implementation does for a text, in plain float32 of torch's own order."""
    plainly = {key: value for key, value in loading.items() if key != "quantize"}
    with mock.patch.object(linears, "LARGE", math.inf):
        engine = voxkit.load(folder, **plainly | {"dtype": "fp32"})
    voice, options = load_voice(voice_file), voxkit.Options(seed=1)
    draw = torch.Generator()
    sentence = engine.prepare(TEXT).sentences[0]
    ids = engine.parts.frontend.ids(sentence.text)
    head, rows = torch.randn(TEXT_HEAD), torch.randn(PREFILL, TEXT_HEAD[1])
    parts, seconds = engine.parts, [0.0, 0.0, 0.0]
    for _ in range(2):  # the second time counts
        times = [clock()]
        tokens = list(parts.generator.tokens(ids, voice, options, draw.manual_seed(1)))
        with torch.inference_mode():
            F.linear(rows, head)
            for _ in tokens:
                F.linear(rows[:1], head)
        times.append(clock())
        state = parts.decoder.seed(parts.decoder.init_state(voice, options), draw)
        mel, _ = parts.decoder.decode(torch.tensor(tokens), state, True)
        times.append(clock())
        parts.vocoder.vocode(mel, parts.vocoder.init_state(draw, NATURAL), True)
        times.append(clock())
        seconds = [b - a for a, b in itertools.pairwise(times)]
    generator_s, decoder_s, vocoder_s = seconds
    audio_s = len(tokens) / engine.spec.token_rate
    return {
        "token_ms": 1000 * generator_s / len(tokens),
        "flow_rtf": decoder_s / audio_s,
        "hift_rtf": vocoder_s / audio_s,
        "rtf": sum(seconds) / audio_s,
    }


def measure(
    family: str,
    place: Path,
    flags: list[str],
    loading: dict[str, Any],
    clock: Callable[[], float],
    beside: bool,
) -> dict[str, Any]:
    """Write a folder, speak with it on the command line and in this process."""
    folder, reference, out = place / family, place / "reference.wav", place / "out.wav"
    began = time.perf_counter()
    write_folder(folder, family)
    print(f"{family}: written in {time.perf_counter() - began:.0f} s", flush=True)
    write_reference(reference)
    model = ["--model", str(folder), "--offline"]
    words = ["clone", str(reference), "--name", family, "--text", "Hello world.", *model]
    clone = command(*words, "--device", loading["device"])
    speak = ["speak", TEXT, "-v", family, "-o", str(out), "--seed", "1", *model, *flags]
    command(*speak)  # the first time it writes the smaller weights
    cold = command(*speak, "--force")
    voice = place / "home" / "voices" / f"{family}.safetensors"
    found = staged(folder, voice, loading, clock) | {"clone": clone, "cold": cold}
    return found | {"plain": plain(folder, voice, loading, clock) if beside else None}


def table(family: str, found: dict[str, Any]) -> str:
    """The figures beside the public implementation's, as Markdown."""
    theirs = found["plain"] or UPSTREAM[family]
    whose = "its work, here" if found["plain"] else "public implementation, another machine"
    rows = [
        (name, f"{found[key]:.{digits}f}", f"{theirs[key]:.3g}", f"{theirs[key] / found[key]:.1f}")
        for name, key, digits in (
            ("LM, ms a token", "token_ms", 1),
            ("flow, RTF", "flow_rtf", 2),
            ("HiFT, RTF", "hift_rtf", 3),
            ("all, RTF", "rtf", 2),
        )
    ]
    cold, clone = found["cold"], found["clone"]
    lines = [
        f"{family}: {found['audio_s']:.1f} s of speech, {REFERENCE_S:g} s reference",
        "",
        f"| Stage | voxkit | {whose} | times faster |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        f"| first audio, s | {found['first_audio_s']:.2f} | | |",
        f"| loading, s | {found['load_s']:.2f} | | |",
        f"| `voxkit speak`, whole process | {cold.wall_s:.1f} s, {cold.peak_gb:.1f} GB | | |",
        f"| `voxkit clone`, converting | {clone.wall_s:.0f} s, {clone.peak_gb:.1f} GB | | |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*", default=sorted(UPSTREAM))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--dtype", help="of the weights, as `voxkit speak --dtype` has it")
    parser.add_argument("--quantize", help="as `voxkit speak --quantize` has it")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processor's time in the stages: for a busy machine, with --threads 1",
    )
    parser.add_argument(
        "--beside", action="store_true", help="do the public implementation's work here too"
    )
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written for a while")
    arguments = parser.parse_args()
    try:
        device = settled(arguments.device, None, arguments.dtype or "auto", arguments.quantize)[
            0
        ].type
    except VoxkitError as error:
        parser.error(str(error))
    if arguments.beside and device != "cpu":
        parser.error("--beside is for the CPU.")
    if arguments.cpu_time and device != "cpu":
        parser.error("--cpu-time tells nothing of a GPU.")
    clock = time.process_time if arguments.cpu_time else clock_of(device)
    flags = ["--device", device, "--threads", str(arguments.threads)]
    loading: dict[str, Any] = {"device": device, "threads": arguments.threads}
    for name in ("dtype", "quantize"):
        if wanted := getattr(arguments, name):
            flags += [f"--{name}", wanted]
            loading[name] = wanted
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    for family in arguments.families:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            place = Path(name)
            os.environ |= {"HF_HOME": str(place / "hf"), "VOXKIT_HOME": str(place / "home")}
            found = measure(family, place, flags, loading, clock, arguments.beside)
        kept = " ".join(flags[4:]) or "default precision"
        print(f"\n{cpu_name()}, {device}, {arguments.threads} threads, {kept}\n")
        print(table(family, found), flush=True)


if __name__ == "__main__":
    main()
