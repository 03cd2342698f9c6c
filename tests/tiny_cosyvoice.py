"""The CosyVoice families made tiny: numbers, random networks, a folder as on the hub."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tiny_onnx
import torch
from tiny import stir
from torch import Tensor

from voxkit import cosyvoice
from voxkit.catalogue import OWN_SPEC
from voxkit.cosyvoice_spec import CosyVoiceSpec, UnetSpec
from voxkit.cosyvoice_weights import UNUSED
from voxkit.families import read_spec
from voxkit.spec import to_dict
from voxkit.voice import Voice

FAMILIES = ("cosyvoice2", "cosyvoice3")
SPECS = Path(cosyvoice.__file__).parent / "specs"
WORDS = ["he", "ll", "hell", "hello", "wo", "rl", "world"]  # merges of the tiny vocabulary


@functools.cache
def released(family: str) -> CosyVoiceSpec:
    """The numbers of the released model."""
    spec = read_spec(SPECS / f"{family}.json")
    assert isinstance(spec, CosyVoiceSpec)
    return spec


@functools.cache
def spec_of(family: str) -> CosyVoiceSpec:
    """The released structure at the smallest sizes, at 8 kHz; quirks as released."""
    spec = released(family)
    codebook, bins = 40, 16
    own = spec.generator.marks == "own"
    old = spec.generator.first_stop_id
    text = dataclasses.replace(spec.text, first_special_id=256 + len(WORDS))
    transformer = dataclasses.replace(
        spec.generator.transformer,
        layers=2,
        width=16,
        heads=4,
        kv_heads=2,
        head_width=4,
        feed_forward=24,
    )
    generator = dataclasses.replace(
        spec.generator,
        transformer=transformer,
        text_vocabulary=text.first_special_id + len(text.special_tokens),
        speech_vocabulary=spec.generator.speech_vocabulary - old + codebook,
        first_stop_id=codebook,
        end_id=spec.generator.end_id - old + codebook,
        fill_id=spec.generator.fill_id - old + codebook,
        start_id=spec.generator.start_id - (0 if own else old - codebook),
        task_id=spec.generator.task_id - (0 if own else old - codebook),
        prompt_end_id=None
        if own
        else text.first_special_id + text.special_tokens.index(text.end_of_prompt),
        silent_tokens=() if own else (1, 2),
        silent_run=1,
    )
    flow = spec.decoder
    small: dict[str, Any] = {"width": 16, "heads": 2}
    encoder = (
        dataclasses.replace(
            flow.encoder, inputs=12, feed_forward=24, layers=1, up_layers=2, **small
        )
        if flow.encoder.kind == "conformer"
        else dataclasses.replace(flow.encoder, width=12)
    )
    estimator = (
        dataclasses.replace(flow.estimator, middle=1, blocks=2, head_width=6, **small)
        if isinstance(flow.estimator, UnetSpec)
        else dataclasses.replace(
            flow.estimator,
            layers=2,
            head_width=8,
            feed_forward=24,
            position_kernel=5,
            position_groups=4,
            time_width=8,
            **small,
        )
    )
    decoder = dataclasses.replace(
        flow,
        flow=dataclasses.replace(flow.flow, steps=3),
        codebook=codebook,
        speaker=6,
        chunk=5,
        noise_frames=150,
        encoder=encoder,
        estimator=estimator,
    )
    vocoder = dataclasses.replace(
        spec.vocoder,
        width=24,
        upsample_rates=(5, 4, 2),
        upsample_kernels=(11, 8, 4),
        block_kernels=(3, 5),
        block_dilations=((1, 3), (1, 2)),
        source_kernels=(3, 3, 5),
        source_dilations=((1, 2), (1,), (1, 2)),
        f0_width=8,
        harmonics=3,
    )
    return dataclasses.replace(
        spec,
        mel=dataclasses.replace(
            spec.mel, sample_rate=8_000, n_fft=640, win=640, hop=160, bins=bins, fmax=4_000.0
        ),
        text=text,
        tokenizer=dataclasses.replace(spec.tokenizer, codebook=codebook),
        speaker=dataclasses.replace(spec.speaker, embedding=6),
        generator=generator,
        decoder=decoder,
        vocoder=vocoder,
        stream=dataclasses.replace(spec.stream, first_hop=5, max_hop=20),
    )


def networks(spec: CosyVoiceSpec, seed: int = 0) -> dict[str, Any]:
    """The three networks with random weights, ready for inference."""
    made = cosyvoice.networks(spec)
    return {part: _random(part, network, seed) for part, (network, _, _) in made.items()}


def _random(part: str, network: Any, seed: int) -> Any:
    network.to_empty(device="cpu")
    stir(network, seed).eval().requires_grad_(False)
    if part == "vocoder":
        network.f0.out.bias.fill_(150.0)  # Hz, so that there is a voice
        network.f0.out.weight.mul_(100.0)  # that moves, and ceases now and then
        network.conv_post.weight.mul_(0.1)
    return network


def hub_weights(spec: CosyVoiceSpec, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """The same weights as the hub's files have them: file → tensors."""
    return dict(hub_files(spec, seed))


def hub_files(
    spec: CosyVoiceSpec, seed: int = 0, *, tireless: bool = False
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The files one by one, so that large ones are never in memory together.

    A `tireless` model draws the end of the utterance as good as never.
    """
    made = cosyvoice.networks(spec)
    for part in list(made):
        empty, names, file = made.pop(part)
        network = _random(part, empty, seed)
        if part == "generator" and tireless:
            stop = spec.generator.first_stop_id
            network.head.weight[:stop] *= 3
            network.head.weight[stop:] = 0
            if network.head.bias is not None:
                network.head.bias.zero_()
        tensors: dict[str, Tensor] = {}
        for key, tensor in network.state_dict().items():
            theirs = names(key)
            sizes = _sizes(spec, theirs, tensor)
            for name, piece in zip(theirs, tensor.split(sizes), strict=True):
                tensors |= _normed(name, piece.clone(), part == "vocoder")
        if part == "generator":  # tied, as in the release
            tensors["llm.model.lm_head.weight"] = tensors["llm.model.model.embed_tokens.weight"]
        if part == "decoder" and not isinstance(spec.decoder.estimator, UnetSpec):
            tensors[UNUSED[1].replace("\\", "")] = torch.zeros(4)
        del network, empty
        yield file, tensors


def _sizes(spec: CosyVoiceSpec, names: tuple[str, ...], tensor: Tensor) -> list[int]:
    """Rows of each of the tensors that were joined to one."""
    if len(names) == 3 and "self_attn" in names[0]:  # fewer heads of keys and values
        transformer = spec.generator.transformer
        shared = transformer.kv_heads * transformer.head_width
        return [transformer.heads * transformer.head_width, shared, shared]
    return [tensor.shape[0] // len(names)] * len(names)


def _normed(name: str, tensor: Tensor, vocoder: bool) -> Mapping[str, Tensor]:
    """Store the vocoder's convolutions as norm and direction, as the releases do."""
    plain = ("source_downs", "m_source", "classifier")
    if not vocoder or not name.endswith("weight") or any(word in name for word in plain):
        return {name: tensor.float()}
    norm = tensor.flatten(1).norm(dim=1).view(-1, *[1] * (tensor.dim() - 1))
    stem = f"{name.removesuffix('.weight')}.parametrizations.weight.original"
    return {f"{stem}0": norm.float(), f"{stem}1": 3 * tensor.float()}


def hub_folder(
    path: Path,
    family: str,
    seed: int = 0,
    *,
    spec: CosyVoiceSpec | None = None,
    tireless: bool = False,
) -> Path:
    """Write a folder with the files of the hub's, tiny or as `spec` says; `voxkit.json` tells."""
    spec = spec or spec_of(family)
    path.mkdir(parents=True)
    (path / f"{family}.yaml").write_text("sample_rate: 8000\n", encoding="utf-8")
    (path / OWN_SPEC).write_text(json.dumps(to_dict(spec)), encoding="utf-8")
    for file, tensors in hub_files(spec, seed, tireless=tireless):
        torch.save(tensors, path / file)
    write_text_files(path, spec)
    tiny_onnx.speech_tokenizer(path / spec.tokenizer.file, codebook=spec.tokenizer.codebook)
    tiny_onnx.speaker_encoder(path / spec.speaker.file, width=spec.speaker.embedding)
    return path


def write_text_files(path: Path, spec: CosyVoiceSpec) -> None:
    """Write a vocabulary of all bytes, a few words, and as many more as the model has."""
    files = path / spec.text.vocabulary_file, path / spec.text.merges_file
    files[0].parent.mkdir(exist_ok=True)
    entries = [*_byte_letters(), *WORDS]
    entries += [f"never {i}" for i in range(spec.text.first_special_id - len(entries))]
    files[0].write_text(json.dumps({w: i for i, w in enumerate(entries)}), encoding="utf-8")
    merges = ["h e", "l l", "he ll", "hell o", "w o", "r l"]
    text = "#version: 0.2\n" + "\n".join(merges) + "\n"
    files[1].write_text(text, encoding="utf-8")


def _byte_letters() -> list[str]:
    """The printable letters that stand for the 256 bytes in a byte-level vocabulary."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    letters = {byte: chr(byte) for byte in kept}
    letters |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


def voice(spec: CosyVoiceSpec, *, tokens: int = 13, seed: int = 0, **changes: object) -> Voice:
    """A voice of random numbers that the tiny model can read."""
    rng = np.random.default_rng(seed)
    entries: dict[str, Any] = {
        "name": "anna",
        "made_by": cosyvoice.fingerprint(spec),
        "transcript": "hello",
        "tokens": rng.integers(0, spec.decoder.codebook, tokens),
        "mel": rng.normal(-4, 2, (spec.mel.bins, 2 * tokens)).astype(np.float32),
        "speaker": rng.normal(size=spec.decoder.speaker).astype(np.float32),
    }
    return Voice(**(entries | changes))
