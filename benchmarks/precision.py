"""Measures what each kind of weights costs and gains: time of each part, and distance from float32.

    python benchmarks/precision.py                  # the bundled model
    python benchmarks/precision.py --hub cosyvoice2 # the generator of a hub model, random weights

Times are the processor's own on one thread, the least of some runs, so that other work on the
machine changes them little.  The first row is the plain path that the others are compared with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

import voxkit
from voxkit import random_model
from voxkit.checkpoint import settled
from voxkit.modules.linears import fast_kind
from voxkit.options import Options
from voxkit.precision import Kind

TEXTS = (
    "The birch canoe slid on the smooth planks, and nobody said a word.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
)


def least_s(work: Callable[[], Any], times: int) -> float:
    """The least processor time of some runs."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def rms(x: torch.Tensor) -> float:
    """Root of the mean square."""
    return float(x.float().square().mean().sqrt())


@torch.inference_mode()
def heard(generator: Any, ids: tuple[int, ...], tokens: Sequence[int], voice: Any) -> torch.Tensor:
    """Logits (T + 1, K) of the native generator while it hears given tokens."""
    logits, cache = generator._start(ids, [], voice)
    rows = [logits]
    for token in tokens:
        logits, cache = generator._next([token], cache)
        rows.append(logits)
    return torch.stack(rows)


def mel_of(engine: Any, voice: Any, tokens: Sequence[int]) -> torch.Tensor:
    """Mel (1, M, F) of given tokens."""
    decoder = engine.parts.decoder
    state = decoder.seed(decoder.init_state(voice, Options()), torch.Generator().manual_seed(2))
    return decoder.decode(torch.tensor(tokens), state, True)[0]


def bundled(precisions: Sequence[tuple[str, str | None]]) -> None:
    """Print one row for each precision of the bundled model."""
    plain = voxkit.load(device="cpu", dtype="fp32")
    voice = voxkit.find_voice(plain.default_voice)
    truth = []
    for text in TEXTS:
        ids = plain.parts.frontend.ids(plain.prepare(text).sentences[0].text)
        draws = torch.Generator().manual_seed(1)
        said = list(plain.parts.generator.tokens(ids, voice, Options(), draws))
        logits = heard(plain.parts.generator, ids, said, voice)
        truth.append((ids, said, logits, mel_of(plain, voice, said)))
    print(
        "| generator; decoder | ms a token | reference, s | decoder RTF | logit error | "
        "same likeliest token | mel difference |\n|---|---|---|---|---|---|---|"
    )
    for dtype, quantize in precisions:
        engine = voxkit.load(device="cpu", dtype=dtype, quantize=quantize)
        _, kept = settled("cpu", None, dtype, quantize)
        told = f"{kept.generator}; {kept.decoder}"
        told += ", int8 after norms" if kept.int8_after_norms else ""
        part = engine.parts.generator
        errors, same, mels = [], [], []
        for ids, said, logits, mel in truth:
            made = heard(part, ids, said, voice)
            errors.append(rms(made - logits) / float(logits.std()))
            same.append(float((made.argmax(-1) == logits.argmax(-1)).float().mean()))
            mels.append(rms(mel_of(engine, voice, said) - mel))
        ids, said = truth[0][:2]
        token_s = least_s(lambda: heard(part, ids, said, voice), 4) / len(said)  # noqa: B023
        reference = least_s(lambda: engine.parts.decoder.init_state(voice, Options()), 4)  # noqa: B023
        whole = least_s(lambda: mel_of(engine, voice, said), 4)  # noqa: B023
        count = len(truth)
        print(
            f"| {told} | {1000 * token_s:.2f} | {reference:.3f} | "
            f"{(whole - reference) / len(said) * 25:.3f} | {sum(errors) / count:.4f} | "
            f"{sum(same) / count:.3f} | {sum(mels) / count:.4f} |",
            flush=True,
        )


@torch.inference_mode()
def hub(family: str, kinds: Sequence[Kind]) -> None:
    """Print one row for each kind of weights of a hub model's generator."""
    print("| generator | reading 177, s | ms a token | ms, plain path | logit error |")
    print("|---|---|---|---|---|")
    truth = None
    for kind in kinds:
        lm = random_model.speech_lm(family, kind)
        x, token = lm.prompt(range(100), range(75)), lm.embed_speech([5])
        began = time.process_time()
        logits, cache = lm.step(x, lm.transformer.init_cache(1))
        read_s = time.process_time() - began
        truth = logits if truth is None else truth
        fast = least_s(lambda: lm.step(token, cache), 12)  # noqa: B023
        slow = least_s(lambda: lm.head(lm.transformer.plain(token, cache)[0]), 12)  # noqa: B023
        error = rms(logits - truth) / float(truth.std())
        print(
            f"| {kind} | {read_s:.2f} | {1000 * fast:.1f} | {1000 * slow:.1f} | {error:.4f} |",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hub", choices=["cosyvoice2", "cosyvoice3"])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.hub:
        hub(arguments.hub, list(Kind))
    else:
        whole = dict.fromkeys(["fp32", str(fast_kind(torch.device("cpu")))])
        bundled([*((dtype, None) for dtype in whole), ("auto", "int8"), ("auto", "int4")])


if __name__ == "__main__":
    main()
