"""Measures how near the decoder's mel comes to that of very many steps.

    python benchmarks/steps.py --steps 2 3 4 5 6 8
    python benchmarks/steps.py --model runs/model --teacher voxkit-en

A native model decodes the same tokens from the same noise; the distance is the root mean square in
natural log, beside the spread of the mel.  In float32, so that rounding is no part of it.  Of a
decoder that has learnt another's guidance, the distance to its teacher's mel tells more.
"""

from __future__ import annotations

import argparse

import torch

import voxkit
from voxkit.engine import Decoder

MANY = 48
SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Rice is often served in round bowls.",
    "Four hours of steady work faced us.",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 3, 4, 5, 6, 8])
    parser.add_argument("--teacher", help="Model whose very many steps are to be come near.")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()

    def load(model: str) -> voxkit.Engine:
        return voxkit.load(model, device="cpu", dtype="fp32", threads=arguments.threads)

    engine = load(arguments.model)
    voice = engine.adopt(voxkit.find_voice(engine.default_voice))
    parts = engine.parts
    said = []
    for seed, text in enumerate(SENTENCES):
        ids = parts.frontend.ids(engine.prepare(text).sentences[0].text)
        draw = torch.Generator().manual_seed(seed)
        said.append(list(parts.generator.tokens(ids, voice, voxkit.Options(), draw)))

    def mel(steps: int, decoder: Decoder = parts.decoder) -> torch.Tensor:
        start = decoder.init_state(voice, voxkit.Options(steps=steps))
        made = []
        for seed, tokens in enumerate(said):
            state = decoder.seed(start, torch.Generator().manual_seed(seed))
            made.append(decoder.decode(torch.tensor(tokens), state, True)[0])
        return torch.cat(made, dim=2)

    teacher = load(arguments.teacher).parts if arguments.teacher else parts
    exact = mel(MANY, teacher.decoder)
    print(f"Spread of the mel of {MANY} steps: {float(exact.std()):.2f}\n")
    print("| Steps | Distance | Mean difference | Spread of changes, share |")
    print("|---|---|---|---|")
    for steps in arguments.steps:
        found = mel(steps)
        off = found - exact
        rough = float(found.diff(dim=2).std() / exact.diff(dim=2).std())
        print(f"| {steps} | {float(off.square().mean().sqrt()):.3f} ", end="")
        print(f"| {float(off.mean()):+.3f} | {rough:.3f} |", flush=True)


if __name__ == "__main__":
    main()
