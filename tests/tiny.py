"""The native family made tiny: numbers, networks with random weights, an engine, a folder."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from voxkit import checkpoint
from voxkit.audio import Audio
from voxkit.engine import Engine
from voxkit.modules.phone_lm import PhoneLm
from voxkit.modules.transformer import Cache
from voxkit.phonemes import SYMBOLS
from voxkit.spec import (
    DitDecoderSpec,
    FlowSpec,
    FsqTokenizerSpec,
    MelSpec,
    ModelSpec,
    PhoneGeneratorSpec,
    PhoneTextSpec,
    SamplingSpec,
    SpeakerSpec,
    StreamSpec,
    TransformerSpec,
    VocosSpec,
    to_dict,
)
from voxkit.voice import Voice, save_voice

Net = TypeVar("Net", bound=nn.Module)
RATE = 8_000  # Hz, the lowest that voxkit writes
HOP = 160  # 50 mel frames a second, as every family has

MEL = MelSpec(
    sample_rate=RATE,
    n_fft=640,
    win=640,
    hop=HOP,
    bins=16,
    fmin=0.0,
    fmax=4000.0,
    mean=-6.0,
    scale=2.5,
)
TRANSFORMER = TransformerSpec(
    layers=2,
    width=32,
    heads=4,
    kv_heads=2,
    head_width=8,
    feed_forward=48,
    norm_eps=1e-6,
    rope_theta=10_000.0,
    qkv_bias=False,
)
SPEC = ModelSpec(
    name="voxkit-tiny",
    family="native",
    revision="1",
    description="Random weights for tests",
    licence="Apache-2.0",
    mel=MEL,
    token_rate=25,
    text=PhoneTextSpec("phones", "en", 8, letters_width=16, letters_layers=1, letters_heads=2),
    tokenizer=FsqTokenizerSpec("fsq", 24, (1,), (1, 2), levels=3, dims=4),
    speaker=SpeakerSpec(16, (1, 2), embedding=8),
    generator=PhoneGeneratorSpec(
        "phones",
        TRANSFORMER,
        SamplingSpec(temperature=1.0, top_p=0.95, top_k=40, repeat_window=10, repeat_limit=3),
        min_tokens_per_phone=0.5,
        max_tokens_per_phone=1.0,
        align_layer=1,
        reads_as="voice",
    ),
    decoder=DitDecoderSpec(
        "dit",
        FlowSpec(steps=2, guidance=0.7),
        width=32,
        layers=2,
        heads=2,
        feed_forward=48,
        kernel=3,
        encoder_layers=1,
        lookahead=2,
        chunk=5,
        first_chunk=2,
    ),
    vocoder=VocosSpec("vocos", 16, 2, 32, 3, "source-filter", head_width=16, head_bands=17),
    stream=StreamSpec(first_hop=3, max_hop=12),
)


def seeded(seed: int) -> torch.Generator:
    """A generator of one's own."""
    return torch.Generator().manual_seed(seed)


def stir(module: Net, seed: int = 0) -> Net:
    """Give every parameter new numbers, those that start at zero too, so that no path is shut."""
    generator = seeded(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.1 * noise + (1.0 if name.endswith(("weight", "gamma")) else 0.0))
    return module


def modules(spec: ModelSpec = SPEC, seed: int = 0) -> dict[str, nn.Module]:
    """The networks of the native family with random weights, ready for inference."""
    with torch.random.fork_rng(devices=[]):
        parts = checkpoint.native_modules(spec)
    for part in parts.values():
        stir(part, seed).eval().requires_grad_(False)
    parts["vocoder"].head.out.weight.mul_(0.1)  # so that samples stay within -1 … 1
    return parts


@functools.cache
def engine(spec: ModelSpec = SPEC, seed: int = 0) -> Engine:
    """An engine of those networks.  Kept between tests: an engine is never written to."""
    with tempfile.TemporaryDirectory() as name:
        return checkpoint.load(write_model(Path(name) / "model", spec, seed), device="cpu")


def start(model: PhoneLm, *told: Tensor) -> tuple[Tensor, Cache]:
    """Read voice and text of one request → hidden of the task mark (1, D), cache."""
    x, mask = model.beginning(*told)
    hidden, cache = model.transformer(x, model.transformer.init_cache(1), mask)
    return hidden[:, -1], cache


def voice(seed: int = 0, *, count: int = 13, spec: ModelSpec = SPEC, **changes: object) -> Voice:
    """A voice of random numbers that the engine of `spec` and seed 0 can read."""
    rng = np.random.default_rng(seed)
    vector = rng.standard_normal(spec.speaker.embedding).astype(np.float32)
    entries = {
        "name": "anna",
        "made_by": engine(spec).fingerprint,
        "transcript": "Once upon a time.",
        "attributes": {"pitch_hz": 150.0 * 1.5**seed, "rate_phones_s": 12.0},
        "language": "en",
        "tokens": rng.integers(0, spec.tokenizer.codebook, count),
        "mel": rng.normal(-6.0, 2.0, (spec.mel.bins, 2 * count)).astype(np.float32),
        "speaker": vector / np.linalg.norm(vector),
    }
    return Voice(**(entries | changes))


def write_model(path: Path, spec: ModelSpec = SPEC, seed: int = 0) -> Path:
    """Write the numbers and the weights of a model into a new folder."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(to_dict(spec)), encoding="utf-8")
    save_file(weights(spec, seed), path / "model.safetensors")
    return path


def weights(spec: ModelSpec = SPEC, seed: int = 0) -> dict[str, Tensor]:
    """All weights of a model by their names in its file."""
    return {
        f"{part}.{name}": tensor.half().contiguous()
        for part, module in modules(spec, seed).items()
        for name, tensor in module.state_dict().items()
    }


def folder(path: Path, spec: ModelSpec = SPEC, seed: int = 0) -> Path:
    """Write a whole model folder, with two voices, as `voxkit train export` does."""
    write_model(path, spec, seed)
    (path / "default_voice.txt").write_text("anna\n", encoding="utf-8")
    (path / "voices").mkdir()
    made_by = engine(spec, seed).fingerprint
    for number, name in enumerate(("anna", "bert")):
        made = voice(number, spec=spec, name=name, made_by=made_by)
        save_voice(made, path / "voices" / f"{name}.safetensors")
    return path


def tone(hertz: float, seconds: float, rate: int = RATE, seed: int = 0) -> Audio:
    """A buzz with a few harmonics that swells four times a second, and a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 5))
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)
    noise = 0.002 * np.random.default_rng(seed).standard_normal(len(time))
    return Audio((0.2 * buzz * swell + noise).astype(np.float32), rate)


def cuts(total: int, rng: np.random.Generator, largest: int) -> Iterator[tuple[int, int]]:
    """Cut 0 … total into pieces of random size, some of them empty."""
    start = 0
    while start < total:
        end = min(total, start + int(rng.integers(0, largest + 1)))
        yield start, end
        start = end


def without_gradient(module: nn.Module) -> list[str]:
    """Names of the parameters that no gradient, or nothing but zeros, has reached."""
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.ne(0).any())
    ]


def fit(module: nn.Module, loss: Callable[[], Tensor], *, steps: int, lr: float) -> list[float]:
    """Train a module on what `loss()` measures, one batch, and return the loss of every step."""
    optimiser = torch.optim.Adam(module.parameters(), lr=lr)
    seen = []
    for _ in range(steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        seen.append(float(value.detach()))
    return seen


def phone_ids(words: str) -> tuple[int, ...]:
    """Symbols separated by spaces → ids: `_ HH AH0 L OW1 .`."""
    return tuple(SYMBOLS.index(symbol) for symbol in words.split())
