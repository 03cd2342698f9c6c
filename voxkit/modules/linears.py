"""Linear layers whose weights take less memory to read: bf16, and int8 or int4 on a CPU.

A network is filled with float32 weights and then packed: each large `nn.Linear` in it makes way for
one of these, in float32 too where the order of the weights alone makes it faster.  It gives what it
was given: float32 around norms and sums, which stay as they were, and bf16 where attention or an
activation lies between two of them (`narrowed`, `Int8Rows`).  The causal convolutions of a network
in bf16 become such layers too.  The unpacked network is the plain path, which they are tested
against.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules.chunks import CausalConv
from voxkit.precision import Kind

MANY = 200  # rows of input that a call of a decoder has, more or less
GROUP = 32  # neighbouring int4 weights that share a scale and a lowest value
SMALLEST = 2**14  # weights of a layer that is worth packing: below, calling it is what takes time
LARGE = 2**19  # of one that is worth oneDNN's order in float32, for one row of input
SCALE, LOWEST = ".scale", ".lowest"  # beside a packed weight's name
AFTER_NORMS = "after_norms"  # what a module calls its linear layers that read a norm's output


def fast_kind(device: torch.device) -> Kind:
    """Return the kind that is faster than float32 on a device and as good as it: bf16 or none."""
    if device.type != "cpu":
        return Kind.bf16
    has_units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return Kind.bf16 if has_units else Kind.fp32


def has_products8() -> bool:
    """Tell whether this processor multiplies many rows in int8, as `Int8Rows` asks it to."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_avx2_supported()


def has_order(kind: torch.dtype, device: torch.device) -> bool:
    """Tell whether oneDNN multiplies by weights of a type in an order of its own on a device."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return kind == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Packed(nn.Module):
    """A linear layer without weights to look at; `weight` tells their shape, type and device.

    On a CPU they are in an order that only oneDNN knows: it cannot be copied or pickled.
    """

    bits: float  # that a weight takes, its share of the scales included

    def __init__(self, shape: torch.Size, device: torch.device, inputs: int = 0) -> None:
        super().__init__()
        self.out_features, self.in_features = shape[0], inputs or shape[1]
        self.weight = torch.zeros((), device=device).expand(self.out_features, self.in_features)


class Activated(Packed):
    """A layer that can put an activation on its sums before they are rounded."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, K) → (…, N) in the type that the layer gives."""
        return self._multiplied(x, "none", "")

    def gelu(self, x: Tensor, approximate: str) -> Tensor:
        """GELU of what `forward` returns, before that is rounded."""
        return self._multiplied(x, "gelu", approximate)

    def _multiplied(self, x: Tensor, after: str, how: str) -> Tensor:
        raise NotImplementedError


class FloatLinear(Activated):
    """Weights and input in bf16 or float32, sums in float32; it gives the type of its input."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        """Weight (N, K), bias (N,) or None; `rows` of input is what it is laid out for."""
        super().__init__(weight.shape, weight.device)
        self.kind, self.bits = weight.dtype, 8.0 * weight.element_size()
        self.bias = None if bias is None else bias.detach().to(self.kind)
        self.ordered = has_order(self.kind, weight.device)
        # Reordered weights are read at 1.4 to 4 times the speed where there is one row of input,
        # and bf16 where there are many goes up to 1.5 times as fast in another order.
        self.kept = weight
        if self.ordered:
            self.kept = torch.ops.mkldnn._reorder_linear_weight(weight, rows)

    def _multiplied(self, x: Tensor, after: str, how: str) -> Tensor:
        narrow = x.to(self.kind)
        if self.ordered:
            operation = torch.ops.mkldnn._linear_pointwise
            y = operation(narrow, self.kept, self.bias, after, [], how)
        else:
            y = F.linear(narrow, self.kept, self.bias)
            y = F.gelu(y, approximate=how) if after == "gelu" else y
        return y.to(x.dtype)


class PackedConv(nn.Module):
    """A causal convolution in bf16 as one product: the frames that it sees lie side by side."""

    def __init__(self, conv: CausalConv, rows: int) -> None:
        """Take the weights (N, K, kernel) of a convolution without groups."""
        super().__init__()
        weight = conv.weight.detach().to(torch.bfloat16)
        self.kernel = weight.shape[2]
        self.weight = weight.new_zeros(()).expand(weight.shape)  # to look at
        self.product = FloatLinear(weight.transpose(1, 2).flatten(1), conv.bias, rows)

    def init_state(self, batch: int) -> Tensor:
        """Return the zeros (B, K, kernel - 1) before the first frame."""
        return self.weight.new_zeros(batch, self.weight.shape[1], self.kernel - 1)

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, T), past (B, K, kernel - 1) → (B, N, T) in the type of x, the next past."""
        if self.kernel == 1:
            return self.product(x.transpose(1, 2)).transpose(1, 2), past
        rows = torch.cat([past.transpose(1, 2), x.transpose(1, 2).to(past.dtype)], dim=1)
        batch, frames, width = x.shape[0], x.shape[2], rows.shape[2]
        shape, steps = (batch, frames, self.kernel * width), (rows.stride(0), width, 1)
        taps = rows.as_strided(shape, steps)  # of a frame: itself and those before it, joined
        y = self.product(taps).transpose(1, 2).to(x.dtype)
        return y, rows[:, frames:].transpose(1, 2).clone()  # a view would keep all frames


def narrowed(x: Tensor, layer: nn.Module) -> Tensor:
    """Return x in the type that a layer multiplies in, for all that read it and what they make."""
    return x.to(layer.kind) if isinstance(layer, FloatLinear) else x


def gelu(layer: nn.Module, x: Tensor, approximate: str = "tanh") -> Tensor:
    """GELU of layer(x): in bf16 on a CPU, alone it takes as long as the product."""
    if isinstance(layer, Activated):
        return layer.gelu(x, approximate)
    return F.gelu(layer(x), approximate=approximate)


class Int8Linear(Packed):
    """Int8 weights with a scale for each row; the input is scaled to int8 as a whole."""

    bits = 8.0

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        """Weight (N, K) int8, scale (N,), bias (N,) or None."""
        super().__init__(weight.shape, weight.device)
        middle = torch.zeros(len(scale), dtype=torch.long)
        # Without the dot products of int8 the kernel may overflow on eight bits of input.
        self.reduce = not torch.cpu._is_vnni_supported()
        with warnings.catch_warnings():  # of a type that later releases of torch will not have
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            rows = torch._make_per_channel_quantized_tensor(weight, scale, middle, 0)
            self.kept = torch.ops.quantized.linear_prepack(rows, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(…, K) → (…, N), float32."""
        y: Tensor = torch.ops.quantized.linear_dynamic(x, self.kept, self.reduce)
        return y


class Int8Rows(Activated):
    """Int8 weights with a scale for each row, for many rows of input, scaled to int8 as a whole.

    So a number that is much larger than the rest costs all others precision.  After a norm the
    largest is some ten to twenty times the usual one, elsewhere more.  The scale is that of a
    call: what is cut into other calls differs by what int8 rounds.
    """

    bits = 8.0

    def __init__(
        self, weight: Tensor, scale: Tensor, bias: Tensor | None, rows: int, gives: torch.dtype
    ) -> None:
        """Weight (N, K) int8, scale (N,), bias (N,) or None; about so many `rows` of input.

        It `gives` float32, or bf16 where the processor can.
        """
        super().__init__(weight.shape, weight.device)
        self.scale, self.gives = scale.float(), gives
        self.bias = None if bias is None else bias.float()
        self.kept = torch.ops.onednn.qlinear_prepack(weight, [rows, self.in_features])
        self.noughts = torch.zeros(self.out_features, dtype=torch.int32)
        # Without the dot products of int8 the kernel may overflow on eight bits of input.
        self.steps = 254 if torch.cpu._is_vnni_supported() else 126

    def _multiplied(self, x: Tensor, after: str, how: str) -> Tensor:
        x = x.float()
        if not x.numel():
            return x.new_empty(*x.shape[:-1], self.out_features, dtype=self.gives)
        lowest, highest = (float(end) for end in x.aminmax())
        lowest, highest = min(lowest, 0.0), max(highest, 0.0)
        step = max(highest - lowest, 1e-12) / self.steps
        if not math.isfinite(step):
            return x.new_full((*x.shape[:-1], self.out_features), math.nan, dtype=self.gives)
        # Rounded to the nearest; nought is a digit, so the ends may be one beyond the last step.
        nought = round(-lowest / step)
        digits = torch.add(x.new_tensor(nought + 0.5), x, alpha=1 / step).to(torch.uint8)
        operation = torch.ops.onednn.qlinear_pointwise
        weights = (self.kept, self.scale, self.noughts, self.bias)
        y: Tensor = operation(digits, step, nought, *weights, 1.0, 0, self.gives, after, [], how)
        return y


class Int4Linear(Packed):
    """Int4 weights, a scale and a lowest value for every `GROUP` of a row; input in bf16."""

    bits = 4 + 2 * 16 / GROUP

    def __init__(self, weight: Tensor, scale: Tensor, lowest: Tensor, bias: Tensor | None) -> None:
        """Weight (N, K / 2) uint8, two to a byte, scale and lowest (N, K / GROUP), bias (N,)."""
        super().__init__(weight.shape, weight.device, inputs=2 * weight.shape[1])
        self.bias = bias
        missing = -weight.shape[0] % 16  # rows that the kernel wants to see
        digits = torch.stack([weight & 15, weight >> 4], dim=-1).flatten(1).int()
        digits = F.pad(digits, (0, 0, 0, missing))
        self.kept = torch.ops.aten._convert_weight_to_int4pack_for_cpu(digits, 1)
        pairs = torch.stack([scale, lowest + 8 * scale], dim=-1)  # the kernel counts from -8
        self.scales = F.pad(pairs, (0, 0, 0, 0, 0, missing)).transpose(0, 1).bfloat16().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """(…, K) → (…, N) in the type of x."""
        rows = x.to(torch.bfloat16).flatten(0, -2)
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.kept, GROUP, self.scales)
        y = y[:, : self.out_features].to(x.dtype).unflatten(0, x.shape[:-1])
        return y if self.bias is None else y + self.bias


def bits(layer: nn.Module) -> float:
    """Return how many bits a weight of a linear layer, packed or plain, takes."""
    if isinstance(layer, Packed):
        return layer.bits
    assert isinstance(layer, nn.Linear)
    return 8.0 * layer.weight.element_size()


def packable(network: nn.Module) -> dict[str, nn.Linear]:
    """Return the layers of a network that are worth packing, by name."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if type(layer) is nn.Linear and layer.weight.numel() >= SMALLEST
    }


def compress(weights: dict[str, Tensor], network: nn.Module, kind: Kind) -> dict[str, Tensor]:
    """Return all weights of a network, those of its large linear layers as `kind` keeps them."""
    made = dict(weights)
    for name in packable(network) if kind != Kind.fp32 else ():
        key = f"{name}.weight"
        if kind == Kind.bf16:
            made[key] = weights[key].to(torch.bfloat16)
        elif kind == Kind.int4 and weights[key].shape[1] % GROUP == 0:
            made[key], made[key + SCALE], made[key + LOWEST] = _int4(weights[key].float())
        else:
            made[key], made[key + SCALE] = _int8(weights[key].float())
    return made


def install(
    network: nn.Module,
    weights: dict[str, Tensor],
    kind: Kind,
    *,
    rows: int = 1,
    int8_after_norms: bool = False,
) -> None:
    """Put what `compress` returned into a network, whose large linear layers are replaced.

    It is fastest for about so many rows of input.  Layers that read a norm's output can become
    int8 where the others are float32 or bf16.
    """
    assert not int8_after_norms or kind in (Kind.fp32, Kind.bf16)
    rest = dict(weights)
    eight = _after_norms(network) if int8_after_norms else set()
    narrow = bool(eight) and kind == Kind.bf16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    gives = torch.bfloat16 if narrow else torch.float32
    for name, plain in packable(network).items():
        key = f"{name}.weight"
        if kind == Kind.fp32 and name not in eight and not _gains(plain, rest[key], rows):
            continue
        weight, bias = rest.pop(key), rest.pop(f"{name}.bias", None)
        if weight.dtype != torch.uint8 and weight.shape != plain.weight.shape:
            wanted = tuple(plain.weight.shape)
            raise RuntimeError(f"{key} is {tuple(weight.shape)} where {wanted} is asked for")
        bias = None if bias is None else bias.detach().clone()  # a view would keep a whole file
        if name in eight:
            layer: nn.Module = Int8Rows(*_int8(weight.float()), bias, rows, gives)
        else:
            layer = _layer(weight, rest, key, bias, rows)
        network.set_submodule(name, layer)
    network.load_state_dict(rest, assign=True)
    for name, conv in list(network.named_modules()) if kind == Kind.bf16 else ():
        if isinstance(conv, CausalConv) and conv.groups == 1:
            network.set_submodule(name, PackedConv(conv, rows))
    network.eval().requires_grad_(False)


def linear(weight: Tensor, kind: Kind) -> nn.Module:
    """Return the layer of `kind` that multiplies by weight (N, K)."""
    with torch.device("meta"):
        layer = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    layer.load_state_dict({"0.weight": weight}, assign=True)
    pack(layer.requires_grad_(False), kind)
    return layer[0]


def pack(network: nn.Module, kind: Kind, *, rows: int = 1, int8_after_norms: bool = False) -> None:
    """Replace the large linear layers of a filled network by those of `kind`, as `install`."""
    weights = compress(network.state_dict(), network, kind)
    install(network, weights, kind, rows=rows, int8_after_norms=int8_after_norms)


def _gains(layer: nn.Linear, weight: Tensor, rows: int) -> bool:
    """Tell whether a float32 layer is faster in oneDNN's order, in which all cores read it."""
    large, cores = layer.weight.numel() >= LARGE, torch.get_num_threads()
    return rows == 1 and large and cores > 1 and has_order(torch.float32, weight.device)


def _after_norms(network: nn.Module) -> set[str]:
    """Return the names of the linear layers that read a norm's output, as their owners tell."""
    names = set()
    for prefix, owner in network.named_modules():
        for name in getattr(owner, AFTER_NORMS, ()):
            assert isinstance(getattr(owner, name), nn.Linear)
            names.add(f"{prefix}.{name}" if prefix else name)
    return names


def _layer(
    weight: Tensor, rest: dict[str, Tensor], key: str, bias: Tensor | None, rows: int
) -> nn.Module:
    """Make the layer that a compressed weight asks for, and take its scales out of `rest`."""
    if weight.dtype in (torch.bfloat16, torch.float32):
        return FloatLinear(weight, bias, rows)
    scale, lowest = rest.pop(key + SCALE), rest.pop(key + LOWEST, None)
    if lowest is None:
        return Int8Linear(weight, scale, bias)
    return Int4Linear(weight, scale, lowest, bias)


def _int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (N, K) → int8 in [-127, 127] and the scale of each row (N,)."""
    scale = weight.abs().amax(dim=1).clamp_min(1e-12) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


def _int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight (N, K) → two digits a byte (N, K / 2), scale and lowest value (N, K / GROUP)."""
    groups = weight.unflatten(1, (-1, GROUP))
    lowest, highest = groups.amin(dim=2), groups.amax(dim=2)
    scale = ((highest - lowest) / 15).clamp_min(1e-12)
    digits = ((groups - lowest[..., None]) / scale[..., None]).round().clamp(0, 15)
    pairs = digits.to(torch.uint8).flatten(1).unflatten(1, (-1, 2))
    return pairs[..., 0] | pairs[..., 1] << 4, scale, lowest
