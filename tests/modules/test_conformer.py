"""The conformer encoder of CosyVoice 2."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import seeded, stir

from voxkit.cosyvoice_spec import ConformerSpec
from voxkit.modules.conformer import ConformerEncoder, RelativeAttention, distance_encoding

SPEC = ConformerSpec("conformer", 6, 8, 2, 12, layers=2, up_layers=2)


@pytest.fixture(scope="module")
def encoder() -> ConformerEncoder:
    return stir(ConformerEncoder(SPEC, 6, ahead=3, rate=2)).eval().requires_grad_(False)


def test_attention_adds_content_and_signed_distance() -> None:
    """Check against the formula written out, one pair of frames after the other."""
    attention = stir(RelativeAttention(8, 2)).requires_grad_(False)
    x = torch.randn(1, 5, 8, generator=seeded(0))
    computed, _ = attention(x, attention.init_state(1), None)
    q, k, v = (p(x)[0].view(5, 2, 4) for p in (attention.query, attention.key, attention.value))
    heads = []
    for head in range(2):
        scores = torch.empty(5, 5)
        for i in range(5):
            for j in range(5):
                encoded = distance_encoding(i - j, i - j, 8, x.device)
                r = attention.distance(encoded).view(2, 4)[head]
                by_content = (q[i, head] + attention.content_bias[head]) @ k[j, head]
                by_distance = (q[i, head] + attention.distance_bias[head]) @ r
                scores[i, j] = (by_content + by_distance) / math.sqrt(4)
        heads.append(scores.softmax(dim=1) @ v[:, head])
    expected = attention.out(torch.cat(heads, dim=1))
    torch.testing.assert_close(computed[0], expected, atol=1e-5, rtol=0)


def test_a_query_before_its_key_is_told_from_one_after_it() -> None:
    before, after = (
        distance_encoding(2, 2, 8, torch.device("cpu")),
        distance_encoding(-2, -2, 8, torch.device("cpu")),
    )
    torch.testing.assert_close(before[:, 1::2], after[:, 1::2])
    torch.testing.assert_close(before[:, ::2], -after[:, ::2])


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1), (2, 1, 1), (1, 3), (3, 1)])
def test_chunks_encoded_one_by_one_are_those_encoded_at_once(
    encoder: ConformerEncoder, chunks: tuple[int, ...]
) -> None:
    x = torch.randn(1, 18, 6, generator=seeded(1))  # four chunks of 4 and a rest
    whole, _ = encoder(x, x[:, :0], encoder.init_state(1), 4)
    state, pieces, start = encoder.init_state(1), [], 0
    for count in chunks:
        end = start + 4 * count
        piece, state = encoder(x[:, start:end], x[:, end : end + 3], state, 4)
        pieces.append(piece)
        start = end
    pieces.append(encoder(x[:, start:], x[:, :0], state, 4)[0])
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=0)


def test_a_chunk_hears_the_look_ahead_and_nothing_later(encoder: ConformerEncoder) -> None:
    x = torch.randn(1, 12, 6, generator=seeded(2))
    first = encoder(x[:, :4], x[:, 4:7], encoder.init_state(1), 4)[0]
    changed = x.clone()
    changed[:, 7:] += 1
    kept = encoder(changed, x[:, :0], encoder.init_state(1), 4)[0][:, :8]
    torch.testing.assert_close(kept, first, atol=1e-5, rtol=0)
    changed[:, 6] += 1
    heard = encoder(changed, x[:, :0], encoder.init_state(1), 4)[0][:, :8]
    assert float((heard - first).abs().max()) > 1e-3


def test_without_chunks_the_first_frame_hears_the_last(encoder: ConformerEncoder) -> None:
    x = torch.randn(1, 12, 6, generator=seeded(3))
    changed = x.clone()
    changed[:, -1] += 1
    first, second = (
        encoder(one, x[:, :0], encoder.init_state(1), None)[0][:, 0] for one in (x, changed)
    )
    assert float((first - second).abs().max()) > 1e-4
