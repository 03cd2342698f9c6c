"""The native decoder and vocoder: speech tokens → mel → samples, the same however they are cut."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from voxkit.company import Company
from voxkit.decoder import DecoderState, FlowDecoder, VocoderState, VocosVocoder
from voxkit.options import Options
from voxkit.prosody import NATURAL, Prosody
from voxkit.sharing import SharedDecoder
from voxkit.voice import Voice

SPEC, MEL = tiny.SPEC, tiny.MEL
FIRST, CHUNK, LOOKAHEAD = SPEC.decoder.first_chunk, SPEC.decoder.chunk, SPEC.decoder.lookahead


@pytest.fixture(scope="module")
def decoder() -> FlowDecoder:
    return tiny.engine().parts.decoder


@pytest.fixture(scope="module")
def vocoder() -> VocosVocoder:
    return tiny.engine().parts.vocoder


def tokens(count: int = 23, seed: int = 0) -> Tensor:
    return torch.randint(0, SPEC.tokenizer.codebook, (count,), generator=tiny.seeded(seed))


def started(
    decoder: FlowDecoder,
    voice: Voice | None = None,
    options: Options | None = None,
    seed: int = 1,
) -> DecoderState:
    state = decoder.init_state(voice or tiny.voice(), options or Options())
    return decoder.seed(state, tiny.seeded(seed))


def whole(decoder: FlowDecoder, said: Tensor, **told: object) -> Tensor:
    return decoder.decode(said, started(decoder, **told), True)[0]


# ---- the decoder ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, CHUNK, CHUNK + 1, 23])
def test_every_token_becomes_two_mel_frames(decoder: FlowDecoder, count: int) -> None:
    mel = whole(decoder, tokens(count))
    assert mel.shape == (1, MEL.bins, 2 * count)
    assert mel.isfinite().all()


@pytest.mark.parametrize("seed", range(6))
def test_hops_do_not_change_the_mel_by_a_bit(decoder: FlowDecoder, seed: int) -> None:
    said, state, made = tokens(), started(decoder), []
    for start, end in tiny.cuts(23, np.random.default_rng(seed), 7):
        mel, state = decoder.decode(said[start:end], state, end == 23)
        made.append(mel)
    assert torch.equal(torch.cat(made, dim=2), whole(decoder, said))


def test_the_end_may_come_without_tokens(decoder: FlowDecoder) -> None:
    said = tokens()
    first, state = decoder.decode(said, started(decoder), False)
    rest, _ = decoder.decode(said[:0], state, True)
    assert torch.equal(torch.cat([first, rest], dim=2), whole(decoder, said))


def test_a_chunk_is_decoded_as_soon_as_its_look_ahead_is_there(decoder: FlowDecoder) -> None:
    state, made = started(decoder), []
    for token in tokens(FIRST + 2 * CHUNK + LOOKAHEAD):
        mel, state = decoder.decode(token[None], state, False)
        made.append(mel.shape[2])
    first = FIRST + LOOKAHEAD
    chunks = {n: frames for n, frames in enumerate(made, 1) if frames}
    assert chunks == {first: 2 * FIRST, first + CHUNK: 2 * CHUNK, first + 2 * CHUNK: 2 * CHUNK}


def test_hops_fill_the_chunks_the_first_of_which_is_shorter(decoder: FlowDecoder) -> None:
    sizes, state = decoder.hops(tiny.voice()), started(decoder)
    made = [decoder.decode(tokens(next(sizes)), state, False)[0].shape[2]]
    assert made == [2 * FIRST]
    assert [next(sizes) for _ in range(4)] == [3, 6, 12, 12]


def test_without_a_first_chunk_all_chunks_have_one_size(decoder: FlowDecoder) -> None:
    even = dataclasses.replace(SPEC, decoder=dataclasses.replace(SPEC.decoder, first_chunk=0))
    other = FlowDecoder(even, decoder.network)
    assert next(other.hops(tiny.voice())) == CHUNK + LOOKAHEAD
    mel, _ = other.decode(tokens(CHUNK + LOOKAHEAD), started(other), False)
    assert mel.shape[2] == 2 * CHUNK


def test_tokens_beyond_the_look_ahead_change_no_earlier_chunk(decoder: FlowDecoder) -> None:
    said, done = tokens(3 * CHUNK), FIRST + CHUNK
    other = said.clone()
    other[done + LOOKAHEAD] = (other[done + LOOKAHEAD] + 1) % SPEC.tokenizer.codebook
    a, b = whole(decoder, said), whole(decoder, other)
    assert torch.equal(a[:, :, : 2 * done], b[:, :, : 2 * done])
    assert (a[:, :, 2 * done :] - b[:, :, 2 * done :]).abs().amax(dim=(0, 1)).min() > 0


def test_the_state_after_the_reference_serves_any_number_of_sentences(decoder: FlowDecoder) -> None:
    start = decoder.init_state(tiny.voice(), Options())
    first, _ = decoder.decode(tokens(), decoder.seed(start, tiny.seeded(1)), True)
    decoder.decode(tokens(9, seed=5), decoder.seed(start, tiny.seeded(2)), True)
    again, _ = decoder.decode(tokens(), decoder.seed(start, tiny.seeded(1)), True)
    assert torch.equal(first, again)


def test_the_noise_comes_from_the_seed(decoder: FlowDecoder) -> None:
    assert torch.equal(whole(decoder, tokens(), seed=3), whole(decoder, tokens(), seed=3))
    assert not torch.equal(whole(decoder, tokens(), seed=3), whole(decoder, tokens(), seed=4))


@pytest.mark.parametrize("part", ["speaker", "attributes", "mel", "tokens"])
def test_all_of_the_voice_is_heard(decoder: FlowDecoder, part: str) -> None:
    plain, other = tiny.voice(0), tiny.voice(1)
    changed = tiny.voice(0, **{part: getattr(other, part)})
    difference = whole(decoder, tokens(), voice=changed) - whole(decoder, tokens(), voice=plain)
    assert difference.abs().mean() > 1e-3


@pytest.mark.parametrize("count", [0, 1, LOOKAHEAD, LOOKAHEAD + 1, CHUNK + LOOKAHEAD, 200])
def test_references_of_any_length_can_be_read(decoder: FlowDecoder, count: int) -> None:
    state = started(decoder, voice=tiny.voice(count=count))
    assert state.frames == 2 * min(75, max(0, count - LOOKAHEAD))
    mel, _ = decoder.decode(tokens(7), state, True)
    assert mel.shape[2] == 14
    assert mel.isfinite().all()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_call_may_choose_the_steps(decoder: FlowDecoder, steps: int) -> None:
    state = started(decoder, options=Options(steps=steps))
    assert len(state.steps) == steps
    mel, _ = decoder.decode(tokens(), state, True)
    same = torch.equal(mel, whole(decoder, tokens()))
    assert same == (steps == SPEC.decoder.flow.steps)


def test_twice_the_steps_leave_a_quarter_of_the_error(
    decoder: FlowDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Along a flow whose end is known: dx/dt = x leads from x to e x."""

    def velocity(x: Tensor, *told: object) -> tuple[Tensor, object]:
        return x, told[-1]

    def error(steps: int) -> float:
        seeds = tiny.seeded(1)
        mel = whole(decoder, tokens(CHUNK), options=Options(steps=steps, guidance=0.0), seed=1)
        found = (mel - MEL.mean) / MEL.scale
        assert found.shape[2] == 2 * CHUNK
        noises = [torch.randn(1, 2 * n, MEL.bins, generator=seeds) for n in first_chunks(CHUNK)]
        exact = torch.cat(noises, dim=1).transpose(1, 2) * math.e
        return float((found - exact).abs().max())

    monkeypatch.setattr(decoder.network, "velocity", velocity)
    errors = [error(steps) for steps in (8, 16, 32)]
    assert errors[0] / errors[1] == pytest.approx(3.75, abs=0.05)
    assert errors[1] / errors[2] == pytest.approx(3.88, abs=0.05)


def first_chunks(count: int) -> list[int]:
    """The chunks that so many tokens of a sentence are decoded in."""
    first = FIRST or CHUNK
    return [min(first, count), *([count - first] if count > first else [])]


def test_without_guidance_the_unconditioned_row_is_saved(decoder: FlowDecoder) -> None:
    plain = started(decoder, options=Options(guidance=0.0))
    assert plain.steps[0][0].seen.keys.shape[0] == 1
    almost = whole(decoder, tokens(), options=Options(guidance=1e-7))
    mel, _ = decoder.decode(tokens(), plain, True)
    # 1e-4: one row instead of two adds up in another order
    torch.testing.assert_close(mel, almost, atol=1e-4, rtol=0)


def test_guidance_moves_away_from_what_comes_without_condition(decoder: FlowDecoder) -> None:
    step = Options(steps=1, guidance=0.0)
    mild = dataclasses.replace(step, guidance=1.0)
    strong = dataclasses.replace(step, guidance=2.0)
    first = [whole(decoder, tokens(CHUNK), options=o) for o in (step, mild, strong)]
    # one Euler step is linear in the guidance
    torch.testing.assert_close(first[2] - first[1], first[1] - first[0], atol=1e-3, rtol=0)
    assert (first[1] - first[0]).abs().mean() > 1e-3


# ---- the vocoder ------------------------------------------------------------------------------


def mel_of(frames: int, seed: int = 0) -> Tensor:
    noise = torch.randn(1, MEL.bins, frames, generator=tiny.seeded(seed))
    return noise * MEL.scale + MEL.mean


def vocoded(vocoder: VocosVocoder, mel: Tensor, seed: int = 1) -> Tensor:
    return vocoder.vocode(mel, vocoder.init_state(tiny.seeded(seed)), True)[0]


@pytest.mark.parametrize("frames", [2, 9, 10, 11, 47])
def test_every_mel_frame_becomes_one_hop(vocoder: VocosVocoder, frames: int) -> None:
    wav = vocoded(vocoder, mel_of(frames))
    assert wav.shape == (frames * MEL.hop,)
    assert 0 < wav.abs().max() < 1


@pytest.mark.parametrize("seed", range(6))
def test_pieces_do_not_change_the_samples_by_a_bit(vocoder: VocosVocoder, seed: int) -> None:
    mel, state, made = mel_of(47), vocoder.init_state(tiny.seeded(1)), []
    for start, end in tiny.cuts(47, np.random.default_rng(seed), 17):
        wav, state = vocoder.vocode(mel[:, :, start:end], state, end == 47)
        made.append(wav)
    assert torch.equal(torch.cat(made), vocoded(vocoder, mel))


@pytest.mark.parametrize("frames", [20, 23])
def test_the_end_may_come_without_mel(vocoder: VocosVocoder, frames: int) -> None:
    mel = mel_of(frames)
    first, state = vocoder.vocode(mel, vocoder.init_state(tiny.seeded(1)), False)
    rest, _ = vocoder.vocode(mel[:, :, :0], state, True)
    joined = torch.cat([first, rest])
    assert joined.shape == (frames * MEL.hop,)
    # With a full last block the bits differ, because the end is then a block of its own.
    torch.testing.assert_close(joined, vocoded(vocoder, mel), atol=1e-3, rtol=0)


def test_no_mel_becomes_no_samples(vocoder: VocosVocoder) -> None:
    assert vocoded(vocoder, mel_of(0)).shape == (0,)


def test_the_vocoder_s_noise_comes_from_the_seed(vocoder: VocosVocoder) -> None:
    mel = mel_of(12)
    assert torch.equal(vocoded(vocoder, mel, 3), vocoded(vocoder, mel, 3))
    assert not torch.equal(vocoded(vocoder, mel, 3), vocoded(vocoder, mel, 4))


def test_tokens_to_samples_are_the_same_bits_through_any_hops(
    decoder: FlowDecoder, vocoder: VocosVocoder
) -> None:
    said = tokens(41)

    def speak(seed: int) -> Tensor:
        mels, wavs, made = started(decoder), vocoder.init_state(tiny.seeded(2)), []
        for start, end in tiny.cuts(41, np.random.default_rng(seed), 12):
            mel, mels = decoder.decode(said[start:end], mels, end == 41)
            wav, wavs = vocoder.vocode(mel, wavs, end == 41)
            made.append(wav)
        return torch.cat(made)

    first = speak(0)
    assert first.shape == (41 * 2 * MEL.hop,)
    for seed in range(1, 5):
        assert torch.equal(speak(seed), first)


# ---- several sentences at once ----------------------------------------------------------------


def test_sentences_that_end_together_are_what_each_is_alone(decoder: FlowDecoder) -> None:
    """Of any lengths, in any order, at several places, with voices and guidance of their own."""
    lengths = [23, 0, 1, CHUNK, CHUNK + 1, 40, 23]
    voices = [tiny.voice(), tiny.voice(seed=1, count=9)]

    def rest() -> list[tuple[Tensor, DecoderState]]:
        made = []
        for seed, count in enumerate(lengths):
            told = {"seed": seed, "options": Options(guidance=0.5 * (seed % 3 == 0))}
            made.append((tokens(count, seed), started(decoder, voices[seed % 2], **told)))
        begun = decoder.decode(tokens(12, 9), started(decoder, seed=9), False)[1]
        return [*made, (tokens(7, 10), begun)]

    alone = [decoder.decode(*one, True)[0] for one in rest()]
    together = decoder.complete(rest())
    assert [mel.shape[2] for mel in together[:7]] == [2 * count for count in lengths]
    for wanted, made in zip(alone, together, strict=True):
        torch.testing.assert_close(made, wanted, atol=1e-4, rtol=0)


def test_what_is_tried_again_sounds_as_it_would_have(
    decoder: FlowDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, company = [tokens(12, 1), tokens(9, 2)], Company(2)
    shared, fails = SharedDecoder(decoder, company), [True]
    velocity = decoder.network.velocity

    def once(*given: Any) -> Any:
        if fails and fails.pop():
            raise MemoryError("no room for two")
        return velocity(*given)

    def tasks() -> list[Any]:
        return [
            partial(shared.decode, x, started(decoder, seed=i), True) for i, x in enumerate(said)
        ]

    wanted, again = [task()[0] for task in tasks()], tasks()
    monkeypatch.setattr(decoder.network, "velocity", once)
    made: dict[int, Tensor] = {}
    company.run(again, lambda index, future: made.update({index: future.result()[0]}))
    assert not fails
    for i, mel in enumerate(wanted):
        torch.testing.assert_close(made[i], mel, atol=1e-4, rtol=0)


def test_a_vocoder_that_fails_has_drawn_no_noise(
    vocoder: VocosVocoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators = [tiny.seeded(i) for i in range(2)]
    before = [generator.get_state() for generator in generators]
    step, drawn = vocoder.model.step, []

    def third(*given: Any) -> Any:
        drawn.append([generator.get_state() for generator in generators])
        if len(drawn) == 3:
            raise MemoryError("no room for two")
        return step(*given)

    monkeypatch.setattr(vocoder.model, "step", third)
    with pytest.raises(MemoryError):
        vocoder.complete([(mel_of(30, i), vocoder.init_state(g)) for i, g in enumerate(generators)])
    for i, generator in enumerate(generators):
        assert not torch.equal(drawn[-1][i], before[i])
        assert torch.equal(generator.get_state(), before[i])


def test_sentences_at_one_place_are_decoded_together(
    decoder: FlowDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    velocity = decoder.network.velocity

    def spy(x: Tensor, *rest: object) -> object:
        rows.append(len(x))
        return velocity(x, *rest)

    base = decoder.init_state(tiny.voice(), Options(steps=1, guidance=0.0))
    lengths = [FIRST + CHUNK + 1, 1, FIRST + 1, FIRST + CHUNK + 2]
    rest = [(tokens(n, n), decoder.seed(base, tiny.seeded(n))) for n in lengths]
    monkeypatch.setattr(decoder.network, "velocity", spy)
    decoder.complete(rest)
    assert rows == [4, 3, 2]  # in the first, the second and the third chunk


def test_reading_on_from_one_state_changes_nothing_for_another(decoder: FlowDecoder) -> None:
    base = decoder.init_state(tiny.voice(), Options())

    def rest() -> list[tuple[Tensor, DecoderState]]:
        return [(tokens(20, n), decoder.seed(base, tiny.seeded(n))) for n in range(3)]

    for first, again in zip(decoder.complete(rest()), decoder.complete(rest()), strict=True):
        assert torch.equal(first, again)


PROSODIES = [
    NATURAL,
    NATURAL,
    Prosody(factor=1.2),
    NATURAL,
    Prosody(whisper=True),
    Prosody(speed=1.3),
    Prosody(speed=1.3),
    Prosody(whisper=True),
]


@pytest.mark.parametrize("head", ["source-filter", "istft"])
def test_sounds_that_end_together_are_what_each_is_alone(head: str) -> None:
    numbers = dataclasses.replace(SPEC.vocoder, head=head)
    vocoder = tiny.engine(dataclasses.replace(SPEC, vocoder=numbers)).parts.vocoder
    prosodies = PROSODIES if vocoder.stretches else [NATURAL] * len(PROSODIES)
    frames = [34, 10, 23, 0, 20, 31, 47, 5]

    def rest() -> list[tuple[Tensor, VocoderState]]:
        made = [
            (mel_of(count, seed), vocoder.init_state(tiny.seeded(seed), prosody))
            for seed, (count, prosody) in enumerate(zip(frames, prosodies, strict=True))
        ]
        begun = vocoder.vocode(mel_of(13), vocoder.init_state(tiny.seeded(20)), False)[1]
        return [*made, (mel_of(17, 3), begun)]

    alone = [vocoder.vocode(*one, True)[0] for one in rest()]
    together = vocoder.complete(rest())
    for wanted, made in zip(alone, together, strict=True):
        assert made.shape == wanted.shape
        torch.testing.assert_close(made, wanted, atol=1e-3, rtol=0)


def test_nothing_ends_as_nothing(decoder: FlowDecoder, vocoder: VocosVocoder) -> None:
    assert decoder.complete([]) == vocoder.complete([]) == []


def test_a_state_may_be_used_twice(decoder: FlowDecoder, vocoder: VocosVocoder) -> None:
    mel, said = mel_of(30), tokens()
    _, state = decoder.decode(said[:12], started(decoder), False)
    _, waves = vocoder.vocode(mel[:, :, :15], vocoder.init_state(tiny.seeded(2)), False)
    before = state.generators[0].get_state(), waves.network.generators[0].get_state()
    once = decoder.decode(said[12:], state, True)[0], vocoder.vocode(mel[:, :, 15:], waves, True)[0]
    state.generators[0].set_state(before[0])  # a generator is the one thing that a call moves on
    waves.network.generators[0].set_state(before[1])
    twice = decoder.decode(said[12:], state, True)[0], vocoder.vocode(mel[:, :, 15:], waves, True)
    assert torch.equal(once[0], twice[0])
    assert torch.equal(once[1], twice[1][0])
