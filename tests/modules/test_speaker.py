"""The speaker encoder."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch.nn import functional as F

from voxkit.modules.speaker import SpeakerEncoder

SPEC = tiny.SPEC.speaker


def encoder() -> SpeakerEncoder:
    return tiny.stir(SpeakerEncoder(SPEC, tiny.MEL.bins))


def mel(batch: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, tiny.MEL.bins, frames, generator=tiny.seeded(seed))


@pytest.mark.parametrize("frames", [1, 2, 37])
def test_a_mel_of_any_length_becomes_a_vector_of_unit_length(frames: int) -> None:
    vectors = encoder()(mel(3, frames))
    assert vectors.shape == (3, SPEC.embedding)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))


def test_the_overall_level_says_nothing() -> None:
    net, x = encoder(), mel(1, 30)
    # 1e-5: the mean that is taken away is rounded
    torch.testing.assert_close(net(x + 3.0), net(x), atol=1e-5, rtol=0)


def test_the_colour_does_say_something() -> None:
    net, x = encoder(), mel(1, 30)
    colour = torch.linspace(-1, 1, tiny.MEL.bins)[None, :, None]
    assert F.cosine_similarity(net(x + colour), net(x)) < 0.99


def test_one_voice_of_a_batch_does_not_hear_the_others() -> None:
    net, x = encoder(), mel(3, 20)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]), atol=1e-6, rtol=0)


def test_gradients_reach_every_parameter() -> None:
    net = encoder()
    target = F.normalize(torch.randn(2, SPEC.embedding, generator=tiny.seeded(1)), dim=-1)
    (net(mel(2, 12)) - target).square().mean().backward()
    missing = tiny.without_gradient(net)
    # softmax over time does not change when a channel's scores all rise alike
    assert missing in ([], ["attend.2.bias"])


def test_the_encoder_learns_to_tell_two_speakers_apart() -> None:
    net = encoder()
    x = mel(4, 20)
    own = torch.linspace(-1, 1, tiny.MEL.bins)[:, None]
    x = torch.cat([x[:2] + 0.3 * own, x[2:] - 0.3 * own])

    def loss() -> torch.Tensor:
        cosine = net(x) @ net(x).T
        return cosine[:2, 2:].mean() - cosine[:2, :2].mean() - cosine[2:, 2:].mean()

    losses = tiny.fit(net, loss, steps=40, lr=0.01)
    assert losses[0] > -2.5
    assert losses[-1] < -2.9  # -3 is one direction for each, opposite to one another
