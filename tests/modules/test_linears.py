"""Packed linear layers against the plain ones."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.modules import linears
from voxkit.modules.chunks import CausalConv
from voxkit.modules.linears import (
    MANY,
    FloatLinear,
    Int8Rows,
    PackedConv,
    compress,
    fast_kind,
    gelu,
    has_order,
    has_products8,
    install,
    narrowed,
    pack,
    packable,
)
from voxkit.precision import Kind

# Of the output's size.  bf16 keeps 8 bits of every factor, int8 about 7 of the largest in a row
# and of the largest input (6 where the processor has no dot products of int8), int4 a sixteenth of
# the range of 32 neighbours.
INT8 = 0.025 if torch.cpu._is_vnni_supported() else 0.05
ALLOWED = {Kind.fp32: 0.0, Kind.bf16: 0.006, Kind.int8: INT8, Kind.int4: 0.15}
KINDS = [Kind.bf16, Kind.int8, Kind.int4]


class _Mapped(np.ndarray):
    """Memory whose end can be noticed."""


class Net(nn.Module):
    """Two layers worth packing, one of them with rows that fill no block, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(128, 160)
        self.blocks = nn.ModuleList([nn.Linear(160, 133, bias=False)])
        self.last = nn.Linear(133, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(…, 128) → (…, 5)."""
        return self.last(self.blocks[0](self.first(x)))


def net() -> Net:
    return tiny.stir(Net()).eval().requires_grad_(False)


def error(made: Tensor, true: Tensor) -> float:
    return float((made - true).norm() / true.norm())


@pytest.mark.parametrize("rows", [(1,), (7,), (2, 3), (1, 1)])
@pytest.mark.parametrize("kind", list(Kind))
def test_a_packed_network_says_nearly_what_the_plain_one_says(
    kind: Kind, rows: tuple[int, ...]
) -> None:
    plain, packed = net(), net()
    pack(packed, kind)
    x = torch.randn(*rows, 128, generator=tiny.seeded(1))
    made = packed(x)
    assert made.shape == (*rows, 5)
    assert made.dtype == torch.float32
    assert error(made, plain(x)) <= ALLOWED[kind]


@pytest.mark.skipif(not has_order(torch.float32, torch.device("cpu")), reason="no oneDNN here")
@pytest.mark.parametrize("rows", [(1,), (7,), (2, 3)])
def test_in_float32_large_layers_for_one_row_are_only_reordered(
    rows: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, packed, many = net(), net(), net()
    monkeypatch.setattr(linears, "LARGE", plain.blocks[0].weight.numel() - 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    pack(packed, Kind.fp32)
    pack(many, Kind.fp32, rows=MANY)
    assert type(packed.blocks[0]) is FloatLinear and packed.blocks[0].bits == 32.0
    assert type(packed.last) is type(many.blocks[0]) is nn.Linear
    x = torch.randn(*rows, 128, generator=tiny.seeded(1))
    assert error(packed(x), plain(x)) < 1e-6
    assert narrowed(x, packed.blocks[0]) is x


@pytest.mark.parametrize("kind", [Kind.fp32, Kind.bf16, Kind.int8])
def test_weights_of_another_shape_are_refused(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linears, "LARGE", 1)
    network = net()
    weights = compress(network.state_dict(), network, kind)
    weights["first.weight"] = weights["first.weight"][:, 1:]
    with pytest.raises(RuntimeError, match=r"first\.weight"):
        install(network, weights, kind)


@pytest.mark.parametrize("count", [1, 7, MANY + 1])
def test_rows_that_it_was_not_laid_out_for_give_the_same(count: int) -> None:
    weight = torch.randn(160, 128, generator=tiny.seeded(0)).bfloat16()
    x = torch.randn(count, 128, generator=tiny.seeded(1))
    single, many = FloatLinear(weight, None, 1), FloatLinear(weight, None, MANY)
    # One unit in the last place of bf16, where sums were added up in another order.
    torch.testing.assert_close(many(x), single(x), atol=0.02, rtol=0.01)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("form", ["tanh", "none"])
def test_gelu_of_a_layer_has_the_form_asked_for(form: str, ordered: bool) -> None:
    plain = tiny.stir(nn.Linear(128, 160)).requires_grad_(False)
    x = torch.randn(3, 128, generator=tiny.seeded(1))
    expected = F.gelu(plain(x), approximate=form)
    assert torch.equal(gelu(plain, x, form), expected)
    packed = FloatLinear(plain.weight.bfloat16(), plain.bias, 1)
    if not ordered:
        packed.ordered, packed.kept = False, plain.weight.bfloat16()
    assert gelu(packed, x, form).dtype == torch.float32
    assert error(gelu(packed, x, form), expected) <= ALLOWED[Kind.bf16]


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_packed_convolution_does_what_the_plain_one_does_in_pieces_too(kernel: int) -> None:
    plain = tiny.stir(CausalConv(24, 40, kernel)).requires_grad_(False)
    network = nn.Sequential(CausalConv(24, 40, kernel))
    network.load_state_dict({f"0.{k}": v for k, v in plain.state_dict().items()})
    pack(network.requires_grad_(False), Kind.bf16)
    packed = network[0]
    assert isinstance(packed, PackedConv)
    x = torch.randn(2, 24, 11, generator=tiny.seeded(2))
    expected, _ = plain.step(x, plain.init_state(2))
    whole, past = packed.step(x, packed.init_state(2))
    assert whole.shape == expected.shape
    assert whole.dtype == torch.float32
    assert error(whole, expected) <= ALLOWED[Kind.bf16]
    pieces, state = [], packed.init_state(2)
    for piece in x.split([1, 4, 6], dim=2):
        made, state = packed.step(piece, state)
        pieces.append(made)
    # One unit in the last place of bf16, as above.
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=0.02, rtol=0.01)
    assert torch.equal(state, past)


def test_a_convolution_with_groups_stays_as_it_is() -> None:
    network = nn.Sequential(CausalConv(24, 24, 3, groups=4))
    pack(network.requires_grad_(False), Kind.bf16)
    assert type(network[0]) is CausalConv


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_do_not_lie_side_by_side_are_read_right(kind: Kind) -> None:
    plain, packed = net(), net()
    pack(packed, kind)
    x = torch.randn(128, 2, 6, generator=tiny.seeded(1)).permute(2, 1, 0)
    assert error(packed(x), plain(x)) <= ALLOWED[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_only_large_layers_are_packed(kind: Kind) -> None:
    network = net()
    assert set(packable(network)) == {"first", "blocks.0"}
    pack(network, kind)
    assert packable(network) == {}
    assert type(network.last) is nn.Linear


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_layer_tells_its_shape_and_type(kind: Kind) -> None:
    network = net()
    plain = network.first
    pack(network, kind)
    assert network.first.weight.shape == plain.weight.shape
    assert network.first.weight.new_zeros(2).dtype == torch.float32
    assert (network.first.in_features, network.first.out_features) == (128, 160)


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_weights_fill_a_network_that_has_none(kind: Kind) -> None:
    full = net()
    stored = compress(full.state_dict(), full, kind)
    with torch.device("meta"):
        empty = Net()
    install(empty, stored, kind)
    pack(full, kind)
    x = torch.randn(4, 128, generator=tiny.seeded(1))
    assert torch.equal(empty(x), full(x))


def mapped(stored: dict[str, Tensor], keys: list[str]) -> dict[str, weakref.ref[_Mapped]]:
    """Move tensors to memory whose end can be noticed, and return what notices it."""
    kept = {}
    for key in keys:
        memory = stored[key].contiguous().view(torch.uint8).numpy().copy().view(_Mapped)
        kept[key] = weakref.ref(memory)
        stored[key] = torch.from_numpy(memory).view(stored[key].dtype).view(stored[key].shape)
        del memory
    return kept


@pytest.mark.parametrize("kind", [Kind.bf16, Kind.int8, Kind.int4])
def test_packed_layers_let_go_of_what_they_were_made_from(kind: Kind) -> None:
    """The file of the weights would stay in memory whole."""
    network = net()
    names = packable(network)
    stored = compress(network.state_dict(), network, kind)
    packed = [k for k in stored if k.rpartition(".")[0].removesuffix(".weight") in names]
    kept = mapped(stored, packed)
    install(network, stored, kind)
    del stored
    gc.collect()
    assert len(kept) >= 3  # two weights and a bias
    # Where nothing puts bf16 weights into another order, they are what is multiplied by.
    as_it_is = kind == Kind.bf16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    used = {key for key in kept if key.endswith("weight")} if as_it_is else set()
    assert {key for key, ref in kept.items() if ref() is not None} == used


@pytest.mark.parametrize("kind, share", [(Kind.bf16, 0.5), (Kind.int8, 0.26), (Kind.int4, 0.19)])
def test_compressed_weights_are_smaller(kind: Kind, share: float) -> None:
    weights = {"weight": torch.randn(128, 256, generator=tiny.seeded(0))}
    network = nn.Sequential(nn.Linear(256, 128, bias=False))
    made = compress({"0.weight": weights["weight"]}, network, kind)
    size = sum(t.nbytes for t in made.values())
    assert size <= share * weights["weight"].nbytes


def test_a_row_of_zeros_stays_zero() -> None:
    for kind in KINDS:
        network = nn.Sequential(nn.Linear(128, 128, bias=False))
        with torch.no_grad():
            network[0].weight[3] = 0.0
        pack(network, kind)
        assert network(torch.ones(2, 128))[:, 3].abs().max() == 0.0


def test_without_ordered_weights_bf16_is_the_same_sum() -> None:
    weight = torch.randn(160, 128, generator=tiny.seeded(0)).bfloat16()
    x = torch.randn(3, 128, generator=tiny.seeded(1))
    layer = FloatLinear(weight, None, 1)
    expected = F.linear(x.bfloat16(), weight).float()
    # 0.01: one unit in the last place of bf16, where sums were added up in another order
    torch.testing.assert_close(layer(x), expected, atol=0.02, rtol=0.01)
    layer.ordered, layer.kept = False, weight
    assert torch.equal(layer(x), expected)


class Normed(nn.Module):
    """A layer that reads a norm's output, and one that does not."""

    after_norms = ("first",)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(128, 160)
        self.last = nn.Linear(160, 128)


needs_products8 = pytest.mark.skipif(not has_products8(), reason="no products of int8 here")


@needs_products8
@pytest.mark.parametrize("kind", [Kind.fp32, Kind.bf16])
def test_only_layers_after_a_norm_become_int8_for_many_rows(kind: Kind) -> None:
    network = nn.Sequential(tiny.stir(Normed()), tiny.stir(Normed())).requires_grad_(False)
    pack(network, kind, rows=MANY, int8_after_norms=True)
    for part in network:
        assert type(part.first) is Int8Rows
        assert type(part.last) is (nn.Linear if kind == Kind.fp32 else FloatLinear)
        narrow = kind == Kind.bf16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        assert part.first.gives == (torch.bfloat16 if narrow else torch.float32)


@needs_products8
def test_int8_for_many_rows_lets_go_of_what_it_was_made_from() -> None:
    network = tiny.stir(Normed()).requires_grad_(False)
    stored = dict(network.state_dict())
    kept = mapped(stored, list(stored))
    install(network, stored, Kind.fp32, rows=MANY, int8_after_norms=True)
    del stored
    gc.collect()
    assert {key for key, ref in kept.items() if ref() is not None} == {"last.weight", "last.bias"}


def rows8(layer: nn.Linear, kind: Kind = Kind.fp32) -> Int8Rows:
    """Return a layer made int8, in a network of some kind."""
    network = Normed()
    network.first.load_state_dict(layer.state_dict())
    pack(network.requires_grad_(False), kind, rows=MANY, int8_after_norms=True)
    made: nn.Module = network.first
    assert isinstance(made, Int8Rows)
    return made


@needs_products8
@pytest.mark.parametrize("kind", [Kind.fp32, Kind.bf16])
@pytest.mark.parametrize("shift", [0.0, 3.0, -30.0])
@pytest.mark.parametrize("shape", [(1,), (MANY + 1,), (2, 3), (2, 0)])
def test_int8_for_many_rows_says_nearly_what_the_plain_layer_says(
    shape: tuple[int, ...], shift: float, kind: Kind
) -> None:
    plain = tiny.stir(nn.Linear(128, 160)).requires_grad_(False)
    packed = rows8(plain, kind)
    x = torch.randn(*shape, 128, generator=tiny.seeded(1)) + shift
    made = packed(x)
    assert made.shape == (*shape, 160)
    assert made.dtype == packed.gives
    if x.numel():
        assert error(made, plain(x)) <= INT8
        for form in ("tanh", "none"):
            assert error(gelu(packed, x, form), F.gelu(plain(x), approximate=form)) <= INT8


@needs_products8
def test_int8_for_many_rows_can_give_bf16() -> None:
    """On processors without bf16 units too, though too slowly there to be of use."""
    plain = tiny.stir(nn.Linear(128, 160)).requires_grad_(False)
    packed = rows8(plain)
    x = torch.randn(2, 9, 128, generator=tiny.seeded(1))
    full = packed(x)
    packed.gives = torch.bfloat16
    made = packed(x)
    assert made.dtype == torch.bfloat16
    assert error(made.float(), full) < 2**-8  # what bf16 rounds, at most
    for form in ("tanh", "none"):
        expected = F.gelu(plain(x), approximate=form)
        assert error(gelu(packed, x, form).float(), expected) <= INT8


@needs_products8
def test_int8_products_are_those_of_the_digits() -> None:
    """What is off is what was rounded before: the plain path with the same digits says the same."""
    plain = tiny.stir(nn.Linear(128, 160)).requires_grad_(False)
    packed = rows8(plain)
    x = torch.randn(9, 128, generator=tiny.seeded(1))
    scale = plain.weight.abs().amax(dim=1, keepdim=True) / 127
    weight = (plain.weight / scale).round() * scale
    step = float(x.max() - x.min()) / packed.steps
    middle = round(-float(x.min()) / step)
    rounded = torch.add(torch.tensor(middle + 0.5), x, alpha=1 / step).floor() - middle
    assert error(packed(x), F.linear(rounded * step, weight, plain.bias)) < 1e-5


@needs_products8
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_no_number_stays_none_in_int8(bad: float) -> None:
    packed = rows8(tiny.stir(nn.Linear(128, 160)).requires_grad_(False))
    assert packed(torch.full((2, 128), bad)).isnan().all()


@needs_products8
def test_numbers_in_bf16_are_taken_as_they_are_in_int8() -> None:
    packed = rows8(tiny.stir(nn.Linear(128, 160)).requires_grad_(False))
    x = torch.randn(9, 128, generator=tiny.seeded(1)).bfloat16()
    assert torch.equal(packed(x), packed(x.float()))


def test_a_layer_that_is_not_there_is_no_layer_after_a_norm() -> None:
    network = Normed()
    network.after_norms = ("last", "frist")  # type: ignore[misc,assignment]
    with pytest.raises(AttributeError, match="frist"):
        pack(network, Kind.fp32, int8_after_norms=True)


@needs_products8
def test_nothing_but_zeros_is_the_bias_in_int8() -> None:
    plain = tiny.stir(nn.Linear(128, 160)).requires_grad_(False)
    made = rows8(plain)(torch.zeros(2, 128))
    torch.testing.assert_close(made, plain.bias.expand(2, -1))


def test_a_gpu_and_a_cpu_with_units_for_it_take_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_kind(torch.device("cuda")) == Kind.bf16
    for supported, kind in ((True, Kind.bf16), (False, Kind.fp32)):
        for test in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, test, lambda supported=supported: supported)
        assert fast_kind(torch.device("cpu")) == kind
