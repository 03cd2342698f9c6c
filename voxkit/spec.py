"""Every number that makes a model, in strict dataclasses that travel with the weights as JSON.

A `ModelSpec` is plain data, the `config.json` of a model: reading one never builds a class named in
the file.  Unknown keys, missing keys and wrong types are errors that name the entry, because a
silently ignored number is a wrong model.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from voxkit.errors import SpecError

T = TypeVar("T")


@dataclass(frozen=True)
class MelSpec:
    """Log-mel spectrogram: reflect-padded magnitude STFT, Slaney mel, natural log ≥ log(1e-5)."""

    sample_rate: int
    n_fft: int
    win: int
    hop: int
    bins: int
    fmin: float
    fmax: float
    mean: float = 0.0  # networks see (log-mel - mean) / scale
    scale: float = 1.0

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop


@dataclass(frozen=True)
class PhoneTextSpec:
    """Text as ARPAbet phones: dictionary first, a letter-to-sound network for the rest."""

    kind: Literal["phones"]
    language: str
    max_words: int  # a longer sentence is split at its best clause boundary
    letters_width: int
    letters_layers: int
    letters_heads: int


@dataclass(frozen=True)
class FsqTokenizerSpec:
    """Own FSQ speech tokenizer: log-mel (50 Hz) → `levels ** dims` codes at 25 Hz."""

    kind: Literal["fsq"]
    width: int
    dilations_fine: tuple[int, ...]  # residual blocks at the mel rate
    dilations_coarse: tuple[int, ...]  # residual blocks at the token rate
    levels: int
    dims: int

    @property
    def codebook(self) -> int:
        """Number of different speech tokens, K."""
        return self.levels**self.dims


@dataclass(frozen=True)
class SpeakerSpec:
    """Speaker encoder: log-mel → one vector of unit length."""

    width: int
    dilations: tuple[int, ...]
    embedding: int


@dataclass(frozen=True)
class TransformerSpec:
    """Decoder-only transformer: RMSNorm, half-split RoPE, grouped-query attention, SwiGLU."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    norm_eps: float
    rope_theta: float
    qkv_bias: bool


@dataclass(frozen=True)
class SamplingSpec:
    """How the next speech token is drawn unless a call asks otherwise."""

    temperature: float
    top_p: float
    top_k: int
    repeat_window: int  # repetition-aware sampling looks this many tokens back
    repeat_limit: int  # this many repeats in the window cause a redraw from the whole distribution


@dataclass(frozen=True)
class PhoneGeneratorSpec:
    """Token LM of the native family: [voice][phones, seen whole][task][speech tokens …]."""

    kind: Literal["phones"]
    transformer: TransformerSpec
    sampling: SamplingSpec
    min_tokens_per_phone: float
    max_tokens_per_phone: float
    align_layer: int  # the layer whose head 0 was taught to look at the phone being spoken
    reads_as: Literal[
        "voice", "reader"
    ]  # in the voice's own manner, or in that of one clear reader


@dataclass(frozen=True)
class FlowSpec:
    """Conditional flow matching: steps from noise to mel, with classifier-free guidance."""

    steps: int
    guidance: float  # 0 where the weights have learnt it (`DecoderRecipe.guided`)


@dataclass(frozen=True)
class DitDecoderSpec:
    """Native decoder: token encoder with look-ahead, then a chunk-causal DiT that draws the mel."""

    kind: Literal["dit"]
    flow: FlowSpec
    width: int
    layers: int
    heads: int
    feed_forward: int
    kernel: int  # width of the causal convolution inside each feed-forward
    encoder_layers: int
    lookahead: int  # tokens of right context the token encoder sees
    chunk: int  # tokens that are decoded together and see each other
    first_chunk: int = 0  # fewer, at the start of a sentence, to be heard early; 0: as many


@dataclass(frozen=True)
class VocosSpec:
    """Vocoder: the `vocos` package's ConvNeXt backbone, run causally, and an ISTFT head."""

    kind: Literal["vocos"]
    width: int
    layers: int
    intermediate: int
    lookahead: int  # mel frames of right context, taken by the first convolution
    head: Literal["istft", "source-filter"]
    head_width: int  # channels of the source-filter head at four times the mel rate
    head_bands: int  # points of each filter's log magnitude

    def __post_init__(self) -> None:
        if not 1 <= self.lookahead <= 6:  # it is the right part of a kernel of seven frames
            raise SpecError(f"vocoder.lookahead is {self.lookahead} frames: give 1 to 6.")


@dataclass(frozen=True)
class StreamQuirks:
    """What the public implementation's streaming does differently; followed only in compat mode."""

    keep_hop_between_requests: bool = False  # a second sentence starts with the hop of the first
    first_hop_beyond_grid: bool = False  # what fills the reference's last chunk comes on top of it


@dataclass(frozen=True)
class StreamSpec:
    """Hops of streamed speech, in tokens: the first, then doubling up to the largest."""

    first_hop: int
    max_hop: int
    quirks: StreamQuirks = StreamQuirks()

    def hops(self, first: int | None = None) -> Iterator[int]:
        """Yield the sizes of the hops without end, from `first` on if another one is known."""
        hop = self.first_hop if first is None else first
        while True:
            yield hop
            hop = min(2 * hop, self.max_hop)


@dataclass(frozen=True)
class ModelSpec:
    """All numbers of one model.  `family` picks the classes; everything else sizes them."""

    name: str
    family: Literal["native"]
    revision: str
    description: str
    licence: str
    mel: MelSpec
    token_rate: int
    text: PhoneTextSpec
    tokenizer: FsqTokenizerSpec
    speaker: SpeakerSpec
    generator: PhoneGeneratorSpec
    decoder: DitDecoderSpec
    vocoder: VocosSpec
    stream: StreamSpec
    trial_lines: tuple[str, ...] = ()  # what a cloned voice says to be compared with its recording

    @property
    def mel_per_token(self) -> int:
        """Mel frames per speech token (2 for every family so far)."""
        return round(self.mel.frame_rate / self.token_rate)


def without_quirks(spec: T) -> T:
    """Return a spec, or a part of one, that follows no quirk: what is used outside compat mode."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(spec):  # type: ignore[arg-type]
        value = getattr(spec, field.name)
        if field.name == "quirks":
            changes["quirks"] = type(value)()
        elif dataclasses.is_dataclass(value):
            changes[field.name] = without_quirks(value)
    return dataclasses.replace(spec, **changes)  # type: ignore[type-var]


def read_json(path: Path) -> Any:
    """Read a `config.json`.  Raises `SpecError` naming the file if it is missing or no JSON."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except FileNotFoundError:
        raise SpecError(f"{path} is missing: this folder holds no voxkit model.") from None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path} is not valid JSON ({error}).") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"an object holds {key!r} twice")
        data[key] = value
    return data


def to_dict(spec: Any) -> dict[str, Any]:
    """Return the JSON-ready form of a spec; `from_dict` reads it back unchanged."""
    return dataclasses.asdict(spec)


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """Build dataclass `cls` from parsed JSON.  Raises `SpecError` naming the bad entry."""
    if not isinstance(data, dict):
        raise SpecError(f"{where} must be an object, not {type(data).__name__}.")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(fields)):
        raise SpecError(f"{where}.{unknown[0]} is not an entry that voxkit knows.")
    missing = [
        name
        for name, f in fields.items()
        if name not in data
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise SpecError(f"{where}.{missing[0]} is missing.")
    return cls(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """Check `value` against a type hint and convert lists to tuples and objects to dataclasses."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in args:
            raise SpecError(f"{where} must be one of {', '.join(map(repr, args))}, not {value!r}.")
        return value
    if origin in (types.UnionType, typing.Union):
        return _union(args, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise SpecError(f"{where} must be a list, not {type(value).__name__}.")
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{where} must be an object, not {type(value).__name__}.")
        return {key: _value(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise SpecError(f"{where} must be {hint.__name__}, not {type(value).__name__}.")
    return value


def _union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    """Pick the member of a union: None, or the dataclass whose `kind` matches."""
    if value is None and type(None) in args:
        return None
    classes = [a for a in args if dataclasses.is_dataclass(a)]
    if not classes:
        return _value(next(a for a in args if a is not type(None)), value, where)
    if len(classes) == 1:
        return from_dict(typing.cast(type, classes[0]), value, where)
    kind = value.get("kind") if isinstance(value, dict) else None
    kinds = {typing.get_args(typing.get_type_hints(c)["kind"])[0]: c for c in classes}
    if not isinstance(kind, str) or kind not in kinds:
        raise SpecError(f"{where}.kind must be one of {', '.join(map(repr, kinds))}, not {kind!r}.")
    return from_dict(typing.cast(type, kinds[kind]), value, where)
