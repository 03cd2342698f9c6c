"""The native token generator: phones in, speech tokens out, one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from voxkit.errors import TextError
from voxkit.generator import PhoneFrontend, PhoneGenerator, voice_tensors, wanted_sampling
from voxkit.modules.ras import Choice, following
from voxkit.options import Options
from voxkit.phonemes import SYMBOLS, Lexicon
from voxkit.voice import Voice

TEXT = tiny.phone_ids("_ HH AH0 L OW1 _ DH EH1 R .")
STOP = tiny.SPEC.tokenizer.codebook


@pytest.fixture(scope="module")
def generator() -> PhoneGenerator:
    return tiny.engine().parts.generator


def spoken(
    generator: PhoneGenerator,
    text: tuple[int, ...] = TEXT,
    voice: Voice | None = None,
    options: Options | None = None,
    seed: int = 0,
) -> list[int]:
    voice = voice or tiny.voice()
    return list(generator.tokens(text, voice, options or Options(), tiny.seeded(seed)))


class Rigged(PhoneGenerator):
    """Always wants what `favourite` says most of all."""

    favourite = STOP

    def _follow(
        self, x: Tensor | int, cache: Any, choice: Choice, mask: Tensor | None
    ) -> tuple[int, Any]:
        logits = torch.zeros(STOP + 1)
        logits[STOP] = -1000.0
        logits[self.favourite] = 100.0
        return following(logits, choice), cache


class Tireless(Rigged):
    favourite = 5


# ---- length -----------------------------------------------------------------------------------


def test_bounds_follow_the_length_of_the_text(generator: PhoneGenerator) -> None:
    least, most = generator.bounds(TEXT)
    phones = sum(1 for i in TEXT if SYMBOLS[i][0].isalpha())
    assert phones == 7
    assert least == int(7 * tiny.SPEC.generator.min_tokens_per_phone)
    assert most == 12 + int(len(TEXT) * tiny.SPEC.generator.max_tokens_per_phone)
    assert generator.bounds(tiny.phone_ids("_ AY1 .")) == (2, 15)  # never less than two


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_speech_never_stops_before_its_least_length(temperature: float) -> None:
    eager = Rigged(tiny.SPEC, tiny.modules()["generator"])
    made = spoken(eager, options=Options(temperature=temperature))
    assert len(made) == eager.bounds(TEXT)[0]
    assert STOP not in made


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_speech_always_stops_at_its_greatest_length(temperature: float) -> None:
    tireless = Tireless(tiny.SPEC, tiny.modules()["generator"])
    made = spoken(tireless, options=Options(temperature=temperature))
    assert len(made) == tireless.bounds(TEXT)[1]


def test_repetitions_are_broken_but_at_temperature_zero() -> None:
    tireless = Tireless(tiny.SPEC, tiny.modules()["generator"])
    assert set(spoken(tireless, options=Options(temperature=0.0))) == {5}
    limit = tiny.SPEC.generator.sampling.repeat_limit
    made = spoken(tireless)
    assert made[:limit] == [5] * limit
    assert made[limit] != 5


@pytest.mark.parametrize("seed", range(8))
def test_every_token_is_one_of_the_codebook(generator: PhoneGenerator, seed: int) -> None:
    made = spoken(generator, seed=seed)
    least, most = generator.bounds(TEXT)
    assert least <= len(made) <= most
    assert set(made) <= set(range(STOP))


# ---- the numbers ------------------------------------------------------------------------------


def test_drawing_greedily_is_the_argmax_of_a_full_pass(generator: PhoneGenerator) -> None:
    made = spoken(generator, options=Options(temperature=0.0))
    model = generator.model
    heard, said = model.tables()
    speaker, values, given = voice_tensors(tiny.voice(), tiny.SPEC, torch.device("cpu"))
    prefix = model.prefix(speaker, values, given, torch.tensor([TEXT]))
    x = torch.cat([prefix, heard[torch.tensor(made)][None]], dim=1)
    text = prefix.shape[1] - 1  # voice and phones
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    mask[:text, :text] = True
    hidden, _ = model.transformer(x, model.transformer.init_cache(1), mask)
    logits = F.linear(hidden[0, text:], said)
    least, most = generator.bounds(TEXT)
    for n, token in enumerate([*made, STOP][:most]):
        if n < least:
            logits[n, STOP] = -torch.inf
        assert int(logits[n].argmax()) == token, n


def test_a_seed_gives_the_same_tokens_and_another_gives_others(generator: PhoneGenerator) -> None:
    assert spoken(generator, seed=3) == spoken(generator, seed=3)
    assert len({tuple(spoken(generator, seed=seed)) for seed in range(5)}) == 5


def test_at_temperature_zero_the_seed_does_not_matter(generator: PhoneGenerator) -> None:
    greedy = Options(temperature=0.0)
    assert spoken(generator, options=greedy, seed=1) == spoken(generator, options=greedy, seed=2)
    assert (
        spoken(generator, options=Options(top_k=1, top_p=0.01), seed=1)[:3]
        == spoken(generator, options=greedy)[:3]
    )


def test_the_voice_has_an_effect(generator: PhoneGenerator) -> None:
    faster = tiny.voice(attributes={"pitch_hz": 400.0, "rate_phones_s": 20.0})
    voices = (tiny.voice(), faster, tiny.voice(attributes={}), tiny.voice(1))
    assert len({tuple(spoken(generator, voice=voice)) for voice in voices}) == 4


def test_the_text_has_an_effect(generator: PhoneGenerator) -> None:
    other = tiny.phone_ids("_ G UH1 D _ B AY1 .")
    assert spoken(generator)[:5] != spoken(generator, other)[:5]


def test_tokens_come_one_by_one(generator: PhoneGenerator) -> None:
    stream: Iterator[int] = generator.tokens(TEXT, tiny.voice(), Options(), tiny.seeded(0))
    first = [next(stream) for _ in range(3)]
    assert first == spoken(generator)[:3]


def test_two_requests_may_take_turns(generator: PhoneGenerator) -> None:
    a = generator.tokens(TEXT, tiny.voice(0), Options(), tiny.seeded(1))
    b = generator.tokens(TEXT, tiny.voice(1), Options(), tiny.seeded(2))
    pairs = list(zip(a, b, strict=False))
    count = len(pairs)
    assert count > 4
    assert [p[0] for p in pairs] == spoken(generator, seed=1)[:count]
    assert [p[1] for p in pairs] == spoken(generator, voice=tiny.voice(1), seed=2)[:count]


# ---- what it is told --------------------------------------------------------------------------


def test_what_a_call_asks_for_goes_before_the_model_s_own() -> None:
    own = tiny.SPEC.generator.sampling
    assert wanted_sampling(own, Options()) == own
    asked = Options(temperature=0.0, top_p=0.5, top_k=7)
    assert wanted_sampling(own, asked) == dataclasses.replace(
        own, temperature=0.0, top_p=0.5, top_k=7
    )


def test_a_voice_becomes_three_rows() -> None:
    voice = tiny.voice(attributes={"pitch_hz": 150.0})
    speaker, values, given = voice_tensors(voice, tiny.SPEC, torch.device("cpu"))
    assert torch.equal(speaker[0], torch.from_numpy(voice.speaker))
    assert given.tolist() == [[0, 1, 0, 0]]
    assert values.shape == (1, 4)
    assert all(t.dtype == torch.float32 for t in (speaker, values, given))


class Spelling:
    """Reads every unknown word as one vowel."""

    def phones(self, word: str) -> tuple[str, ...]:
        return ("AA1",)


@pytest.fixture(scope="module")
def frontend() -> PhoneFrontend:
    return PhoneFrontend(tiny.SPEC.text, Lexicon.bundled(), Spelling())


@pytest.mark.parametrize(
    ("sentence", "symbols"),
    [
        ("Hello.", "_ HH AH0 L OW1 ."),
        ("Hello", "_ HH AH0 L OW1 ,"),
        ("Hello, you!", "_ HH AH0 L OW1 , _ Y UW1 !"),
        ("blorfex?", "_ AA1 ?"),
        ("", ""),
    ],
)
def test_text_becomes_phones_that_end_in_a_mark(
    frontend: PhoneFrontend, sentence: str, symbols: str
) -> None:
    assert frontend.ids(sentence) == tiny.phone_ids(symbols)


def test_sentences_have_no_more_words_than_the_spec_says(frontend: PhoneFrontend) -> None:
    words = "one two three four, five six seven eight nine ten, eleven twelve thirteen."
    sentences = frontend.prepare(words).sentences
    assert len(sentences) > 1
    assert max(len(s.text.split()) for s in sentences) <= tiny.SPEC.text.max_words


def test_a_word_that_nothing_tells_how_to_say_is_reported(frontend: PhoneFrontend) -> None:
    script = frontend.prepare("Ƿ is an old letter. ƿƿ! Fine ¤ day.")
    assert script.unsaid == ("¤", "Ƿ", "ƿƿ")
    assert [s.source for s in script.sentences] == ["Ƿ is an old letter.", "Fine ¤ day."]


def test_a_text_of_nothing_but_unknown_words_is_refused(frontend: PhoneFrontend) -> None:
    with pytest.raises(TextError, match="Ƿ"):
        frontend.prepare("Ƿ.")


def test_ids_are_whole_numbers_of_the_symbol_table(frontend: PhoneFrontend) -> None:
    ids = frontend.ids("The quick brown fox, said Anna; jumps over?")
    assert all(type(i) is int and 0 < i < len(SYMBOLS) for i in ids)
    assert np.array(ids).dtype == np.int64


def test_an_instruction_is_not_for_a_model_that_reads_phones(generator: PhoneGenerator) -> None:
    told = generator.tokens(TEXT, tiny.voice(), Options(), tiny.seeded(0), instruction="Whisper.")
    with pytest.raises(ValueError, match="takes no instruction"):
        next(told)


def test_no_token_is_read_as_nothing(generator: PhoneGenerator) -> None:
    assert generator._heard([]).shape == (1, 0, tiny.SPEC.generator.transformer.width)
