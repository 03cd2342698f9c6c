"""Finds a model and makes an `Engine` of it; the only place that knows families."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxkit import catalogue
from voxkit.errors import ModelError
from voxkit.families import read_spec
from voxkit.files import at_home
from voxkit.precision import Precision, chosen
from voxkit.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from voxkit.download import Watcher
    from voxkit.engine import Engine, Parts

BUNDLED = "voxkit-en"
SCALE = ".scale"  # a weight with this beside it is int8 with one scale a row
_ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class ModelInfo:
    """A model on this machine."""

    name: str
    family: str
    path: Path
    bytes: int
    bundled: bool
    description: str


def bundled() -> tuple[ModelInfo, ...]:
    """List what came with voxkit, without loading it."""
    folders = sorted(p for p in _ASSETS.iterdir() if (p / "config.json").is_file())
    specs = [(folder, read_spec(folder / "config.json")) for folder in folders]
    return tuple(
        ModelInfo(spec.name, spec.family, folder, _size(folder), True, spec.description)
        for folder, spec in specs
    )


def available() -> tuple[ModelInfo, ...]:
    """List the bundled model and those in the hub cache, without loading any."""
    from voxkit import hub

    found = list(bundled())
    for info in hub.cached():
        if info.folder is not None and info.family is not None:
            size = sum(info.present.values())
            found.append(
                ModelInfo(info.name, info.family, info.folder, size, False, info.description)
            )
    return tuple(found)


def load(
    model: str | Path = BUNDLED,
    *,
    device: str = "auto",
    threads: int | None = None,
    offline: bool = False,
    compat: bool = False,
    dtype: str = "auto",
    quantize: str | None = None,
    together: int = 0,
    compile: bool = False,
    watcher: Watcher | None = None,
) -> Engine:
    """Load a model by name, folder or hub id, on `device` auto, cpu or cuda, with CPU `threads`.

    A hub model that is not on this machine is fetched first, unless `offline`; `watcher` is told of
    it.  `compat` follows the quirks of a family's public implementation, in float32 unless asked.
    `dtype` auto, fp32 or bf16 and `quantize` int8 or int4 say how weights are kept: auto is bf16
    where the device is fast at it.  So many requests as `together` says are worked on at once,
    sentence by sentence, if they are tasks that `Engine.company` runs.  With `compile` torch
    compiles the decoder, for which the first sound waits.
    Raises `ModelError` in one sentence for an unknown, absent or damaged model.
    """
    from voxkit.download import Unwatched

    watcher = watcher or Unwatched()
    folder = _find(model, offline, watcher)
    family = catalogue.family_of(folder)
    place, precision = settled(device, threads, dtype, quantize, compat=compat)
    if family in ("cosyvoice2", "cosyvoice3"):
        made = partial(_convert, str(model), watcher)
        return _load_cosyvoice(
            folder, family, made, place, precision, compat, together, compile, called=str(model)
        )
    spec = read_spec(folder / "config.json")
    if not isinstance(spec, ModelSpec):
        raise ModelError(f"{folder / 'config.json'} is of the {spec.family} family without files.")
    return _load_native(spec, folder, place, precision, together, compile)


def settled(
    device: str,
    threads: int | None,
    dtype: str = "auto",
    quantize: str | None = None,
    *,
    compat: bool = False,
) -> tuple[torch.device, Precision]:
    """Return where a model runs and how its weights are kept, and set the number of threads."""
    import torch

    from voxkit.modules.linears import fast_kind, has_products8

    if threads is not None:
        torch.set_num_threads(threads)
    place = _device(device)
    if compat and dtype == "auto":
        dtype = "fp32"
    on_cpu = place.type == "cpu"
    fast, products8 = fast_kind(place), on_cpu and has_products8()
    return place, chosen(dtype, quantize, fast=fast, on_cpu=on_cpu, products8=products8)


def _find(model: str | Path, offline: bool, watcher: Watcher) -> Path:
    """Return the folder of a model, fetching it if need be."""
    name, folder = str(model), at_home(model)
    ours = {p.name for p in _ASSETS.iterdir() if (p / "config.json").is_file()} | {BUNDLED}
    if name in ours:
        return _ASSETS / name
    if name and os.path.isdir(folder):
        if catalogue.family_of(folder) is None and not (folder / "config.json").is_file():
            raise catalogue.unreadable(folder)
        return folder
    names = sorted(ours | {m.name for m in catalogue.known()})
    if "/" not in name and name.lower() not in names:
        close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.4) or names
        raise ModelError(
            f"There is no model {name!r}; did you mean {' or '.join(close)}? "
            "`voxkit models list` shows all that are here."
        )
    from voxkit import hub

    return hub.locate(name) or hub.pull(name, offline=offline, watcher=watcher)


def _convert(name: str, watcher: Watcher, folder: Path, target: Path) -> None:
    """Convert a CosyVoice folder, telling `watcher` how far it is."""
    from voxkit import cosyvoice

    size = sum(path.stat().st_size for path in folder.glob("*.pt"))
    watcher.convert(name, size, target.parent)
    cosyvoice.convert(folder, target, watcher.advance)


def _load_cosyvoice(
    folder: Path,
    family: str,
    convert: Callable[[Path, Path], None],
    device: torch.device,
    precision: Precision,
    compat: bool,
    together: int,
    compile: bool,
    *,
    called: str,
) -> Engine:
    """Build the CosyVoice family, converting its weights the first time."""
    from voxkit import conversion, cosyvoice
    from voxkit.compiling import compiled
    from voxkit.engine import Engine, Parts

    converted = conversion.converted(folder, family, convert, version=cosyvoice.CONVERTER_VERSION)
    made = cosyvoice.load(folder, converted, device=device, precision=precision, compat=compat)
    decoder = compiled(made.decoder) if compile else made.decoder
    parts = Parts(made.frontend, made.tokenizer, made.generator, decoder, made.vocoder)
    return Engine(
        dataclasses.replace(made.spec, revision=conversion.revision(folder)),
        seated(parts, made.generator.lm, together),
        fingerprint=cosyvoice.fingerprint(made.spec),
        default_voice=_default_voice(_ASSETS / BUNDLED),  # its recording speaks for any model
        called=called,
    )


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("There is no CUDA device here: use --device cpu.")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ModelError(f"There is no device {name!r}: give auto, cpu or cuda.")
    count = torch.cuda.device_count()
    if device.type == "cuda" and device.index is not None and device.index >= count:
        raise ModelError(f"There is no device {name!r}: there are {count} CUDA devices here.")
    return device


def _load_native(
    spec: ModelSpec,
    folder: Path,
    device: torch.device,
    precision: Precision,
    together: int,
    compile: bool,
) -> Engine:
    """Build the native family from `model.safetensors`."""
    import torch

    from voxkit.compiling import compiled
    from voxkit.decoder import FlowDecoder, VocosVocoder
    from voxkit.engine import Engine, Parts
    from voxkit.generator import PhoneFrontend, PhoneGenerator
    from voxkit.modules.linears import MANY, pack
    from voxkit.modules.undrawn import Undrawn
    from voxkit.phonemes import Lexicon
    from voxkit.tokenizer import FsqTokenizer

    path = folder / "model.safetensors"
    weights = read_weights(path)
    with torch.random.fork_rng(devices=[]), Undrawn():
        modules = native_modules(spec)
    for name, module in modules.items():
        fill(module, weights, name, path, device)
    vocoder, reader = modules["vocoder"], _reader(spec, weights, path, device)
    kind, int8 = precision.of("decoder")
    pack(modules["decoder"], kind, rows=MANY, int8_after_norms=int8)
    lm: Any = modules["generator"]
    generator = PhoneGenerator(spec, lm, reader, precision.generator)
    decoder = FlowDecoder(spec, modules["decoder"])  # type: ignore[arg-type]
    parts = Parts(
        frontend=PhoneFrontend(spec.text, Lexicon.bundled(), modules["letters"]),  # type: ignore[arg-type]
        tokenizer=FsqTokenizer(spec, modules["tokenizer"], modules["speaker"], vocoder),  # type: ignore[arg-type]
        generator=generator,
        decoder=compiled(decoder) if compile else decoder,
        vocoder=VocosVocoder(spec, vocoder),  # type: ignore[arg-type]
    )
    listens = {n: w for n, w in weights.items() if n.startswith(("tokenizer.", "speaker."))}
    return Engine(
        spec,
        seated(parts, lm, together),
        fingerprint=fingerprint(spec, listens),
        default_voice=_default_voice(folder),
        trial_lines=spec.trial_lines,
    )


def seated(parts: Parts, lm: Any, together: int) -> Parts:
    """Let so many requests of new parts, whose generator runs `lm`, be worked on together.

    Without any, a request that is alone on a GPU takes its steps in static memory.
    """
    if not together:
        if lm.transformer.norm.weight.is_cuda:
            from voxkit.modules.alone import Alone

            lm.transformer = Alone(lm.transformer)
        return parts
    from voxkit.company import Company
    from voxkit.sharing import SharedDecoder, SharedVocoder

    company = Company(together)
    parts.generator.join(company)
    return dataclasses.replace(
        parts,
        decoder=SharedDecoder(parts.decoder, company),
        vocoder=SharedVocoder(parts.vocoder, company),
        company=company,
    )


def _reader(
    spec: ModelSpec, weights: dict[str, Tensor], path: Path, device: torch.device
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return the manner that a generator reads in if it is not the voice's own."""
    if spec.generator.reads_as == "voice":
        return None
    names = ("reader.speaker", "reader.controls", "reader.given")
    if absent := [name for name in names if name not in weights]:
        raise ModelError(f"{path} lacks {absent[0]}: it does not fit its config.json.")
    speaker, controls, given = (weights[name].float()[None].to(device) for name in names)
    return speaker, controls, given


def native_modules(spec: ModelSpec) -> dict[str, nn.Module]:
    """Build the native family's networks, by the prefix of their weights in the file."""
    from voxkit.modules.dit import Dit
    from voxkit.modules.fsq import FsqEncoder
    from voxkit.modules.letters import Letters
    from voxkit.modules.phone_lm import PhoneLm
    from voxkit.modules.speaker import SpeakerEncoder
    from voxkit.modules.vocos import Vocos
    from voxkit.phonemes import SYMBOLS

    bins, speaker = spec.mel.bins, spec.speaker.embedding
    return {
        "letters": Letters(spec.text),
        "tokenizer": FsqEncoder(spec.tokenizer, bins),
        "speaker": SpeakerEncoder(spec.speaker, bins),
        "generator": PhoneLm(spec.generator, spec.tokenizer, len(SYMBOLS), speaker),
        "decoder": Dit(spec.decoder, spec.tokenizer.dims, bins, speaker),
        "vocoder": Vocos(spec.vocoder, spec.mel),
    }


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.  Raises `ModelError` naming the file if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: the model is incomplete.") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read ({error}): get the model again.") from None
    for name in [n for n in weights if n + SCALE in weights]:
        weights[name] = weights[name].float() * weights.pop(name + SCALE)
    return weights


def fill(
    module: nn.Module, weights: dict[str, Tensor], name: str, path: Path, device: torch.device
) -> None:
    """Put the weights under `name.` into a module, every one of them, as float32 for inference."""
    import torch

    wanted = module.state_dict()
    mine = {n.removeprefix(f"{name}."): w for n, w in weights.items() if n.startswith(f"{name}.")}
    for key in sorted(wanted.keys() ^ mine.keys()):
        lacks = "lacks" if key in wanted else "holds an unknown weight"
        raise ModelError(f"{path} {lacks} {name}.{key}: it does not fit its config.json.")
    for key, tensor in mine.items():
        if tensor.shape != wanted[key].shape:
            raise ModelError(
                f"{path}: {name}.{key} is {tuple(tensor.shape)} where config.json asks for "
                f"{tuple(wanted[key].shape)}."
            )
        if not math.isfinite(tensor.sum(dtype=torch.float32)):  # a tenth of the time of isfinite
            raise ModelError(
                f"{path}: {name}.{key} holds numbers that are not finite: get the model again."
            )
    module.load_state_dict({key: tensor.float() for key, tensor in mine.items()}, assign=True)
    module.to(device).eval().requires_grad_(False)


def fingerprint(spec: ModelSpec, weights: dict[str, Tensor]) -> str:
    """Name and hash of what decides what a voice file means: mel, tokenizer, speaker."""
    mel = json.dumps(dataclasses.asdict(spec.mel), sort_keys=True)
    return f"{spec.name}:{digest(weights, mel)}"


def digest(weights: dict[str, Tensor], words: str = "") -> str:
    """Hash weights, and what else matters, to 12 hexadecimal digits."""
    import hashlib

    total = hashlib.sha256(words.encode())
    for name in sorted(weights):
        total.update(name.encode())
        total.update(weights[name].contiguous().view(-1).numpy().tobytes())
    return total.hexdigest()[:12]


def _default_voice(folder: Path) -> str:
    """Return the name of the voice that speaks when none is asked for."""
    path = folder / "default_voice.txt"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
