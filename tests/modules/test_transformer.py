"""The decoder-only transformer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.modules.rotary import rotate
from voxkit.modules.transformer import Attention, Transformer, causal_mask
from voxkit.spec import TransformerSpec

SPEC = tiny.TRANSFORMER


def net(spec: TransformerSpec = SPEC) -> Transformer:
    return tiny.stir(Transformer(spec))


def noise(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, length, SPEC.width, generator=tiny.seeded(seed))


def plain_attention(
    layer: Attention, spec: TransformerSpec, x: Tensor, angles: tuple[Tensor, Tensor]
) -> Tensor:
    """Grouped-query attention as its definition reads: head by head, position by position."""
    width, groups = spec.head_width, spec.heads // spec.kv_heads
    rows = layer.qkv(x[0]).split(width, dim=-1)  # heads of the query, the key, the value
    queries, keys, values = (
        rows[: spec.heads],
        rows[spec.heads : -spec.kv_heads],
        rows[-spec.kv_heads :],
    )
    heads = []
    for h in range(spec.heads):
        query = rotate(queries[h], *angles)
        key, value = rotate(keys[h // groups], *angles), values[h // groups]
        out = []
        for n in range(len(query)):
            weight = (key[: n + 1] @ query[n] / width**0.5).softmax(0)
            out.append(weight @ value[: n + 1])
        heads.append(torch.stack(out))
    return layer.merge(torch.cat(heads, dim=-1))[None]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_is_what_its_definition_says(kv_heads: int, bias: bool) -> None:
    spec = dataclasses.replace(SPEC, kv_heads=kv_heads, qkv_bias=bias)
    model = net(spec)
    layer = model.layers[0].attention
    x, angles = noise(1, 7), model.angles(torch.arange(7))
    nothing = model.init_cache(1)
    made, keys, values = layer(x, angles, nothing.keys[0], nothing.values[0], None)
    assert keys.shape == values.shape == (1, kv_heads, 7, spec.head_width)
    torch.testing.assert_close(made, plain_attention(layer, spec, x, angles))


def test_the_feed_forward_is_swiglu_of_the_normed_input() -> None:
    layer, x = net().layers[0], noise(2, 3)
    y = x * (x.square().mean(-1, keepdim=True) + SPEC.norm_eps).rsqrt() * layer.feed_norm.weight
    gate = y @ layer.gate_up.weight[: SPEC.feed_forward].T
    up = y @ layer.gate_up.weight[SPEC.feed_forward :].T
    made = x + (gate * torch.sigmoid(gate) * up) @ layer.down.weight.T
    torch.testing.assert_close(layer.feed(x), made)


@pytest.mark.parametrize("seed", range(6))
def test_the_cache_gives_what_a_full_pass_gives(seed: int) -> None:
    model, x = net().eval(), noise(2, 23)
    hidden, full = model(x, model.init_cache(2))
    cache, made = model.init_cache(2), []
    for start, end in tiny.cuts(23, np.random.default_rng(seed), 6):
        if start < end:
            y, cache = model(x[:, start:end], cache)
            made.append(y)
            assert cache.length == end
    # 1e-5: sums of another length are added up in another order
    torch.testing.assert_close(torch.cat(made, dim=1), hidden, atol=1e-5, rtol=0)
    for kept, whole in zip(cache.keys + cache.values, full.keys + full.values, strict=True):
        torch.testing.assert_close(kept, whole, atol=1e-5, rtol=0)


def test_a_cache_is_left_as_it_was() -> None:
    model, x = net().eval(), noise(1, 9)
    _, cache = model(x[:, :4], model.init_cache(1))
    before = [t.clone() for t in cache.keys + cache.values]
    first, _ = model(x[:, 4:], cache)
    again, _ = model(x[:, 4:], cache)
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(before, cache.keys + cache.values, strict=True))


@torch.inference_mode()
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_one_position_after_another_gives_what_the_plain_pass_gives(
    kv_heads: int, bias: bool
) -> None:
    model = net(dataclasses.replace(SPEC, kv_heads=kv_heads, qkv_bias=bias)).eval()
    x = noise(1, 200)  # more than the memory's first room
    hidden, full = model.plain(x, model.init_cache(1))
    made, cache = model(x[:, :3], model.init_cache(1))
    rows = [made]
    for position in range(3, 200):
        y, cache = model(x[:, position : position + 1], cache)
        rows.append(y)
    assert cache.length == 200
    # 1e-5: sums of another length are added up in another order
    torch.testing.assert_close(torch.cat(rows, dim=1), hidden, atol=1e-5, rtol=0)
    for kept, whole in zip(cache.keys + cache.values, full.keys + full.values, strict=True):
        torch.testing.assert_close(kept, whole, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_two_continuations_of_one_cache_do_not_disturb_each_other() -> None:
    model, x, other = net().eval(), noise(1, 9), noise(1, 9, seed=1)
    _, cache = model(x[:, :4], model.init_cache(1))
    a, b = cache, cache
    for position in range(4, 9):
        y, a = model(x[:, position : position + 1], a)
        _, b = model(other[:, position : position + 1], b)
    alone = model(x, model.init_cache(1))[0][:, -1:]
    torch.testing.assert_close(y, alone, atol=1e-5, rtol=0)


def test_the_future_does_not_change_the_past() -> None:
    model, x = net().eval(), noise(1, 12)
    other = torch.cat([x[:, :7], noise(1, 5, seed=1)], dim=1)
    a, _ = model(x, model.init_cache(1))
    b, _ = model(other, model.init_cache(1))
    torch.testing.assert_close(a[:, :7], b[:, :7], atol=1e-6, rtol=0)
    assert (a[:, 7:] - b[:, 7:]).abs().min() > 0


def test_a_mask_opens_the_future() -> None:
    model, x = net().eval(), noise(1, 6)
    everything = torch.ones(6, 6, dtype=torch.bool)
    seen, _ = model(x, model.init_cache(1), everything)
    other = torch.cat([x[:, :5], noise(1, 1, seed=1)], dim=1)
    changed, _ = model(other, model.init_cache(1), everything)
    assert (seen[:, 0] - changed[:, 0]).abs().max() > 1e-4


def test_the_causal_mask_lets_each_new_position_see_itself_and_all_before() -> None:
    mask = causal_mask(2, 5, torch.device("cpu"))
    assert mask.int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_positions_may_differ_within_a_batch() -> None:
    model = net()
    together = model.angles(torch.tensor([[0, 1, 2], [4, 5, 6]]))
    alone = model.angles(torch.tensor([4, 5, 6]))
    for both, one in zip(together, alone, strict=True):
        assert both.shape == (2, 1, 3, SPEC.head_width // 2)
        assert torch.equal(both[1, 0], one)


def test_gradients_reach_every_parameter() -> None:
    model = net(dataclasses.replace(SPEC, qkv_bias=True))
    hidden, _ = model(noise(2, 5), model.init_cache(2))
    hidden.pow(3).mean().backward()
    assert tiny.without_gradient(model) == []


def test_the_transformer_learns_one_sentence_by_heart() -> None:
    model = net()
    table = torch.randn(11, SPEC.width, generator=tiny.seeded(5))
    ids = torch.randint(0, 11, (1, 20), generator=tiny.seeded(6))

    def loss() -> Tensor:
        hidden, _ = model(table[ids[:, :-1]], model.init_cache(1))
        return F.cross_entropy((hidden @ table.T)[0], ids[0, 1:])

    losses = tiny.fit(model, loss, steps=40, lr=0.01)
    assert losses[-1] < 0.1 * losses[0]
