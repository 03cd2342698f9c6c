"""Streaming, for every family: text in any pieces, sound by hops, many requests at once."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_cosyvoice
import torch
from tiny import cuts
from torch.utils.flop_counter import FlopCounterMode

import voxkit.arriving
from voxkit import cosyvoice
from voxkit.audio import Audio
from voxkit.engine import Engine, Parts
from voxkit.errors import Interrupted, TextError
from voxkit.modules import encoded_flow
from voxkit.modules.hift import reach
from voxkit.options import Options
from voxkit.prosody import NATURAL
from voxkit.spec import ModelSpec, without_quirks
from voxkit.voice import Voice

FAMILIES = ("native", *tiny_cosyvoice.FAMILIES)
TEXT = "Hello world hello there, world. Hello again. Bye."
# The hop that is heard first.  The tiny vocoders hold back about as much as the real ones, whose
# hops are five times as long: native gives blocks of 10 frames, and its hops bring 4, none and 10;
# CosyVoice 2 holds back 15 frames of the first 14, CosyVoice 3 holds back 9.
FIRST_HEARD = {"native": 3, "cosyvoice2": 2, "cosyvoice3": 1}
WAIT_S = 60.0  # never reached unless something hangs


@dataclasses.dataclass(frozen=True)
class Model:
    """An engine and voices that it can read."""

    engine: Engine
    voices: tuple[Voice, Voice]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param == "native":
        return Model(tiny.engine(), (tiny.voice(0), tiny.voice(1)))
    root = tmp_path_factory.mktemp(request.param)
    hub = tiny_cosyvoice.hub_folder(root / "hub", request.param)
    (root / "converted").mkdir()
    cosyvoice.convert(hub, root / "converted")
    made = cosyvoice.load(hub, root / "converted", device=torch.device("cpu"))
    parts = Parts(made.frontend, made.tokenizer, made.generator, made.decoder, made.vocoder)
    engine = Engine(
        made.spec, parts, fingerprint=cosyvoice.fingerprint(made.spec), default_voice=""
    )
    voices = [tiny_cosyvoice.voice(made.spec, seed=seed, tokens=13 - seed) for seed in range(2)]
    return Model(engine, (voices[0], voices[1]))


def joined(pieces: Iterator[Audio]) -> np.ndarray:
    return np.concatenate([piece.samples for piece in pieces])


def with_parts(engine: Engine, **parts: Any) -> Engine:
    changed = dataclasses.replace(engine.parts, **parts)
    return Engine(engine.spec, changed, fingerprint=engine.fingerprint, default_voice="")


class Counting:
    """A generator that counts the tokens it gave out."""

    def __init__(self, generator: Any) -> None:
        self.generator, self.made = generator, 0

    def tokens(self, *told: Any, **wishes: Any) -> Iterator[int]:
        for token in self.generator.tokens(*told, **wishes):
            self.made += 1
            yield token


class Rehopped:
    """A decoder whose hops are random; it notes how many mel frames it gave out."""

    def __init__(self, decoder: Any, seed: int | None) -> None:
        self.decoder, self.seed_of_hops = decoder, seed
        self.frames = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.decoder, name)

    def hops(self, voice: Voice, earlier: Any = ()) -> Iterator[int]:
        if self.seed_of_hops is None:
            yield 10**9
        rng = np.random.default_rng(self.seed_of_hops)
        while True:
            yield int(rng.integers(1, 17))


# ---- sound out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_sound_in_random_hops_is_that_of_one_hop(model: Model, seed: int) -> None:
    engine, voice = model.engine, model.voices[0]
    one, many = (
        with_parts(engine, decoder=Rehopped(engine.parts.decoder, s)) for s in (None, seed)
    )
    whole = joined(one.stream(TEXT, voice))
    pieces = list(many.stream(TEXT, voice))
    assert len(pieces) > 3
    streamed = joined(iter(pieces))
    assert streamed.shape == whole.shape
    # The same masks: only rounding differs, where matrices have other shapes.
    assert float(np.abs(streamed - whole).max()) < 1e-4


def test_the_first_sound_comes_with_the_first_hop_that_fills_the_vocoder(model: Model) -> None:
    generator = Counting(model.engine.parts.generator)
    engine = with_parts(model.engine, generator=generator)
    with engine.stream("Hello world " * 6, model.voices[0]) as stream:
        next(stream)
    hops = engine.parts.decoder.hops(model.voices[0], ())
    assert generator.made == sum(next(hops) for _ in range(FIRST_HEARD[engine.spec.family]))


def test_the_first_sound_of_the_bundled_model_comes_with_its_first_chunk() -> None:
    bundled = voxkit.load(device="cpu", threads=1)
    generator = Counting(bundled.parts.generator)
    engine = with_parts(bundled, generator=generator)
    voice = voxkit.find_voice(bundled.default_voice)
    with engine.stream("The birch canoe slid on the smooth planks.", voice) as stream:
        next(stream)
    assert isinstance(engine.spec, ModelSpec)
    decoder = engine.spec.decoder
    assert generator.made == (decoder.first_chunk or decoder.chunk) + decoder.lookahead


@pytest.mark.parametrize("family", tiny_cosyvoice.FAMILIES)
def test_the_first_hop_of_a_released_model_brings_more_than_its_vocoder_holds_back(
    family: str,
) -> None:
    spec = without_quirks(tiny_cosyvoice.released(family))
    seen = reach(spec.vocoder)
    held = seen.f0_right + (spec.vocoder.phase == "linear") + seen.right
    for prompt in range(1, 101):  # tokens of the reference
        first = next(encoded_flow.hops(spec.stream, spec.decoder, prompt, spec.stream.first_hop))
        assert spec.mel_per_token * (first - spec.decoder.lookahead) > held


# ---- text in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_how_arriving_text_is_cut_changes_no_sample(model: Model, seed: int) -> None:
    engine, voice = model.engine, model.voices[0]
    rng = np.random.default_rng(seed)
    pieces = [TEXT[a:b] for a, b in cuts(len(TEXT), rng, 5 + 20 * seed)]
    options = Options(seed=4)
    assert np.array_equal(
        joined(engine.stream(pieces, voice, options)), joined(engine.stream([TEXT], voice, options))
    )


def test_a_sentence_without_clauses_sounds_as_in_a_whole_text(model: Model) -> None:
    engine, voice = model.engine, model.voices[0]
    arrived = joined(engine.stream(["Hel", "lo wor", "ld."], voice))
    assert np.array_equal(arrived, joined(engine.stream("Hello world.", voice)))


def test_sound_comes_while_the_text_is_still_being_written(model: Model) -> None:
    asked: list[str] = []

    def text() -> Iterator[str]:
        for piece in ("Hello world again. ", "Hello ", "hello ", "hello there, ", "world and", "."):
            asked.append(piece)
            yield piece

    stream = model.engine.stream(text(), model.voices[0])
    next(stream)
    assert len(asked) <= 4
    rest = joined(stream)
    assert len(asked) == 6
    assert len(rest)


def test_words_that_cannot_be_said_are_told_as_they_come(model: Model) -> None:
    stream = model.engine.stream(iter(["Hello ☃ world. Hello", " again ☂. "]), model.voices[0])
    told = []
    for _ in stream:
        told.append(stream.unsaid)
    assert told[0] == ("☃",)
    assert told[-1] == ("☃", "☂")


@pytest.mark.parametrize("pieces", [[], [""], [" \n", "..."]])
def test_text_that_never_says_anything_is_refused(model: Model, pieces: list[str]) -> None:
    with pytest.raises(TextError, match="nothing to say"):
        list(model.engine.stream(pieces, model.voices[0]))


def test_an_error_of_the_writer_reaches_the_listener(model: Model) -> None:
    def text() -> Iterator[str]:
        yield "Hello world. Hello"
        raise ConnectionResetError("the writer has gone")

    stream = model.engine.stream(text(), model.voices[0])
    with pytest.raises(ConnectionResetError):
        list(stream)


def test_a_sentence_without_end_is_spoken_in_bounded_parts(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxkit.arriving, "LONGEST", 60)  # characters, so that it is quick
    counts: list[int] = []

    class Noting(Rehopped):
        def hops(self, voice: Voice, earlier: Any = ()) -> Iterator[int]:
            counts[:] = earlier
            yield from self.decoder.hops(voice, earlier)

    engine = with_parts(model.engine, decoder=Noting(model.engine.parts.decoder, 0))
    endless = ("hello there wide world, " for _ in range(9))
    list(engine.stream(endless, model.voices[0]))
    assert len(counts) == 2  # complete before the last began
    assert max(counts) < 3 * min(counts)


# ---- many at once, and stopping -----------------------------------------------------------------


def test_many_requests_in_as_many_threads_each_sound_as_if_alone(model: Model) -> None:
    engine = model.engine
    text = TEXT[:44]
    count = 8
    requests: list[tuple[Any, Voice, Options]] = [
        (
            text if n % 2 else [text[:20], text[20:]],
            model.voices[n % 2],
            Options(seed=n, speed=1.0 + n % 3 / 4),
        )
        for n in range(count)
    ]
    alone = [joined(engine.stream(*request)) for request in requests]
    heard: list[list[np.ndarray]] = [[] for _ in requests]
    together = threading.Barrier(len(requests))

    def listen(me: int) -> None:
        together.wait(WAIT_S)
        for piece in engine.stream(*requests[me]):
            heard[me].append(piece.samples)

    threads = [threading.Thread(target=listen, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    for pieces, wanted in zip(heard, alone, strict=True):
        assert np.array_equal(np.concatenate(pieces), wanted)


def test_closing_stops_the_work_at_the_next_token(model: Model) -> None:
    made: list[int] = []
    streams: list[Any] = []
    generator = model.engine.parts.generator

    class Closing:
        def tokens(self, *told: Any, **wishes: Any) -> Iterator[int]:
            for token in generator.tokens(*told, **wishes):
                made.append(token)
                if len(made) == 30:
                    streams[0].close()  # as another thread would, in the middle of a hop
                yield token

    engine = with_parts(model.engine, generator=Closing())
    streams.append(engine.stream("Hello world. " * 5, model.voices[0]))
    with pytest.raises(Interrupted) as stopped:
        list(streams[0])
    assert len(made) == 30
    assert stopped.value.spoken_text == streams[0].spoken_text()
    assert streams[0].spoken_text() != ""
    assert ("Hello world. " * 5).startswith(streams[0].spoken_text())


def test_all_of_the_text_is_said_at_the_end(model: Model) -> None:
    stream = model.engine.stream(TEXT, model.voices[0])
    list(stream)
    assert stream.spoken_text() == TEXT


# ---- cost ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cost:
    """Operations of decoder and vocoder while some tokens are spoken."""

    attention: int  # products of queries, keys and values
    other: int  # linear layers and convolutions

    @property
    def total(self) -> int:
        return self.attention + self.other


def attention_flop(
    query: Sequence[int], key: Sequence[int], *_: object, out_val: object = None, **__: object
) -> int:
    """Operations of attention that sees every key: masks save none."""
    return 4 * math.prod(query) * key[-2]


def cost(model: Model, count: int, hop: int) -> Cost:
    """Count what it takes to speak `count` tokens in hops of one size."""
    parts = model.engine.parts
    state = parts.decoder.seed(parts.decoder.init_state(model.voices[0], Options()), tiny.seeded(0))
    wav_state = parts.vocoder.init_state(tiny.seeded(1), NATURAL)
    tokens = torch.arange(count) % 16
    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={on_cpu: attention_flop}) as counter:
        for begin in range(0, count, hop):
            last = begin + hop >= count
            mel, state = parts.decoder.decode(tokens[begin : begin + hop], state, last)
            _, wav_state = parts.vocoder.vocode(mel, wav_state, last)
    found = {str(name): flop for name, flop in counter.get_flop_counts()["Global"].items()}
    # Products of batches are those of relative positions, which are attention too.
    attention = sum(n for name, n in found.items() if "attention" in name or "bmm" in name)
    return Cost(attention, sum(found.values()) - attention)


@pytest.fixture(scope="module")
def costs(model: Model) -> dict[tuple[int, int], Cost]:
    """What it takes to speak 40, 80 and 120 tokens in hops of 20, and 120 in one."""
    return {asked: cost(model, *asked) for asked in ((40, 20), (80, 20), (120, 20), (120, 120))}


# What grows is attention: a frame sees all earlier ones of its utterance, so that a second of
# speech costs more the later it comes.  The text splitter bounds how long an utterance is, and each
# starts anew.  Everything else looks back a fixed number of frames.


def test_all_but_attention_costs_the_same_early_and_late(
    costs: dict[tuple[int, int], Cost],
) -> None:
    other = [costs[count, 20].other for count in (40, 80, 120)]
    assert other[2] - other[1] == other[1] - other[0]


def test_attention_costs_no_more_in_hops_than_in_one(costs: dict[tuple[int, int], Cost]) -> None:
    # In one hop two chunks go through together, and a mask hides what the first must not see.
    assert 0 < costs[120, 20].attention <= 1.001 * costs[120, 120].attention
    assert costs[120, 20].attention <= (120 / 80) ** 2 * costs[80, 20].attention


def test_hops_repeat_little_of_the_work_of_one(costs: dict[tuple[int, int], Cost]) -> None:
    # The native parts repeat nothing.  HiFT vocodes each hop together with the frames that it still
    # sees, about ten: more beside the 40 of these hops than beside the 200 of real ones.
    assert costs[120, 20].other <= 1.3 * costs[120, 120].other
    assert costs[120, 20].total <= 1.2 * costs[120, 120].total
