"""Steps that one request at a time takes in static memory."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor

from voxkit.modules.alone import Alone, Held
from voxkit.modules.together import Rows
from voxkit.modules.transformer import Cache, Transformer

SPEC = tiny.TRANSFORMER


def net() -> Transformer:
    return tiny.stir(Transformer(SPEC)).eval().requires_grad_(False)


def noise(length: int, seed: int = 0) -> Tensor:
    return torch.randn(1, length, SPEC.width, generator=tiny.seeded(seed))


class Request:
    """Reads a beginning, then runs of positions, each made of what came out of the one before."""

    def __init__(self, transformer: Transformer | Alone, seed: int) -> None:
        self.transformer = transformer
        self.hidden, self.cache = transformer(noise(3 + seed, seed), transformer.init_cache(1))

    def read(self, runs: list[int]) -> Tensor:
        found = []
        for run in runs:
            x = self.hidden[:, -1:].expand(-1, run, -1)
            self.hidden, self.cache = self.transformer(x, self.cache)
            found.append(self.hidden[0, -1])
        return torch.stack(found)


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("runs", [[1] * 12, [1, 1, 4, 1, 1, 2, 3, 1], [2, 1, 1]])
def test_a_request_gets_what_the_transformer_gives(runs: list[int]) -> None:
    plain = net()
    request = Request(Alone(plain), 1)
    torch.testing.assert_close(
        request.read(runs), Request(plain, 1).read(runs), atol=1e-5, rtol=1e-4
    )
    assert isinstance(request.cache, Held if runs[-1] == 1 else Cache)


def test_requests_in_turn_do_not_disturb_one_another() -> None:
    plain = net()
    shared = Alone(plain)
    ours, alone = ([Request(t, seed) for seed in range(3)] for t in (shared, plain))
    for _ in range(5):
        for one, other in zip(ours, alone, strict=True):
            torch.testing.assert_close(one.read([1]), other.read([1]), atol=1e-5, rtol=1e-4)
    assert [type(request.cache) for request in ours] == [Held, Cache, Cache]


@pytest.mark.parametrize("leaves", [True, False])
def test_the_memory_is_free_when_its_request_is_gone_or_reads_more_at_once(leaves: bool) -> None:
    shared = Alone(net())
    first, second = Request(shared, 1), Request(shared, 2)
    first.read([1, 1])
    second.read([1])
    assert isinstance(second.cache, Cache)
    if leaves:
        del first
    else:
        first.read([2])
    second.read([1])
    assert isinstance(second.cache, Held)


def test_the_memory_grows_with_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = net()
    shared = Alone(plain)
    monkeypatch.setattr(shared, "_rows", Rows(plain, 1, room=4))
    made = Request(shared, 1).read([1] * 12)
    torch.testing.assert_close(made, Request(plain, 1).read([1] * 12), atol=1e-5, rtol=1e-4)


def test_a_past_that_was_left_behind_is_refused() -> None:
    request = Request(Alone(net()), 1)
    request.read([1])
    before = request.cache
    request.read([1])
    request.cache = before
    with pytest.raises(ValueError, match="newest"):
        request.read([1])
