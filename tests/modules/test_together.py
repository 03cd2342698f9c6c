"""Steps that many requests take together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from voxkit.company import Company
from voxkit.modules import linears
from voxkit.modules.ras import Choice, Likely, Sampler, following, multinomial
from voxkit.modules.together import Rows, Together
from voxkit.modules.transformer import Cache, Transformer
from voxkit.precision import Kind
from voxkit.spec import SamplingSpec

SPEC = tiny.TRANSFORMER


def net() -> Transformer:
    return tiny.stir(Transformer(SPEC)).eval().requires_grad_(False)


def noise(length: int, seed: int = 0) -> Tensor:
    return torch.randn(1, length, SPEC.width, generator=tiny.seeded(seed))


CODEBOOK = 50
HEAD = torch.randn(CODEBOOK, SPEC.width, generator=tiny.seeded(7))
TABLE = torch.randn(CODEBOOK, SPEC.width, generator=tiny.seeded(8))
SAMPLING = SamplingSpec(temperature=1.0, top_p=0.9, top_k=9, repeat_window=5, repeat_limit=1)


def head(hidden: Tensor) -> Tensor:
    return hidden.to(HEAD) @ HEAD.T


def embed(tokens: Sequence[int]) -> Tensor:
    return TABLE[torch.tensor(tokens, dtype=torch.long)][None]


class Plain:
    """Reads on for one request alone, as the generators do for who has no seat."""

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def follow(
        self, x: Tensor | int, cache: Any, choice: Choice, mask: Tensor | None = None
    ) -> tuple[int, Any]:
        read = embed([x]) if isinstance(x, int) else x
        hidden, cache = self.transformer(read, cache, mask)
        return following(head(hidden[:, -1])[0], choice), cache


def said(reader: Plain | Together, seed: int, count: int = 12) -> list[tuple[int, Tensor]]:
    """Read a beginning of some length, then token after token what was chosen.

    Returns the tokens, with the logarithms of all probabilities at each.
    """
    sampler, tokens, found = Sampler(SAMPLING, multinomial(tiny.seeded(seed))), list[int](), []
    x: Tensor | int = noise(3 + seed, seed)
    cache: Any = reader.transformer.init_cache(1)
    for n in range(count):
        choice = sampler.choice(tokens, (0, 1, 2) if n < 3 else ())
        with torch.inference_mode():
            x, cache = reader.follow(x, cache, noted(choice, found))
        tokens.append(x)
    return list(zip(tokens, found, strict=True))


def noted(choice: Choice, found: list[Tensor]) -> Choice:
    """Note what may come as well."""

    def choose(likely: Likely) -> int:
        found.append(likely.scores.clone())
        return choice.choose(likely)

    return Choice(choice.terms, choose)


def same(made: list[tuple[int, Tensor]], wanted: list[tuple[int, Tensor]]) -> None:
    """The same tokens, chosen from nearly the same probabilities."""
    assert [token for token, _ in made] == [token for token, _ in wanted]
    for (_, scores), (_, others) in zip(made, wanted, strict=True):
        torch.testing.assert_close(scores, others, atol=1e-4, rtol=1e-3)


def test_a_step_of_rows_is_the_plain_step_of_each() -> None:
    plain, lengths = net(), {0: 9, 2: 4}
    rows = Rows(plain, 3, room=32)
    caches: dict[int, Cache] = {}
    with torch.inference_mode():
        for row, length in lengths.items():
            _, caches[row] = plain(noise(length, row), plain.init_cache(1))
            rows.load(row, caches[row])
        for step in range(4):
            order = [0, 2] if step % 2 else [2, 0]
            x = torch.cat([noise(1, 10 * step + row)[0] for row in order])
            hidden = rows.step(x, order, [lengths[row] + step for row in order])
            for i, row in enumerate(order):
                wanted, caches[row] = plain.plain(x[i][None, None], caches[row])
                torch.testing.assert_close(hidden[i], wanted[0, 0], atol=1e-5, rtol=1e-4)


def test_all_rows_may_come_in_any_order() -> None:
    plain = net()
    one, other = Rows(plain, 3), Rows(plain, 3)
    x = noise(3)[0]
    made = one.step(x, [0, 1, 2], [0, 0, 0])
    turned = other.step(x[[2, 0, 1]], [2, 0, 1], [0, 0, 0])
    assert torch.equal(turned, made[[2, 0, 1]])


def test_who_has_gone_changes_nothing_for_who_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale of int8 input is that of a call, so an idle row must not be in it."""
    monkeypatch.setattr(linears, "SMALLEST", 1)
    packed = net()
    linears.pack(packed, Kind.int8)
    fresh, used = Rows(packed, 3), Rows(packed, 3)
    used.step(torch.cat([100 * noise(1, 1)[0], noise(1, 2)[0]]), [1, 2], [0, 0])
    x = noise(1, 3)[0]
    assert torch.equal(used.step(x, [0], [0]), fresh.step(x, [0], [0]))


def test_rows_grow_when_a_past_needs_it() -> None:
    plain = net()
    rows = Rows(plain, 2, room=4)
    with torch.inference_mode():
        _, cache = plain(noise(7), plain.init_cache(1))
        rows.load(1, cache)
        for step in range(12):
            x = noise(1, step)
            hidden = rows.step(x[0], [1], [7 + step])
            wanted, cache = plain.plain(x, cache)
            torch.testing.assert_close(hidden[0], wanted[0, 0], atol=1e-5, rtol=1e-4)
    assert rows.room > 18


def in_company(
    plain: Transformer, seats: int, work: Callable[[Together, int], Any], count: int
) -> list[Any]:
    """What so many tasks make of their numbers, or raise."""
    company = Company(seats)
    table, made = Together(plain, head, embed, company), dict[int, Any]()
    tasks = [partial(work, table, number) for number in range(count)]
    company.run(
        tasks, lambda index, future: made.update({index: future.exception() or future.result()})
    )
    return [made[index] for index in range(count)]


@pytest.mark.parametrize("seats", [1, 3, 8])
def test_requests_with_a_seat_get_what_they_get_alone(seats: int) -> None:
    """Eight requests of different lengths, in companies of one, three and eight."""
    plain = net()
    found = in_company(plain, seats, lambda table, n: said(table, n, count=6 + 3 * n), 8)
    for seed, made in enumerate(found):
        same(made, said(Plain(plain), seed, count=6 + 3 * seed))


def test_steps_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    company: list[int] = []
    step = Rows.step

    def spy(self: Rows, x: Tensor, rows: Sequence[int], lengths: Sequence[int]) -> Tensor:
        company.append(len(rows))
        return step(self, x, rows, lengths)

    monkeypatch.setattr(Rows, "step", spy)
    in_company(net(), 4, said, 4)
    assert company == [4] * 11  # steps after the beginning


def test_only_a_thread_of_the_company_has_a_seat() -> None:
    plain = net()
    assert not Together(plain, head, embed, Company(2)).seated
    assert in_company(plain, 2, lambda table, number: table.seated, 2) == [True, True]


def test_several_positions_at_once_are_read_from_where_the_request_is() -> None:
    """As a text that is still being written needs it."""
    plain = net()

    def work(reader: Together | Plain, number: int) -> list[tuple[int, Tensor]]:
        sampler, tokens, found = Sampler(SAMPLING, multinomial(tiny.seeded(1))), list[int](), []
        cache: Any = reader.transformer.init_cache(1)
        for read in (noise(4), 5, noise(1, 9), noise(3, 3), 7, 8):
            with torch.inference_mode():
                choice = noted(sampler.choice(tokens), found)
                token, cache = reader.follow(read, cache, choice)
            tokens.append(token)
        return list(zip(tokens, found, strict=True))

    for made in in_company(plain, 2, work, 2):
        same(made, work(Plain(plain), 0))


def test_a_past_that_was_left_behind_is_refused() -> None:
    certain = Sampler(SAMPLING, multinomial(tiny.seeded(1))).certain(3)

    def work(table: Together, number: int) -> None:
        with torch.inference_mode():
            empty = table.transformer.init_cache
            _, first = table.follow(noise(3), empty(1), certain)
            _, second = table.follow(3, first, certain)
            table.follow(3, second, certain)
            with pytest.raises(ValueError, match="newest"):
                table.follow(3, second, certain)
            table.follow(3, empty(1), certain)
            with pytest.raises(ValueError, match="has the seat now"):
                table.follow(3, second, certain)

    assert in_company(net(), 1, work, 1) == [None]


def test_a_token_that_cannot_be_chosen_fails_for_no_other() -> None:
    plain = net()

    def work(table: Together, number: int) -> list[tuple[int, Tensor]]:
        if number != 1:
            return said(table, number)
        with torch.inference_mode():
            sampler = Sampler(SAMPLING, multinomial(tiny.seeded(0)))
            token, cache = table.follow(
                noise(2), table.transformer.init_cache(1), sampler.certain(1)
            )
            table.follow(noise(1) * torch.nan, cache, sampler.choice([token]))
        raise AssertionError("what is no number has been chosen from")

    first, broken, last = in_company(plain, 3, work, 3)
    assert isinstance(broken, RuntimeError)
    same(first, said(Plain(plain), 0))
    same(last, said(Plain(plain), 2))
