"""Steps that many requests take together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
import torch
from torch import Tensor

from voxkit.modules import linears
from voxkit.modules.together import Rows, Together
from voxkit.modules.transformer import Cache, Transformer
from voxkit.precision import Kind

SPEC = tiny.TRANSFORMER


def net() -> Transformer:
    return tiny.stir(Transformer(SPEC)).eval().requires_grad_(False)


def noise(length: int, seed: int = 0) -> Tensor:
    return torch.randn(1, length, SPEC.width, generator=tiny.seeded(seed))


def said(transformer: Transformer | Together, seed: int, count: int = 12) -> Tensor:
    """Read a beginning of some length, then step after step what came out of the one before."""
    with torch.inference_mode():
        x, cache = noise(3 + seed, seed), transformer.init_cache(1)
        found = []
        for _ in range(count):
            hidden, cache = transformer(x, cache)
            x = hidden[:, -1:]
            found.append(x[0, 0])
    return torch.stack(found)


def test_a_step_of_rows_is_the_plain_step_of_each() -> None:
    plain, lengths = net(), {0: 9, 2: 4}
    rows = Rows(plain, 3, room=32)
    caches: dict[int, Cache] = {}
    with torch.inference_mode():
        for row, length in lengths.items():
            _, caches[row] = plain(noise(length, row), plain.init_cache(1))
            rows.load(row, caches[row])
        for step in range(4):
            inputs = {row: noise(1, 10 * step + row)[0, 0] for row in lengths}
            hidden = rows.step(inputs, {row: n + step for row, n in lengths.items()})
            for row, x in inputs.items():
                wanted, caches[row] = plain.plain(x[None, None], caches[row])
                torch.testing.assert_close(hidden[row], wanted[0, 0], atol=1e-5, rtol=1e-4)


def test_who_has_gone_changes_nothing_for_who_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale of int8 input is that of a call, so an idle row must not be in it."""
    monkeypatch.setattr(linears, "SMALLEST", 1)
    packed = net()
    linears.pack(packed, Kind.int8)
    fresh, used = Rows(packed, 3), Rows(packed, 3)
    used.step({1: 100 * noise(1, 1)[0, 0], 2: noise(1, 2)[0, 0]}, {1: 0, 2: 0})
    x = noise(1, 3)[0, 0]
    assert torch.equal(used.step({0: x}, {0: 0})[0], fresh.step({0: x}, {0: 0})[0])


def test_rows_grow_when_a_past_needs_it() -> None:
    plain = net()
    rows = Rows(plain, 2, room=4)
    with torch.inference_mode():
        _, cache = plain(noise(7), plain.init_cache(1))
        rows.load(1, cache)
        for step in range(12):
            x = noise(1, step)
            hidden = rows.step({1: x[0, 0]}, {1: 7 + step})
            wanted, cache = plain.plain(x, cache)
            torch.testing.assert_close(hidden[1], wanted[0, 0], atol=1e-5, rtol=1e-4)
    assert rows.room > 18


def in_threads(work: Callable[[int], Tensor], count: int) -> list[Tensor]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_requests_with_a_seat_get_what_they_get_alone(rows: int) -> None:
    """Eight requests of different lengths, at tables for one, three and eight."""
    plain = net()
    table = Together(plain, rows)

    def work(seed: int) -> Tensor:
        with table.seat():
            return said(table, seed, count=6 + 3 * seed)

    for seed, made in enumerate(in_threads(work, 8)):
        wanted = said(plain, seed, count=6 + 3 * seed)
        torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-3)


def test_steps_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Together(net(), 4)
    company: list[int] = []
    step = Rows.step

    def spy(self: Rows, inputs: dict[int, Tensor], lengths: dict[int, int]) -> Tensor:
        company.append(len(inputs))
        return step(self, inputs, lengths)

    monkeypatch.setattr(Rows, "step", spy)
    ready = threading.Barrier(4)

    def work(seed: int) -> Tensor:
        with table.seat():
            ready.wait()
            return said(table, seed)

    in_threads(work, 4)
    assert company[:8] == [4] * 8  # 11 steps each after the beginning
    assert sum(company) == 4 * 11


def test_without_a_seat_it_is_the_transformer() -> None:
    plain = net()
    assert torch.equal(said(Together(plain, 2), 1), said(plain, 1))


def test_who_leaves_early_keeps_nobody_waiting() -> None:
    table, plain = Together(net(), 2), net()
    second = threading.Event()

    def work(seed: int) -> Tensor:
        with table.seat():
            if seed:
                second.set()
                return said(table, seed)
            second.wait()
        return torch.zeros(0)

    _, made = in_threads(work, 2)
    torch.testing.assert_close(made, said(plain, 1), atol=1e-4, rtol=1e-3)


def test_a_step_that_fails_fails_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Together(net(), 2)

    def broken(*_: object) -> Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Rows, "step", broken)

    def work(seed: int) -> Tensor:
        with table.seat(), pytest.raises(RuntimeError, match="out of memory"):
            said(table, seed)
        return torch.zeros(0)

    in_threads(work, 2)


def test_a_past_that_was_left_behind_is_refused() -> None:
    table = Together(net(), 1)
    with torch.inference_mode(), table.seat():
        hidden, first = table(noise(3), table.init_cache(1))
        _, second = table(hidden[:, -1:], first)
        table(hidden[:, -1:], second)
        with pytest.raises(ValueError, match="newest"):
            table(hidden[:, -1:], second)
