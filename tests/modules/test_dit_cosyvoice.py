"""What is peculiar to the diffusion transformer of CosyVoice 3; the flow tests do the rest."""

from __future__ import annotations

import torch
from tiny import seeded

from voxkit.modules.dit_cosyvoice import rotary_table, turn_pairs


def test_rotary_positions_turn_the_first_head_alone() -> None:
    x = torch.randn(1, 5, 12, generator=seeded(0))
    turned = turn_pairs(x, rotary_table(1, 5, 4, x.device))
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert not torch.allclose(turned[..., :4], x[..., :4])
    torch.testing.assert_close(turned.norm(dim=2), x.norm(dim=2))


def test_neighbouring_channels_turn_together() -> None:
    x = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
    turned = turn_pairs(x, rotary_table(2, 1, 4, x.device))[0, 0]
    slow = torch.tensor(2.0 * 10_000.0**-0.5)
    expected = [torch.tensor(2.0).cos(), torch.tensor(2.0).sin(), slow.cos(), slow.sin()]
    torch.testing.assert_close(turned, torch.stack(expected))


def test_turned_queries_and_keys_meet_by_their_distance() -> None:
    q, k = (torch.randn(1, 1, 4, generator=seeded(i)) for i in (0, 1))

    def score(i: int, j: int) -> torch.Tensor:
        a = turn_pairs(q, rotary_table(i, 1, 4, q.device))
        b = turn_pairs(k, rotary_table(j, 1, 4, q.device))
        return (a * b).sum()

    torch.testing.assert_close(score(3, 1), score(10, 8), atol=1e-5, rtol=0)
