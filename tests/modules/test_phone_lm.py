"""The native token generator's network."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.modules.dit import CONTROLS
from voxkit.modules.fsq import tokens_to_codes
from voxkit.modules.phone_lm import PhoneLm
from voxkit.phonemes import SYMBOLS

SPEC, TOKENS = tiny.SPEC.generator, tiny.SPEC.tokenizer
K = TOKENS.codebook
SPEAKER = tiny.SPEC.speaker.embedding


def net() -> PhoneLm:
    return tiny.stir(PhoneLm(SPEC, TOKENS, len(SYMBOLS), SPEAKER))


def voice(batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    speaker = torch.randn(batch, SPEAKER, generator=tiny.seeded(0))
    controls = torch.randn(batch, CONTROLS, generator=tiny.seeded(1))
    return speaker, controls, torch.ones(batch, CONTROLS)


def text(words: str = "_ HH AH0 L OW1 _ DH EH1 R .") -> Tensor:
    return torch.tensor([tiny.phone_ids(words)])


def scores(model: PhoneLm, symbols: Tensor, heard: Tensor) -> Tensor:
    """Logits (T + 1, K + 1) of the token after the text and after each heard token (T,)."""
    table, said = model.tables()
    hidden, cache = tiny.start(model, *voice(), symbols)
    rows = [hidden]
    if len(heard):
        rows.append(model.transformer(table[heard][None], cache)[0][0])
    return torch.cat(rows) @ said.T


def test_tables_have_a_row_for_every_token_and_one_for_the_end() -> None:
    heard, said = net().tables()
    assert heard.shape == (K, SPEC.transformer.width)
    assert said.shape == (K + 1, SPEC.transformer.width)
    assert net().stop == K


def test_tokens_that_share_digits_share_what_was_learnt() -> None:
    with torch.random.fork_rng(devices=[]):
        model = PhoneLm(SPEC, TOKENS, len(SYMBOLS), SPEAKER)  # rows of their own start at zero
    heard, _ = model.tables()
    codes = tokens_to_codes(torch.arange(K), TOKENS.levels, TOKENS.dims)
    apart = (codes[0] != codes).sum(1)
    near = F.cosine_similarity(heard[:1], heard[apart == 1]).mean()
    far = F.cosine_similarity(heard[:1], heard[apart == TOKENS.dims]).mean()
    assert near > far + 0.2


def test_the_prefix_is_voice_then_text_then_the_task_mark() -> None:
    model, symbols = net(), text()
    x = model.prefix(*voice(), symbols)
    assert x.shape == (1, symbols.shape[1] + 2, SPEC.transformer.width)
    assert torch.equal(x[0, 1:-1], model.symbols(symbols)[0])
    assert torch.equal(x[0, -1], model.task)
    speaker, controls, _ = voice()
    nothing = torch.zeros(1, CONTROLS)
    a = model.prefix(speaker, controls, nothing, symbols)
    b = model.prefix(speaker, controls + 1, nothing, symbols)
    assert torch.equal(a, b)  # what is not given says nothing


def test_the_cache_after_the_text_holds_all_of_it() -> None:
    _, cache = tiny.start(net(), *voice(), text())
    assert cache.length == text().shape[1] + 2


def test_the_text_is_seen_whole_by_every_phone() -> None:
    model = net().eval()
    _, a = tiny.start(model, *voice(), text("_ HH AH0 L OW1 ."))
    _, b = tiny.start(model, *voice(), text("_ HH AH0 L OW1 ?"))
    # the last layer's key of the first phone has heard the mark at the end
    assert (a.keys[-1][:, :, 1] - b.keys[-1][:, :, 1]).abs().max() > 1e-4


def test_the_text_does_not_see_the_task_mark() -> None:
    model = net().eval()
    _, before = tiny.start(model, *voice(), text())
    with torch.no_grad():
        model.task.add_(1.0)
    _, after = tiny.start(model, *voice(), text())
    torch.testing.assert_close(before.keys[-1][:, :, :-1], after.keys[-1][:, :, :-1])
    assert not torch.equal(before.keys[-1][:, :, -1], after.keys[-1][:, :, -1])


def test_a_token_does_not_see_those_after_it() -> None:
    model = net().eval()
    heard = torch.randint(0, K, (9,), generator=tiny.seeded(2))
    other = heard.clone()
    other[5:] = (other[5:] + 1) % K
    a, b = scores(model, text(), heard), scores(model, text(), other)
    torch.testing.assert_close(a[:6], b[:6], atol=1e-5, rtol=0)  # row 5 has heard tokens 0 … 4
    assert (a[6:] - b[6:]).abs().amax(1).min() > 1e-4


@pytest.mark.parametrize("part", [0, 1])
def test_voice_and_controls_have_an_effect(part: int) -> None:
    model = net().eval()
    told = [*voice()]
    told[part] = told[part] + 1.0
    hidden, _ = tiny.start(model, *voice(), text())
    other, _ = tiny.start(model, *told, text())
    assert (hidden - other).abs().max() > 1e-4


def test_gradients_reach_every_parameter() -> None:
    model = net()
    symbols = torch.arange(len(SYMBOLS))[None]
    logits = scores(model, symbols, torch.arange(K))
    F.cross_entropy(logits, torch.arange(K + 1)).backward()
    assert tiny.without_gradient(model) == []


def test_the_network_learns_one_sentence_by_heart() -> None:
    model = net()
    heard = torch.randint(0, K, (15,), generator=tiny.seeded(2))
    target = torch.cat([heard, torch.tensor([K])])
    losses = tiny.fit(
        model, lambda: F.cross_entropy(scores(model, text(), heard), target), steps=40, lr=0.005
    )
    assert losses[-1] < 0.1 * losses[0]
