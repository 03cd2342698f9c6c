"""Steps that many requests take together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import tiny
import torch
from torch import Tensor, nn

from voxkit.company import Company
from voxkit.modules import linears
from voxkit.modules.together import Joined, Rows, Together
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


def in_company(
    plain: Transformer, seats: int, work: Callable[[Together, int], Tensor], count: int
) -> list[Tensor]:
    """What so many tasks make of their numbers."""
    company = Company(seats)
    table, made = Together(plain, company), dict[int, Tensor]()
    tasks = [partial(work, table, number) for number in range(count)]
    company.run(tasks, lambda index, future: made.update({index: future.result()}))
    return [made[index] for index in range(count)]


@pytest.mark.parametrize("seats", [1, 3, 8])
def test_requests_with_a_seat_get_what_they_get_alone(seats: int) -> None:
    """Eight requests of different lengths, in companies of one, three and eight."""
    plain = net()
    found = in_company(plain, seats, lambda table, n: said(table, n, count=6 + 3 * n), 8)
    for seed, made in enumerate(found):
        wanted = said(plain, seed, count=6 + 3 * seed)
        torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-3)


def test_steps_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    company: list[int] = []
    step = Rows.step

    def spy(self: Rows, inputs: dict[int, Tensor], lengths: dict[int, int]) -> Tensor:
        company.append(len(inputs))
        return step(self, inputs, lengths)

    monkeypatch.setattr(Rows, "step", spy)
    in_company(net(), 4, said, 4)
    assert company == [4] * 11  # steps after the beginning


def test_without_a_seat_it_is_the_transformer() -> None:
    plain = net()
    assert torch.equal(said(Together(plain, Company(2)), 1), said(plain, 1))


def test_several_positions_at_once_are_read_from_where_the_request_is() -> None:
    """As a text that is still being written needs it."""
    plain = net()

    def work(transformer: Together | Transformer, number: int) -> Tensor:
        with torch.inference_mode():
            hidden, cache = transformer(noise(4), transformer.init_cache(1))
            for length in (1, 1, 3, 1, 1):
                hidden, cache = transformer(noise(length, length), cache)
        return hidden

    for made in in_company(plain, 2, work, 2):
        torch.testing.assert_close(made, work(plain, 0), atol=1e-4, rtol=1e-3)


def test_a_past_that_was_left_behind_is_refused() -> None:
    def work(table: Together, number: int) -> Tensor:
        with torch.inference_mode():
            hidden, first = table(noise(3), table.init_cache(1))
            _, second = table(hidden[:, -1:], first)
            table(hidden[:, -1:], second)
            with pytest.raises(ValueError, match="newest"):
                table(hidden[:, -1:], second)
            table(hidden[:, -1:], table.init_cache(1))
            with pytest.raises(ValueError, match="has the seat now"):
                table(hidden[:, -1:], second)
        return torch.zeros(0)

    in_company(net(), 1, work, 1)


def test_a_layer_is_run_over_the_rows_of_all() -> None:
    layer, company, rows = nn.Linear(SPEC.width, 5), Company(3), list[int]()
    layer.register_forward_hook(lambda _, given, made: rows.append(len(made)))
    joined, made = Joined(layer, company), dict[int, Tensor]()
    tasks = [partial(joined, noise(1, n)[0]) for n in range(3)]
    company.run(tasks, lambda index, future: made.update({index: future.result()}))
    assert rows == [3]
    with torch.inference_mode():
        for number, row in made.items():
            torch.testing.assert_close(row, layer(noise(1, number)[0]))
