"""The `bench` command: how fast a model speaks on this machine, and how fast it could."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxkit.cli import flags
from voxkit.cli.output import Output
from voxkit.cli.warm import python_of
from voxkit.errors import ModelError
from voxkit.precision import Dtype

if TYPE_CHECKING:
    from voxkit.engine import Engine
    from voxkit.voice import Voice

RunsFlag = Annotated[
    int, typer.Option("--runs", min=1, help="How often the sentence is spoken; medians are shown.")
]
CharactersFlag = Annotated[
    int, typer.Option("--characters", min=1, help="Length of a text whose time is estimated.")
]
RandomFlag = Annotated[
    bool,
    typer.Option(
        "--random-weights",
        help="Take random weights in a hub model's shapes: nothing is downloaded.",
    ),
]
ColdFlag = Annotated[
    bool, typer.Option("--cold/--no-cold", help="Also time a whole `voxkit speak` process.")
]


def bench(
    model: flags.ModelFlag = flags.DEFAULT_MODEL,
    voice: flags.VoiceFlag = None,
    device: flags.DeviceFlag = flags.Device.auto,
    threads: flags.ThreadsFlag = None,
    dtype: flags.DtypeFlag = Dtype.auto,
    quantize: flags.QuantizeFlag = None,
    compile: flags.CompileFlag = False,
    runs: RunsFlag = 3,
    characters: CharactersFlag = 10_000,
    random_weights: RandomFlag = False,
    cold: ColdFlag = True,
    offline: flags.OfflineFlag = False,
    json: flags.JsonFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Measure how fast a model speaks on this machine: cold, warm, part by part."""
    out = Output(quiet=quiet, as_json=json)
    asked = ["--model", model, "--device", str(device), "--dtype", str(dtype)]
    asked += ["--threads", str(threads)] if threads else []
    asked += ["--quantize", str(quantize)] if quantize else []
    asked += ["--compile"] if compile else []
    asked += ["--offline"] if offline else []
    asked += ["--voice", voice] if voice else []
    found: dict[str, Any] = {"model": model, "random_weights": random_weights, "compiled": compile}
    with out.bar("Measuring", None):
        # Before torch is loaded here: a child's peak memory counts from its parent's size.
        if cold and not random_weights:
            found["cold"] = _cold(asked)
        from voxkit import measuring

        measuring.forget_peak()
        began = time.perf_counter()
        from voxkit import checkpoint

        place, precision = checkpoint.settled(str(device), threads, str(dtype), quantize)
        clock = measuring.clock_of(place.type)
        clock()  # opens a GPU
        ready = time.perf_counter()
        if random_weights:
            engine, speaker = _random(model, place, precision, compile)
        else:
            from voxkit.cli.hub import load_model
            from voxkit.cli.voices import wanted_voice

            engine = load_model(
                out,
                model,
                device=str(device),
                threads=threads,
                offline=offline,
                dtype=dtype,
                quantize=quantize,
                compile=compile,
            )
            wanted = wanted_voice(voice, None, None).on(engine).voice
            assert wanted is not None  # Wanted.on always finds one
            speaker = wanted
        found |= {"import_s": ready - began, "load_s": clock() - ready}
        # Random numbers are made in float32 first: no load of a model takes that memory.
        alone = measuring.forget_peak(place.type) if random_weights else True
        found |= _warm(engine, speaker, runs, characters, place.type)
    if not alone:
        found["peak_mib"] = None
    found["precision"] = {
        k: v if isinstance(v, bool) else str(v) for k, v in dataclasses.asdict(precision).items()
    }
    if json:
        out.json(found)
    else:
        out.table(("FIGURE", "VALUE"), _rows(found))


def _cold(asked: list[str]) -> dict[str, float]:
    """Run `voxkit speak` in a process of its own: time to the first sound and in all, peak memory.

    The sound comes through a pipe, as to a player.
    """
    from voxkit.measuring import SENTENCE

    words = ["speak", SENTENCE, "-o", "-", "--raw", "--quiet", "--seed", "0", *asked]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*python_of("voxkit"), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdout is not None
    with process.stdout as sound:
        sound.read(1)
        first_s = time.perf_counter() - began
        while sound.read(1 << 16):
            pass
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began
    if process.returncode:
        raise ModelError("Nothing can be measured, because `voxkit speak` itself failed.")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return {"first_audio_s": first_s, "wall_s": wall_s, "peak_mib": usage.ru_maxrss / unit}


def _random(model: str, place: Any, precision: Any, compile: bool) -> tuple[Engine, Voice]:
    from voxkit import random_model

    return random_model.load(model, place, precision, compile=compile)


def _warm(engine: Engine, voice: Voice, runs: int, characters: int, device: str) -> dict[str, Any]:
    """Speak with a loaded engine and set the figures beside the machine's ceilings."""
    import torch

    from voxkit import measuring

    text, clock = measuring.SENTENCE, measuring.clock_of(device)
    measuring.take(engine, voice, text, 0, clock)  # the first call pays for caches and tables
    takes = [measuring.take(engine, voice, text, seed, clock) for seed in range(runs)]
    found = measuring.figures(takes, engine.spec.token_rate)
    # Before the ceilings, whose own tensors are larger than a small model.
    peaks = {"peak_mib": measuring.peak_mib(), "device_peak_mib": measuring.device_peak_mib(device)}
    most, needed = measuring.ceilings(device), measuring.work(engine)
    frame_rate = engine.spec.token_rate * engine.spec.mel_per_token
    speech_s = found["audio_s"] / len(text) * characters
    return {
        "warm": found,
        **peaks,
        "ceilings": dataclasses.asdict(most),
        "shares": measuring.shares(found, needed, most, frame_rate),
        "estimate": {
            "characters": characters,
            "speech_s": speech_s,
            "busy_s": speech_s * found["rtf"],
        },
        "machine": {"torch": torch.__version__, "threads": torch.get_num_threads()},
        "device": device,
    }


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures as one reads them."""
    warm, most, shares = found["warm"], found["ceilings"], found["shares"]
    estimate, kept = found["estimate"], found["precision"]
    rows = []
    if "cold" in found:
        cold = found["cold"]
        rows += [
            ("cold `voxkit speak`, first audio", f"{cold['first_audio_s']:.2f} s"),
            ("cold `voxkit speak`", f"{cold['wall_s']:.2f} s for {warm['audio_s']:.1f} s"),
            ("cold, peak memory", f"{cold['peak_mib']:.0f} MiB"),
        ]
    rows += [
        ("import of torch", f"{found['import_s']:.2f} s"),
        ("load", f"{found['load_s']:.2f} s"),
        ("weights", _weights(kept) + (", compiled" if found["compiled"] else "")),
        ("first audio, warm", f"{warm['first_audio_ms']:.0f} ms"),
        ("RTF, warm", f"{warm['rtf']:.3f}"),
        ("  generator", f"{warm['generator_rtf']:.3f}, {warm['tokens_per_s']:.0f} tokens/s"),
        ("  decoder", f"{warm['decoder_rtf']:.3f}"),
        ("  vocoder", f"{warm['vocoder_rtf']:.3f}"),
        *_peaks(found),
        ("memory read", f"{most['read_gb_s']:.0f} GB/s; {shares['generator_of_read']:.0%} reached"),
        (
            "matrix product",
            f"{most['fp32_gflop_s']:.0f} GFLOP/s fp32, {most['bf16_gflop_s']:.0f} bf16; "
            f"{shares['decoder_of_' + kept['decoder']]:.0%} of {kept['decoder']} reached",
        ),
        (
            f"{estimate['characters']:,} characters",
            f"{estimate['speech_s'] / 60:.1f} min of speech in {estimate['busy_s'] / 60:.1f} min",
        ),
    ]
    return rows


def _weights(kept: dict[str, Any]) -> str:
    """Tell what the weights are kept in."""
    told = f"generator {kept['generator']}, decoder {kept['decoder']}"
    return f"{told} with int8 after norms" if kept["int8_after_norms"] else told


def _peaks(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows about memory, of what was measured."""
    what = "peak memory of speaking" if found["random_weights"] else "peak memory"
    named = ((what, "peak_mib"), ("peak memory of the GPU", "device_peak_mib"))
    return [(name, f"{found[key]:.0f} MiB") for name, key in named if found[key] is not None]
