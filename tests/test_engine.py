"""The engine's contracts: one path, one request at a time or many, seeds, voices, memory."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import os
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch._subclasses.fake_tensor import FakeTensor

from voxkit.audio import Audio
from voxkit.decoder import FlowDecoder
from voxkit.engine import Engine, _begun_late, _hops
from voxkit.errors import AudioError, TextError, VoiceError
from voxkit.modules.fsq import codes_to_tokens
from voxkit.options import WHOLE, Options
from voxkit.spec import StreamSpec
from voxkit.text import Script, Sentence
from voxkit.voice import Voice

TEXT = "Hello there. How are you?"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny.engine()


@pytest.fixture(scope="module")
def voice() -> Voice:
    return tiny.voice()


def joined(pieces: Iterator[Audio]) -> np.ndarray:
    return np.concatenate([piece.samples for piece in pieces])


def spoken(engine: Engine, voice: Voice) -> np.ndarray:
    return engine.speak(TEXT, voice).samples


def hopping(engine: Engine, first: int, largest: int) -> Engine:
    """The same engine with hops of another size."""
    old = engine.parts.decoder
    assert isinstance(old, FlowDecoder)
    spec = dataclasses.replace(old.spec, stream=StreamSpec(first, largest))
    parts = dataclasses.replace(engine.parts, decoder=FlowDecoder(spec, old.network))
    return Engine(engine.spec, parts, fingerprint=engine.fingerprint, default_voice="")


# ---- one path ---------------------------------------------------------------------------------


def test_the_stream_joined_is_what_is_spoken(engine: Engine, voice: Voice) -> None:
    pieces = list(engine.stream(TEXT, voice))
    assert len(pieces) > 4
    assert {piece.sample_rate for piece in pieces} == {tiny.RATE}
    whole = engine.speak(TEXT, voice)
    assert whole.sample_rate == engine.sample_rate == tiny.RATE
    assert np.array_equal(joined(iter(pieces)), whole.samples)


@pytest.mark.parametrize("hops", [(1, 1), (2, 3), (1000, 1000)])
def test_the_size_of_the_hops_changes_no_sample(
    engine: Engine, voice: Voice, hops: tuple[int, int]
) -> None:
    assert np.array_equal(hopping(engine, *hops).speak(TEXT, voice).samples, spoken(engine, voice))


def test_sound_comes_before_all_of_it_is_made(engine: Engine, voice: Voice) -> None:
    made: list[int] = []

    class Counting:
        def tokens(self, *told: Any, instruction: str | None) -> Iterator[int]:
            for token in engine.parts.generator.tokens(*told, instruction=instruction):
                made.append(token)
                yield token

    parts = dataclasses.replace(engine.parts, generator=Counting())
    counting = Engine(engine.spec, parts, fingerprint=engine.fingerprint, default_voice="")
    stream = counting.stream("One two three four five six seven eight.", voice)
    next(stream)
    early = len(made)
    for _ in stream:
        pass
    assert early < len(made) / 2


def test_a_hop_is_decoded_as_soon_as_it_is_full(engine: Engine) -> None:
    hops = [(len(hop), last) for hop, last in _hops(iter(range(40)), engine.spec.stream.hops())]
    assert hops == [(3, False), (6, False), (12, False), (12, False), (7, True)]


def test_the_last_hop_may_be_empty(engine: Engine) -> None:
    hops = [(len(hop), last) for hop, last in _hops(iter(range(9)), engine.spec.stream.hops())]
    assert hops == [(3, False), (6, False), (0, True)]


def test_first_hops_are_joined_until_there_are_enough_tokens(engine: Engine) -> None:
    def sizes(least: int) -> list[int]:
        return list(itertools.islice(_begun_late(engine.spec.stream.hops(), least), 3))

    assert sizes(1) == sizes(3) == [3, 6, 12]
    assert sizes(4) == sizes(9) == [9, 12, 12]
    assert sizes(WHOLE)[0] >= WHOLE


def test_a_sentence_may_be_decoded_at_once(engine: Engine, voice: Voice) -> None:
    hops = [piece.samples for piece in engine.stream(TEXT, voice, Options(seed=3))]
    options = Options(seed=3, first_hop=WHOLE)
    whole = [piece.samples for piece in engine.stream(TEXT, voice, options)]
    assert len(whole) < len(hops)
    # Sums of other sizes are added up in another order, and pulses magnify what that does.
    np.testing.assert_allclose(np.concatenate(whole), np.concatenate(hops), atol=2e-3)


def test_hops_are_those_of_the_decoder(engine: Engine, voice: Voice) -> None:
    told: list[tuple[int, ...]] = []

    class Telling(FlowDecoder):
        def hops(self, voice: Voice, earlier: Sequence[int] = ()) -> Iterator[int]:
            told.append(tuple(earlier))
            return super().hops(voice, earlier)

    old = engine.parts.decoder
    assert isinstance(old, FlowDecoder)
    parts = dataclasses.replace(engine.parts, decoder=Telling(old.spec, old.network))
    telling = Engine(engine.spec, parts, fingerprint=engine.fingerprint, default_voice="")
    telling.speak("One two. Three four. Five six.", voice)
    first, second, third = told
    assert (first, len(second), third[:1], len(third)) == ((), 1, second, 2)
    assert min(third) > 0


def test_samples_are_finite_float32_within_full_scale(engine: Engine, voice: Voice) -> None:
    samples = engine.speak(TEXT, voice).samples
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1.0
    assert samples.std() > 1e-3


def test_a_script_is_spoken_as_the_text_that_it_came_from(engine: Engine, voice: Voice) -> None:
    spoken = engine.speak(engine.prepare(TEXT), voice).samples
    assert np.array_equal(spoken, engine.speak(TEXT, voice).samples)


# ---- pauses and speed -------------------------------------------------------------------------


def script(*texts: str, ends: bool = False) -> Script:
    sentences = tuple(Sentence(text, ends, text) for text in texts)
    return Script(sentences, ())


def test_sentences_are_parted_by_silence_and_nothing_follows_the_last(
    engine: Engine, voice: Voice
) -> None:
    spoken = script("Hello.", "Goodbye.")
    with_pause = engine.speak(spoken, voice, Options(sentence_pause_ms=150.0)).samples
    without = engine.speak(spoken, voice, Options(sentence_pause_ms=0.0)).samples
    first = len(engine.speak(script("Hello."), voice).samples)
    silence = round(0.150 * tiny.RATE)
    assert len(with_pause) == len(without) + silence
    assert (with_pause[first : first + silence] == 0).all()
    assert np.array_equal(np.delete(with_pause, slice(first, first + silence)), without)


def test_a_paragraph_ends_in_twice_the_silence(engine: Engine, voice: Voice) -> None:
    options = Options(sentence_pause_ms=100.0)
    usual = engine.speak(script("Hello.", "Goodbye."), voice, options)
    longer = engine.speak(script("Hello.", "Goodbye.", ends=True), voice, options)
    assert len(longer.samples) - len(usual.samples) == round(0.1 * tiny.RATE)


def test_pieces_of_one_sentence_are_parted_by_a_breath(engine: Engine, voice: Voice) -> None:
    options = Options(sentence_pause_ms=100.0)
    first = Sentence("Hello,", False, "one sentence", cut=True)
    cut = Script((first, Sentence("goodbye.", False, "one sentence")), ())
    breath = engine.speak(cut, voice, options)
    usual = engine.speak(script("Hello,", "goodbye."), voice, options)
    assert len(usual.samples) - len(breath.samples) == round(0.075 * tiny.RATE)


def test_a_sentence_said_twice_is_parted_like_any_other(engine: Engine, voice: Voice) -> None:
    options, none = Options(sentence_pause_ms=100.0), Options(sentence_pause_ms=0.0)
    with_pause = engine.speak("No. No.", voice, options)
    without = engine.speak("No. No.", voice, none)
    assert len(with_pause.samples) - len(without.samples) == round(0.1 * tiny.RATE)


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 2.0, 4.0])
def test_speed_divides_the_duration_within_a_frame(
    engine: Engine, voice: Voice, speed: float
) -> None:
    one = script("How are you?")
    plain = engine.speak(one, voice).seconds
    made = engine.speak(one, voice, Options(speed=speed)).seconds
    assert made == pytest.approx(plain / speed, abs=tiny.HOP / tiny.RATE)


# ---- seeds ------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_samples(engine: Engine, voice: Voice) -> None:
    first = engine.speak(TEXT, voice, Options(seed=5))
    assert np.array_equal(first.samples, engine.speak(TEXT, voice, Options(seed=5)).samples)


def test_another_seed_gives_other_samples(engine: Engine, voice: Voice) -> None:
    seeds = (0, 1, 2, 2**63 - 1)
    sounds = {engine.speak("Hello.", voice, Options(seed=s)).samples.tobytes() for s in seeds}
    assert len(sounds) == len(seeds)


def test_another_engine_of_the_same_weights_gives_the_same_samples(
    engine: Engine, voice: Voice
) -> None:
    other = tiny.engine.__wrapped__()
    assert other is not engine
    assert np.array_equal(
        other.speak("Hello.", voice).samples, engine.speak("Hello.", voice).samples
    )


def test_what_was_said_before_does_not_change_a_sentence(engine: Engine, voice: Voice) -> None:
    options = Options(sentence_pause_ms=0.0)
    first = engine.speak(script("Yes."), voice, options).samples
    other = engine.speak(script("Certainly not."), voice, options).samples
    a = engine.speak(script("Yes.", "Goodbye."), voice, options).samples[len(first) :]
    b = engine.speak(script("Certainly not.", "Goodbye."), voice, options).samples[len(other) :]
    assert np.array_equal(a, b)


def test_a_sentence_said_twice_sounds_different_twice(engine: Engine, voice: Voice) -> None:
    options = Options(sentence_pause_ms=0.0)
    once = engine.speak(script("Yes."), voice, options).samples
    again = engine.speak(script("Yes.", "Yes."), voice, options).samples[len(once) :]
    assert not np.array_equal(once, again)


def test_sampling_flow_and_source_have_seeds_of_their_own(engine: Engine, voice: Voice) -> None:
    """More Euler steps take the same noise and leave the tokens, so the duration, as they are."""
    plain = engine.speak(TEXT, voice)
    finer = engine.speak(TEXT, voice, Options(steps=4))
    assert len(plain.samples) == len(finer.samples)
    assert not np.array_equal(plain.samples, finer.samples)


# ---- nothing global, nothing kept -------------------------------------------------------------


def inside(value: Any, path: str, seen: dict[int, str]) -> Iterator[tuple[str, object]]:
    """Walk all attributes of voxkit's objects and networks below `value`."""
    if id(value) in seen:
        return
    seen[id(value)] = path
    if isinstance(value, torch.Tensor):
        yield path, (value.data_ptr(), value._version, tuple(value.shape))
    elif isinstance(value, torch.nn.Module) or type(value).__module__.startswith("voxkit"):
        for name, inner in sorted(getattr(value, "__dict__", {}).items()):
            yield from inside(inner, f"{path}.{name}", seen)
    elif isinstance(value, dict) and len(value) > 10_000:
        yield path, (id(value), len(value))  # the dictionary of pronunciations
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from inside(inner, f"{path}[{name!r}]", seen)
    elif isinstance(value, (list, tuple)):
        for n, inner in enumerate(value):
            yield from inside(inner, f"{path}[{n}]", seen)
    else:
        yield path, repr(value)


def test_an_engine_is_never_written_to(engine: Engine, voice: Voice) -> None:
    def everything() -> dict[str, object]:
        """All but the states after references, of which another test says that none is heard."""
        return dict(inside(engine, "engine", {id(engine._readings): "elsewhere"}))

    engine.speak("Hello.", voice)
    before = everything()
    assert len(before) > 250
    engine.speak(TEXT, tiny.voice(1), Options(seed=9, speed=1.5, steps=1))
    engine.clone(tiny.tone(140, 3), name="carl", transcript="Hello there.")
    assert everything() == before


def test_nothing_global_is_seeded_or_written(engine: Engine, voice: Voice) -> None:
    def world() -> tuple[object, ...]:
        return (
            torch.random.get_rng_state().numpy().tobytes(),
            repr(np.random.get_state()),  # noqa: NPY002
            random.getstate(),
            dict(os.environ),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
        )

    before = world()
    stream = engine.stream(TEXT, voice, Options(seed=4))
    next(stream)
    assert world() == before  # between two pieces too
    list(stream)
    engine.clone(tiny.tone(140, 3), name="carl")
    assert world() == before


def test_two_requests_in_two_threads_each_sound_as_if_alone(engine: Engine) -> None:
    requests = [
        (TEXT, tiny.voice(0), Options(seed=1)),
        ("Good morning, everybody. Yes.", tiny.voice(1), Options(seed=2, speed=1.25, guidance=0)),
    ]
    alone = [engine.speak(*request).samples for request in requests]
    turns = [threading.Semaphore(1), threading.Semaphore(0)]
    heard: list[list[np.ndarray]] = [[], []]

    def listen(me: int) -> None:
        """Take a piece and hand over, so that both requests are under way all the time."""
        stream = engine.stream(*requests[me])
        while True:
            turns[me].acquire()
            piece = next(stream, None)
            turns[1 - me].release()
            if piece is None:
                turns[1 - me].release(1000)  # the other goes on by itself
                return
            heard[me].append(piece.samples)

    threads = [threading.Thread(target=listen, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for pieces, wanted in zip(heard, alone, strict=True):
        assert np.array_equal(np.concatenate(pieces), wanted)


def test_two_requests_at_once_each_sound_as_if_alone(engine: Engine, voice: Voice) -> None:
    alone = [engine.speak(TEXT, voice, Options(seed=seed)).samples for seed in range(2)]
    heard: dict[int, np.ndarray] = {}

    def speak(seed: int) -> None:
        heard[seed] = engine.speak(TEXT, voice, Options(seed=seed)).samples

    threads = [threading.Thread(target=speak, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for seed in range(2):
        assert np.array_equal(heard[seed], alone[seed])


def tensor_bytes() -> int:
    """Bytes of all tensors that are alive, counted once for each storage."""
    gc.collect()
    sizes = {}
    for found in gc.get_objects():
        # isinstance() would ask lazy objects too; sparse, meta and fake tensors have no memory
        if (
            issubclass(type(found), torch.Tensor)
            and not issubclass(type(found), FakeTensor)
            and found.layout == torch.strided
            and not found.is_meta
        ):
            storage = found.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def test_memory_does_not_grow_with_the_number_of_sentences(engine: Engine, voice: Voice) -> None:
    spoken = script(*["Hello."] * 10)
    stream = engine.stream(spoken, voice, Options(sentence_pause_ms=10.0, temperature=0.0))
    silence = round(0.01 * tiny.RATE)
    pauses, used = 0, []
    for piece in stream:
        if len(piece.samples) == silence and not piece.samples.any():
            pauses += 1
            if pauses in (2, 9):
                used.append(tensor_bytes())
    assert pauses == 9
    assert used[0] == used[1]


def test_a_stream_may_be_left_early(engine: Engine, voice: Voice) -> None:
    stream = engine.stream(TEXT, voice)
    first = next(stream)
    stream.close()
    assert np.array_equal(next(engine.stream(TEXT, voice)).samples, first.samples)


# ---- voices and texts that cannot be used -----------------------------------------------------


def test_a_voice_of_another_model_is_refused(engine: Engine) -> None:
    stranger = tiny.voice(made_by="voxkit-other:0123456789ab")
    with pytest.raises(VoiceError, match=r"'anna' was made by voxkit-other.*voxkit clone"):
        engine.speak("Hello.", stranger)


@pytest.mark.parametrize("text", ["", "  \n", "...", "🙂"])
def test_nothing_to_say_is_refused(engine: Engine, voice: Voice, text: str) -> None:
    with pytest.raises(TextError):
        engine.speak(text, voice)


def test_a_sentence_without_a_single_known_sound_is_refused(engine: Engine, voice: Voice) -> None:
    with pytest.raises(TextError, match="nothing tells how ƿ sounds"):
        engine.speak("ƿ", voice)


# ---- cloning ----------------------------------------------------------------------------------


def recording(seconds: float = 3.0) -> Audio:
    audio = tiny.tone(140, seconds)
    quiet = np.zeros(tiny.RATE // 4, np.float32)
    return Audio(np.concatenate([quiet, audio.samples, quiet]), audio.sample_rate)


def test_a_clone_can_be_spoken_with_at_once(engine: Engine) -> None:
    made = engine.clone(recording(), name="carl", transcript="Hello there, this is Carl.")
    assert (made.name, made.made_by, made.language) == ("carl", engine.fingerprint, "en")
    assert made.transcript == "Hello there, this is Carl."
    assert {"rate_phones_s", "energy_db"} <= set(made.attributes)
    assert engine.speak("Hello.", made).seconds > 0.1


def test_a_clone_is_made_of_the_clip_that_it_keeps(engine: Engine) -> None:
    made = engine.clone(recording(), name="carl")
    assert made.reference is not None
    assert made.transcript is None
    assert "rate_phones_s" not in made.attributes
    again = engine.parts.tokenizer.describe(made.reference, None)
    assert np.array_equal(again.tokens, made.tokens)
    assert np.array_equal(again.mel, made.mel)
    assert len(made.tokens) == int(made.reference.seconds * 50) // 2


def test_a_recording_without_speech_is_refused(engine: Engine) -> None:
    silence = Audio(np.zeros(3 * tiny.RATE, np.float32), tiny.RATE)
    with pytest.raises(AudioError):
        engine.clone(silence, name="carl")


def test_a_transcript_that_says_nothing_is_refused(engine: Engine) -> None:
    with pytest.raises(TextError):
        engine.clone(recording(), name="carl", transcript="...")


def test_the_tokens_of_a_clone_are_those_of_its_codes(engine: Engine) -> None:
    made = engine.clone(recording(), name="carl")
    tokenizer: Any = engine.parts.tokenizer
    mel = (torch.from_numpy(made.mel)[None] - tiny.MEL.mean) / tiny.MEL.scale
    codes = tokenizer.encoder(mel)
    assert codes_to_tokens(codes, 3)[0].tolist() == made.tokens.tolist()


# ---- voices of other models -------------------------------------------------------------------


def test_a_voice_of_this_model_is_adopted_as_it_is(engine: Engine, voice: Voice) -> None:
    assert engine.adopt(voice) is voice


def test_a_voice_of_another_model_is_made_anew_from_its_recording(engine: Engine) -> None:
    told = {"description": "A buzz", "source": "tones", "licence": "CC0", "consent": "given"}
    clip = engine.clone(recording(), name="carl").reference
    stranger = tiny.voice(
        3, name="carl", made_by="voxkit-other:1", transcript=None, reference=clip, **told
    )
    adopted = engine.adopt(stranger)
    assert adopted.made_by == engine.fingerprint
    assert {name: getattr(adopted, name) for name in told} == told
    assert adopted.name == "carl"
    fresh = engine.clone(clip, name="carl")
    assert np.array_equal(adopted.tokens, fresh.tokens)
    assert engine.speak("Hello.", adopted).seconds > 0.1


def test_a_voice_of_another_model_without_a_recording_is_refused(engine: Engine) -> None:
    with pytest.raises(VoiceError, match="voxkit clone"):
        engine.adopt(tiny.voice(made_by="voxkit-other:1"))
