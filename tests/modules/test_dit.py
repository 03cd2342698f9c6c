"""The flow-matching decoder's networks: the token encoder and the chunk-causal DiT."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from voxkit.modules.chunks import ChunkMask
from voxkit.modules.dit import CONTROLS, Dit

SPEC, BINS, DIMS = tiny.SPEC.decoder, tiny.MEL.bins, tiny.SPEC.tokenizer.dims
SPEAKER = tiny.SPEC.speaker.embedding
CHUNK = 2 * SPEC.chunk  # mel frames


def net() -> Dit:
    return tiny.stir(Dit(SPEC, DIMS, BINS, SPEAKER))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=tiny.seeded(seed))


def voice_of(model: Dit, batch: int) -> Tensor:
    given = torch.ones(batch, CONTROLS)
    return model.condition(noise(batch, SPEAKER), noise(batch, CONTROLS, seed=1), given)


def inputs(batch: int, frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, t, features, guess and prompt of `velocity`."""
    return (
        noise(batch, frames, BINS, seed=2),
        torch.linspace(0.1, 0.8, batch),
        noise(batch, frames, SPEC.width, seed=3),
        noise(batch, frames, BINS, seed=4),
        noise(batch, frames, BINS, seed=5),
    )


# ---- the token encoder ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_encoder_in_pieces_equals_the_whole(seed: int) -> None:
    encoder = net().encoder.eval()
    codes, voice = noise(2, 19 + SPEC.lookahead, DIMS), noise(2, SPEC.width, seed=1)
    whole, guess, _ = encoder.step(codes, voice, encoder.init_state(2))
    state, made, guessed = encoder.init_state(2), [], []
    for start, end in tiny.cuts(19, np.random.default_rng(seed), 6):
        window = codes[:, start : end + SPEC.lookahead]
        x, g, state = encoder.step(window, voice, state)
        assert x.shape[1] == g.shape[1] == 2 * (end - start)
        made.append(x)
        guessed.append(g)
    # 1e-5: matrix products of other sizes add up in another order
    torch.testing.assert_close(torch.cat(made, dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat(guessed, dim=1), guess, atol=1e-5, rtol=0)


def test_the_encoder_looks_ahead_as_far_as_its_spec_says_and_no_farther() -> None:
    encoder = net().encoder.eval()
    codes, voice = noise(1, 12 + SPEC.lookahead, DIMS), noise(1, SPEC.width, seed=1)
    other = codes.clone()
    other[:, 8] += 1.0
    a, _, _ = encoder.step(codes, voice, encoder.init_state(1))
    b, _, _ = encoder.step(other, voice, encoder.init_state(1))
    changed = (a - b).abs().amax(dim=(0, 2)) > 1e-6
    first = 2 * (8 - SPEC.lookahead)
    assert not changed[:first].any()
    assert changed[first]


# ---- the velocity -----------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [3 * CHUNK, 3 * CHUNK - 4, CHUNK, 2])
def test_chunk_by_chunk_equals_the_whole_under_a_mask(frames: int) -> None:
    model = net().eval()
    x, t, features, guess, prompt = inputs(2, frames)
    voice = voice_of(model, 2)
    mask = ChunkMask(0, frames, CHUNK)
    whole, _ = model.velocity(x, t, features, guess, prompt, voice, 0, model.init_blocks(2), mask)
    state, made = model.init_blocks(2), []
    for start in range(0, frames, CHUNK):
        part = slice(start, start + CHUNK)
        parts = (features[:, part], guess[:, part], prompt[:, part])
        y, state = model.velocity(x[:, part], t, *parts, voice, start, state)
        made.append(y)
    # 1e-4: attention over other lengths adds up in another order, and every layer passes it on
    torch.testing.assert_close(torch.cat(made, dim=1), whole, atol=1e-4, rtol=0)


def test_a_later_chunk_changes_no_earlier_one() -> None:
    model = net().eval()
    x, t, *rest = inputs(1, 3 * CHUNK)
    other = x.clone()
    other[:, 2 * CHUNK] += 1.0
    voice, mask = voice_of(model, 1), ChunkMask(0, 3 * CHUNK, CHUNK)
    a, _ = model.velocity(x, t, *rest, voice, 0, model.init_blocks(1), mask)
    b, _ = model.velocity(other, t, *rest, voice, 0, model.init_blocks(1), mask)
    changed = (a - b).abs().amax(dim=(0, 2)) > 1e-6
    assert not changed[: 2 * CHUNK].any()
    assert changed[2 * CHUNK :].all()


def test_frames_of_one_chunk_see_each_other() -> None:
    model = net().eval()
    x, t, *rest = inputs(1, 2 * CHUNK)
    other = x.clone()
    other[:, CHUNK - 1] += 1.0
    voice, mask = voice_of(model, 1), ChunkMask(0, 2 * CHUNK, CHUNK)
    a, _ = model.velocity(x, t, *rest, voice, 0, model.init_blocks(1), mask)
    b, _ = model.velocity(other, t, *rest, voice, 0, model.init_blocks(1), mask)
    assert (a - b).abs().amax(dim=(0, 2)).min() > 1e-6


@pytest.mark.parametrize("what", ["time", "voice", "features", "guess", "prompt", "start"])
def test_everything_that_is_told_has_an_effect(what: str) -> None:
    model = net().eval()
    x, t, features, guess, prompt = inputs(1, CHUNK)
    voice = voice_of(model, 1)
    past = model.velocity(x, t, features, guess, prompt, voice, 0, model.init_blocks(1))[1]
    plain, _ = model.velocity(x, t, features, guess, prompt, voice, CHUNK, past)
    changed, _ = model.velocity(
        x,
        t + 0.1 * (what == "time"),
        features + 1.0 * (what == "features"),
        guess + 1.0 * (what == "guess"),
        prompt + 1.0 * (what == "prompt"),
        voice + 0.5 * (what == "voice"),
        CHUNK + 5 * (what == "start"),
        past,
    )
    assert (plain - changed).abs().max() > 1e-4


def test_a_control_that_is_not_given_says_nothing() -> None:
    model, speaker = net(), noise(1, SPEAKER)
    given = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    values = noise(1, CONTROLS)
    other = values + torch.tensor([[0.0, 5.0, 0.0, -5.0]])
    a, b = model.condition(speaker, values, given), model.condition(speaker, other, given)
    assert torch.equal(a, b)
    assert not torch.equal(a, model.condition(speaker, values, torch.ones(1, CONTROLS)))


# ---- learning ---------------------------------------------------------------------------------


def flow_loss(model: Dit, codes: Tensor, mel: Tensor, start: Tensor) -> Tensor:
    """Flow matching at fixed times from fixed noise, and the encoder's own guess."""
    voice = voice_of(model, len(mel))
    features, guess, _ = model.encoder.step(codes, voice, model.encoder.init_state(len(mel)))
    t = torch.linspace(0.2, 0.7, len(mel))
    at = t[:, None, None]
    velocity, _ = model.velocity(
        at * mel + (1 - at) * start,
        t,
        features,
        guess,
        torch.zeros_like(mel),
        voice,
        0,
        model.init_blocks(len(mel)),
        ChunkMask(0, mel.shape[1], CHUNK),
    )
    return (velocity - (mel - start)).square().mean() + (guess - mel).square().mean()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    codes = noise(2, 10 + SPEC.lookahead, DIMS, seed=1)
    return codes, noise(2, 20, BINS, seed=2), noise(2, 20, BINS, seed=3)


def test_gradients_reach_every_parameter() -> None:
    model = net()
    flow_loss(model, *batch()).backward()
    assert tiny.without_gradient(model) == []


def test_a_new_model_stands_still_and_still_learns() -> None:
    with torch.random.fork_rng(devices=[]):
        model = Dit(SPEC, DIMS, BINS, SPEAKER)
    x, t, *rest = inputs(1, CHUNK)
    still, _ = model.velocity(x, t, *rest, voice_of(model, 1), 0, model.init_blocks(1))
    assert torch.equal(still, model.leave.bias.expand_as(still))  # its last weights start at zero
    fixed = batch()
    flow_loss(model, *fixed).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * (0 if parameter.grad is None else parameter.grad)
            parameter.grad = None
    flow_loss(model, *fixed).backward()
    assert tiny.without_gradient(model) == []


def test_the_decoder_learns_one_batch_by_heart() -> None:
    model, fixed = net(), batch()
    losses = tiny.fit(model, lambda: flow_loss(model, *fixed), steps=60, lr=0.01)
    assert losses[-1] < 0.25 * losses[0]
