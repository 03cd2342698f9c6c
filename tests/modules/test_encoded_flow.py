"""The flow decoders of the CosyVoice family: in any pieces they give what they give at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tiny import cuts, seeded
from tiny_cosyvoice import FAMILIES, networks, spec_of
from torch import Tensor
from torch.nn import functional as F

from voxkit.cosyvoice_spec import CosyVoiceSpec
from voxkit.modules import linears
from voxkit.modules.encoded_flow import (
    Condition,
    FlowDecoder,
    FlowState,
    cosine_times,
    hops,
    integrate,
    start_noise,
)
from voxkit.modules.unet import UnetState, mish
from voxkit.precision import Kind
from voxkit.spec import without_quirks

TOKENS = 33


def decoder(family: str, **changes: Any) -> FlowDecoder:
    """A decoder of random weights without quirks, but for what `changes`."""
    spec = without_quirks(spec_of(family))
    flow = dataclasses.replace(spec.decoder, **changes)
    return FlowDecoder(networks(dataclasses.replace(spec, decoder=flow))["decoder"])


@pytest.fixture(scope="module", params=FAMILIES)
def flow(request: pytest.FixtureRequest) -> FlowDecoder:
    return decoder(request.param)


def start(flow: FlowDecoder, prompt: int = 13, **options: Any) -> FlowState:
    spec, generator = flow.spec, seeded(7)
    return flow.init_state(
        torch.randint(spec.codebook, (1, prompt), generator=generator),
        torch.randn(1, flow.net.bins, 2 * prompt, generator=generator),
        torch.randn(1, spec.speaker, generator=generator),
        **options,
    )


def tokens(flow: FlowDecoder, count: int = TOKENS) -> Tensor:
    return torch.randint(flow.spec.codebook, (1, count), generator=seeded(8))


def streamed(flow: FlowDecoder, state: FlowState, said: Tensor, seed: int) -> Iterator[Tensor]:
    rng = np.random.default_rng(seed)
    for begin, end in cuts(said.shape[1], rng, 14):
        mel, state = flow.decode(said[:, begin:end], state, end == said.shape[1])
        yield mel


@pytest.mark.parametrize("prompt", [0, 2, 5, 13])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_pieces_give_the_mel_of_one_call(flow: FlowDecoder, prompt: int, seed: int) -> None:
    said = tokens(flow)
    whole, _ = flow.decode(said, start(flow, prompt), True)
    pieces = torch.cat(list(streamed(flow, start(flow, prompt), said, seed)), dim=2)
    assert whole.shape == (1, flow.net.bins, 2 * TOKENS)
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_it_says_nearly_the_same_whole_and_in_pieces(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    plain, packed = decoder(family), decoder(family)
    linears.pack(packed.net, Kind.bf16)
    said = tokens(plain)
    true, _ = plain.decode(said, start(plain), True)
    made, _ = packed.decode(said, start(packed), True)
    assert made.dtype == torch.float32
    assert 0.0 < float((made - true).norm() / true.norm()) < 0.02
    pieces = torch.cat(list(streamed(packed, start(packed), said, 1)), dim=2)
    assert float((pieces - made).norm() / made.norm()) < 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_attention_and_convolutions_are_in_it(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    packed = decoder(family)
    linears.pack(packed.net, Kind.bf16)
    _, state = packed.decode(tokens(packed), start(packed), False)
    first = state.estimator[0]
    seen = first.stages[0].seen if isinstance(first, UnetState) else first.seen
    assert seen[0].keys.dtype == torch.bfloat16
    if isinstance(first, UnetState):
        assert first.convs[0].dtype == torch.bfloat16


def test_mish_is_that_of_torch() -> None:
    x = torch.linspace(-60.0, 60.0, 2401)
    torch.testing.assert_close(mish(x), F.mish(x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_few_tokens_are_enough(flow: FlowDecoder, count: int) -> None:
    mel, _ = flow.decode(tokens(flow, count), start(flow, 0), True)
    assert mel.shape[2] == 2 * count


def test_a_last_call_without_tokens_lets_out_the_rest(flow: FlowDecoder) -> None:
    said = tokens(flow)
    whole, _ = flow.decode(said, start(flow), True)
    first, state = flow.decode(said, start(flow), False)
    rest, _ = flow.decode(said[:, :0], state, True)
    torch.testing.assert_close(torch.cat([first, rest], dim=2), whole, atol=1e-4, rtol=0)


def test_every_token_is_decoded_once(flow: FlowDecoder) -> None:
    """What was said before costs nothing again: the estimator sees each frame once a step."""
    frames: list[int] = []
    hook = flow.net.estimator.register_forward_pre_hook(
        lambda module, inputs: frames.append(inputs[0].shape[2])
    )
    list(streamed(flow, start(flow), tokens(flow), 0))
    hook.remove()
    assert sum(frames) == flow.spec.flow.steps * 2 * (13 + TOKENS)


def test_the_reference_is_decoded_before_the_first_token(flow: FlowDecoder) -> None:
    mel, state = flow.decode(tokens(flow, 0), start(flow), False)
    assert mel.shape[2] == 0
    assert state.decoded == 10  # two chunks of 5; the third waits for its look-ahead
    said = tokens(flow)
    torch.testing.assert_close(
        flow.decode(said, state, True)[0],
        flow.decode(said, start(flow), True)[0],
        atol=1e-4,
        rtol=0,
    )


def test_sentences_that_start_from_one_state_do_not_disturb_each_other(flow: FlowDecoder) -> None:
    _, state = flow.decode(tokens(flow, 0), start(flow), False)
    one, two = tokens(flow), tokens(flow).flip(1)
    alone = [torch.cat(list(streamed(flow, start(flow), said, 0)), dim=2) for said in (one, two)]
    both = [streamed(flow, flow.shared(state), said, 0) for said in (one, two)]
    taken: list[list[Tensor]] = [[], []]
    for first, second in zip(*both, strict=True):
        taken[0].append(first)
        taken[1].append(second)
    for mel, expected in zip(taken, alone, strict=True):
        torch.testing.assert_close(torch.cat(mel, dim=2), expected, atol=1e-4, rtol=0)


def test_a_chunk_needs_its_look_ahead_and_no_more(flow: FlowDecoder) -> None:
    chunk, ahead = flow.spec.chunk, flow.spec.lookahead
    state = start(flow, 0)
    mel, state = flow.decode(tokens(flow, chunk + ahead - 1), state, False)
    assert mel.shape[2] == 0
    mel, state = flow.decode(tokens(flow, 1), state, False)
    assert mel.shape[2] == 2 * chunk


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("left", [0, 2])
def test_a_bounded_past_is_the_mask_that_says_so(
    family: str, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks see the reference's chunks and `left` before them; check against one masked call."""
    flow = decoder(family, left_chunks=left)
    state, said = start(flow, 7), tokens(flow)
    bounded = torch.cat(list(streamed(flow, state, said, 0)), dim=2)
    every = torch.cat([state.pending, said], dim=1)
    hidden, _ = flow.net.encode(every, every[:, :0], state.encoder, chunked=True)
    frames = hidden.shape[1]
    chunk = torch.arange(frames) // 10
    query, key = chunk[:, None], chunk[None]
    mask = (key <= query) & ((key < 2) | (query - key <= left))

    def attend(query: Tensor, keys: Tensor, values: Tensor, _: None) -> Tensor:
        made = F.scaled_dot_product_attention(query, keys, values, mask)
        return made.transpose(1, 2).flatten(2)

    for module in ("unet", "dit_cosyvoice"):
        monkeypatch.setattr(f"voxkit.modules.{module}.attend", attend)
    prompt = torch.zeros(1, flow.net.bins, frames)
    prompt[:, :, :14] = state.prompt
    mel, _ = integrate(
        flow.net.estimator,
        start_noise(flow.spec, flow.net.bins, 0, frames),
        Condition(flow.net.project(hidden).transpose(1, 2), state.speaker, prompt),
        state.estimator,
        state.moments,
        guidance=state.guidance,
        mask=None,
        keep=False,
    )
    torch.testing.assert_close(bounded, mel[:, :, 14:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bounded_past_bounds_what_the_state_holds(family: str) -> None:
    flow = decoder(family, left_chunks=1)
    state = start(flow, 7)
    for _ in range(4):
        _, state = flow.decode(tokens(flow, 15), state, False)
        attended = {seen.length for step in state.estimator for seen in _all_seen(step)}
    assert attended == {30}  # the reference's two chunks and one more, of 10 frames


def _all_seen(step: Any) -> list[Any]:
    stages = getattr(step, "stages", None)
    return [s for stage in stages for s in stage.seen] if stages else list(step.seen)


def test_full_attention_comes_at_the_end_and_lets_all_frames_see_all(flow: FlowDecoder) -> None:
    said = tokens(flow)
    mel, state = flow.decode(said, start(flow, full_attention=True), False)
    assert mel.shape[2] == 0
    full, _ = flow.decode(said[:, :0], state, True)
    changed = said.clone()
    changed[:, -1] = (changed[:, -1] + 1) % flow.spec.codebook
    other, _ = flow.decode(changed, start(flow, full_attention=True), True)
    assert float((full - other)[:, :, :10].abs().max()) > 1e-4
    chunked = [flow.decode(x, start(flow), True)[0] for x in (said, changed)]
    torch.testing.assert_close(chunked[0][:, :, :10], chunked[1][:, :, :10], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_chunk_quirk_makes_the_end_anew_under_full_attention(family: str) -> None:
    quirks = spec_of(family).decoder.quirks
    assert quirks.last_chunk_full_attention
    flow, plain = decoder(family, quirks=quirks), decoder(family)
    said = tokens(flow)
    head, state = flow.decode(said[:, :-4], start(flow), False)
    tail, _ = flow.decode(said[:, -4:], state, True)
    full, _ = plain.decode(said, start(plain, full_attention=True), True)
    fixed, _ = plain.decode(said, start(plain), True)
    frames = head.shape[2]
    assert frames > 0
    torch.testing.assert_close(head, fixed[:, :, :frames], atol=1e-4, rtol=0)
    torch.testing.assert_close(tail, full[:, :, frames:], atol=1e-4, rtol=0)
    assert float((full - fixed)[:, :, frames:].abs().max()) > 1e-3


def test_without_guidance_the_estimator_is_asked_for_one_row(flow: FlowDecoder) -> None:
    rows: list[int] = []
    hook = flow.net.estimator.register_forward_pre_hook(
        lambda module, inputs: rows.append(inputs[0].shape[0])
    )
    for guidance in (0.0, 0.7):
        flow.decode(tokens(flow, 3), start(flow, guidance=guidance, steps=2), True)
    hook.remove()
    assert rows == [1, 1, 2, 2]


def test_speech_longer_than_the_first_noise_goes_on(flow: FlowDecoder) -> None:
    size, bins = flow.spec.noise_frames, flow.net.bins
    whole = start_noise(flow.spec, bins, 0, 2 * size + 5)
    assert whole.shape[2] == 2 * size + 5
    pieces = [start_noise(flow.spec, bins, at, 7) for at in range(0, 2 * size, 7)]
    assert torch.equal(torch.cat(pieces, dim=2)[:, :, : 2 * size], whole[:, :, : 2 * size])
    count = size // 2 + 20
    mel, _ = flow.decode(tokens(flow, count), start(flow, 0), True)
    assert mel.shape[2] == 2 * count
    assert torch.isfinite(mel).all()


def test_times_run_from_zero_to_one_closest_at_the_start() -> None:
    times = cosine_times(10)
    steps = times.diff()
    assert (float(times[0]), float(times[-1])) == (0.0, pytest.approx(1.0, abs=1e-6))
    assert bool((steps > 0).all())
    assert int(steps.argmin()) == 0


def test_hops_fill_the_grid_of_the_reference_and_grow() -> None:
    spec: CosyVoiceSpec = spec_of("cosyvoice2")
    sizes = hops(spec.stream, spec.decoder, prompt=13, hop=5)
    assert [next(sizes) for _ in range(5)] == [5 + 2 + 3, 10, 20, 20, 20]


@pytest.mark.parametrize(("prompt", "first"), [(0, 5), (12, 3), (13, 2 + 5), (14, 1 + 5)])
def test_the_first_hop_is_the_smallest_that_can_be_heard(prompt: int, first: int) -> None:
    spec = without_quirks(spec_of("cosyvoice2"))
    assert next(hops(spec.stream, spec.decoder, prompt, hop=5)) == first + spec.decoder.lookahead


# ---- several sentences at once ----------------------------------------------------------------


@pytest.mark.parametrize("guidance", [0.0, 0.7])
def test_sentences_that_end_together_are_what_each_is_alone(
    flow: FlowDecoder, guidance: float
) -> None:
    """Of any lengths, after references of several lengths, with and without guidance."""
    read = {
        prompt: flow.decode(tokens(flow, 0), start(flow, prompt, guidance=guidance), False)[1]
        for prompt in (0, 5, 13)
    }
    plain = flow.decode(tokens(flow, 0), start(flow, 13, guidance=0.3), False)[1]

    def rest() -> list[tuple[Tensor, FlowState]]:
        ends = [(33, 13), (1, 13), (0, 13), (20, 13), (9, 5), (14, 5), (4, 0), (33, 0), (0, 0)]
        made = [(tokens(flow, count), flow.shared(read[prompt])) for count, prompt in ends]
        return [*made, (tokens(flow, 12), flow.shared(plain))]

    alone = [flow.decode(*one, True)[0] for one in rest()]
    for wanted, made in zip(alone, flow.complete(rest()), strict=True):
        assert made.shape == wanted.shape
        torch.testing.assert_close(made, wanted, atol=1e-4, rtol=0)


def test_sentences_after_one_reference_are_decoded_together(
    flow: FlowDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = flow.decode(tokens(flow, 0), start(flow, steps=2), False)[1]
    rows: list[int] = []

    def count(_: Any, given: tuple[Tensor, ...]) -> None:
        rows.append(len(given[0]))

    hook = flow.net.estimator.register_forward_pre_hook(count)
    flow.complete([(tokens(flow, n), flow.shared(base)) for n in (3, 20, 9)])
    hook.remove()
    assert rows == [6, 6]  # with a row for guidance each


@pytest.mark.parametrize("full_attention", [True, False])
def test_what_cannot_be_decoded_together_is_decoded_one_by_one(full_attention: bool) -> None:
    changes: dict[str, Any] = {} if full_attention else {"left_chunks": 1}
    flow = decoder("cosyvoice3", **changes)

    def rest() -> list[tuple[Tensor, FlowState]]:
        state = start(flow, full_attention=full_attention)
        return [(tokens(flow, count), state) for count in (TOKENS, 8)]

    for (said, state), made in zip(rest(), flow.complete(rest()), strict=True):
        assert torch.equal(made, flow.decode(said, state, True)[0])
