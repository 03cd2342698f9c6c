"""Streaming, for every family: text in any pieces, sound by hops, many requests at once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_cosyvoice
import torch
from tiny import cuts

import voxkit.arriving
from voxkit import cosyvoice
from voxkit.audio import Audio
from voxkit.engine import Engine, Parts
from voxkit.errors import Interrupted, TextError
from voxkit.options import Options
from voxkit.voice import Voice

FAMILIES = ("native", *tiny_cosyvoice.FAMILIES)
TEXT = "Hello world hello there, world. Hello again. Bye."
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


def test_the_first_sound_needs_no_more_tokens_than_the_first_hop(model: Model) -> None:
    made: list[int] = []
    generator = model.engine.parts.generator

    class Counting:
        def tokens(self, *told: Any, **wishes: Any) -> Iterator[int]:
            for token in generator.tokens(*told, **wishes):
                made.append(token)
                yield token

    engine = with_parts(model.engine, generator=Counting())
    with engine.stream("Hello world " * 6, model.voices[0]) as stream:
        next(stream)
    hops = engine.parts.decoder.hops(model.voices[0], ())
    # The tiny vocoders hold back more frames than the first hop brings.
    assert len(made) <= sum(next(hops) for _ in range(3))


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
    count = 8 if engine.spec.family == "native" else 4
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


def test_what_is_computed_grows_with_the_length_and_no_faster(model: Model) -> None:
    """Frames that pass the networks, counted in every matrix product of decoder and vocoder."""
    engine, voice = model.engine, model.voices[0]
    nets = [net for part in ("decoder", "vocoder") for net in networks(getattr(engine.parts, part))]

    def rows(count: int, hop: int) -> int:
        """Rows through all linear layers and convolutions while `count` tokens are spoken."""
        total = 0

        def note(module: torch.nn.Module, given: tuple[torch.Tensor, ...], made: Any) -> None:
            nonlocal total
            total += made.numel()

        hooks = [
            module.register_forward_hook(note)
            for net in nets
            for module in net.modules()
            if isinstance(module, torch.nn.Linear | torch.nn.Conv1d | torch.nn.ConvTranspose1d)
        ]
        start = engine.parts.decoder.init_state(voice, Options())
        total = 0
        state = engine.parts.decoder.seed(start, tiny.seeded(0))
        wav_state = engine.parts.vocoder.init_state(tiny.seeded(1))
        tokens = torch.arange(count) % 16
        for begin in range(0, count, hop):
            last = begin + hop >= count
            mel, state = engine.parts.decoder.decode(tokens[begin : begin + hop], state, last)
            _, wav_state = engine.parts.vocoder.vocode(mel, wav_state, last)
        for hook in hooks:
            hook.remove()
        return total

    cost = {count: rows(count, 20) for count in (40, 80, 160)}
    assert cost[160] - cost[80] <= 1.02 * 2 * (cost[80] - cost[40])
    assert cost[160] <= 1.3 * rows(160, 160) or engine.spec.family != "native"


def networks(part: Any) -> list[torch.nn.Module]:
    """The networks that a part holds, directly or one level below."""
    inner = [part, *vars(part).values()]
    found = [v for value in inner for v in getattr(value, "__dict__", {}).values()]
    return [net for net in found if isinstance(net, torch.nn.Module)]
