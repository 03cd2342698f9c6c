"""The CosyVoice token LM: lengths, marks, and text that arrives while it speaks."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tiny import seeded
from tiny_cosyvoice import FAMILIES, networks, spec_of
from torch import Tensor

from voxkit.cosyvoice_spec import CosyVoiceSpec
from voxkit.errors import ModelError
from voxkit.modules.ras import Choice, Likely, Sampler, Terms
from voxkit.modules.speech_lm import SpeechLm, shorten_silences, speak, speak_streamed
from voxkit.spec import SamplingSpec, without_quirks

TEXT = [3, 17, 99, 4, 50, 6, 7, 120, 9, 10, 11, 12]


def quirky(family: str, **quirks: bool) -> SpeechLm:
    """A LM of random weights that follows the named quirks alone."""
    spec = without_quirks(spec_of(family))
    changed = dataclasses.replace(spec.generator.quirks, **quirks)
    generator = dataclasses.replace(
        spec.generator,
        quirks=changed,
        max_tokens_per_text_id=4.0,  # a fifth of the released one, for speed
    )
    return networks(dataclasses.replace(spec, generator=generator))["generator"]


@pytest.fixture(scope="module", params=FAMILIES)
def lm(request: pytest.FixtureRequest) -> SpeechLm:
    return quirky(request.param)


GREEDY = SamplingSpec(temperature=0.0, top_p=1.0, top_k=1, repeat_window=1, repeat_limit=2)


def nothing(weights: Tensor) -> int:
    raise AssertionError("what is certain is not drawn")


@dataclass(frozen=True)
class Always(Sampler):
    """Chooses one token whenever it is allowed, else the likeliest."""

    favourite: int = 0

    def choice(self, history: Sequence[int], forbidden: tuple[int, ...] = ()) -> Choice:
        def choose(found: Likely) -> int:
            allowed = found.scores[self.favourite] > -torch.inf
            return self.favourite if allowed else int(found.ids[0])

        return Choice(Terms(GREEDY, forbidden), choose)


greedy = Sampler(GREEDY, nothing)


def always(token: int) -> Sampler:
    return Always(GREEDY, nothing, token)


class Recorded:
    """Counts and keeps what the network is given to read."""

    def __init__(self, lm: SpeechLm, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[Tensor] = []
        step = lm.step

        def listening(x: Tensor, cache: Any) -> Any:
            self.read.append(x[0])
            return step(x, cache)

        monkeypatch.setattr(lm, "step", listening)

    def rows(self) -> Tensor:
        return torch.cat(self.read)


def layout(lm: SpeechLm, rows: Tensor) -> list[str]:
    """Name each embedding that was read: t12 text, s5 speech, or the mark."""
    tables = {"t": lm.text.weight, "s": lm.speech.weight}
    if lm.marks is not None:
        tables["m"] = lm.marks.weight
    names = []
    for row in rows:
        kind, index = min(
            ((k, int((t - row).abs().sum(dim=1).argmin())) for k, t in tables.items()),
            key=lambda found: float((tables[found[0]][found[1]] - row).abs().sum()),
        )
        spec = lm.spec
        mark = kind == ("m" if lm.marks is not None else "s")
        if mark and index in (spec.start_id, spec.task_id):
            names.append("start" if index == spec.start_id else "task")
        else:
            names.append(f"{kind}{index}")
    return names


def test_the_prompt_is_start_text_task_and_reference(lm: SpeechLm) -> None:
    names = layout(lm, lm.prompt([5, 6], [1, 2, 3])[0])
    assert names == ["start", "t5", "t6", "task", "s1", "s2", "s3"]


def test_reading_one_by_one_gives_the_logits_of_reading_at_once(lm: SpeechLm) -> None:
    x = lm.prompt(TEXT, [1, 2, 3, 4])
    whole, _ = lm.step(x, lm.transformer.init_cache(1))
    cache = lm.transformer.init_cache(1)
    for at in range(x.shape[1]):
        logits, cache = lm.step(x[:, at : at + 1], cache)
    torch.testing.assert_close(logits, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stop", ["end_id", "fill_id", "first_stop_id"])
def test_no_stop_id_ends_it_before_the_minimum(lm: SpeechLm, stop: str) -> None:
    sampler = always(getattr(lm.spec, stop))
    assert len(list(speak(lm, TEXT, [], sampler, lengths=(7, 20)))) == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_compat_lets_other_stop_ids_end_it_early(family: str) -> None:
    lm = quirky(family, mask_only_first_stop_id=True)
    spec = lm.spec
    other = next(i for i in (spec.end_id, spec.fill_id) if i != spec.first_stop_id)
    assert list(speak(lm, TEXT, [], always(other), lengths=(7, 20))) == []
    said = list(speak(lm, TEXT, [], always(spec.first_stop_id), lengths=(7, 20)))
    if spec.end_id == spec.first_stop_id:
        assert len(said) == 7


def test_the_maximum_ends_it(lm: SpeechLm) -> None:
    assert list(speak(lm, TEXT, [], always(5), lengths=(0, 9))) == [5] * 9
    assert list(speak(lm, TEXT, [], always(5), lengths=(0, 0))) == []


def streamed(
    lm: SpeechLm,
    pieces: Iterable[Sequence[int]],
    prompt: Sequence[int] = (),
    tokens: Sequence[int] = (),
    sampler: Sampler = greedy,
) -> list[int]:
    return list(speak_streamed(lm, pieces, prompt, tokens, sampler))


@pytest.mark.parametrize("tokens", [0, 7, 40])
def test_how_streamed_text_is_cut_changes_nothing(lm: SpeechLm, tokens: int) -> None:
    generator = seeded(tokens)
    heard = torch.randint(lm.spec.first_stop_id, (tokens,), generator=generator).tolist()
    prompt = [20, 21, 22]
    results = [
        streamed(lm, [TEXT[i : i + size] for i in range(0, len(TEXT), size)], prompt, heard)
        for size in (1, 12)
    ]
    results.append(streamed(lm, [[], TEXT[:7], [], TEXT[7:]], prompt, heard))
    assert results[0]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("family", FAMILIES)
def test_streamed_text_and_speech_alternate_five_to_fifteen(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = quirky(family)
    recorded = Recorded(lm, monkeypatch)
    said = streamed(lm, [TEXT], sampler=always(5))
    names = layout(lm, recorded.rows())
    text = [f"t{i}" for i in TEXT]
    run = ["s5"] * 15  # the fill id ends it and is itself not read
    expected = ["start", *text[:5], *run, *text[5:10], *run, *text[10:], "task"]
    assert names[: len(expected)] == expected
    most = int(lm.spec.max_tokens_per_text_id * len(TEXT))
    assert said == [5] * most


@pytest.mark.parametrize("family", FAMILIES)
def test_a_streamed_reference_is_read_first_to_the_last_token(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = quirky(family)
    recorded = Recorded(lm, monkeypatch)
    heard = [i % 30 + 3 for i in range(40)]
    streamed(lm, [TEXT[:8]], sampler=greedy, tokens=heard)
    names = layout(lm, recorded.read[0])
    speech, text = [f"s{i}" for i in heard], [f"t{i}" for i in TEXT]
    # 8 text ids carry one run; the end of text lets the rest of both be read
    assert names == ["start", *text[:5], *speech[:15], *text[5:8], "task", *speech[15:]]


@pytest.mark.parametrize("family", FAMILIES)
def test_compat_drops_the_unread_reference_at_the_end_of_text(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = quirky(family, text_stream_drops_prompt=True)
    recorded = Recorded(lm, monkeypatch)
    streamed(lm, [TEXT[:8]], tokens=list(range(30)))
    assert layout(lm, recorded.read[0])[-1] == "task"


@pytest.mark.parametrize("refeeds", [True, False])
def test_the_last_token_is_read_once_but_twice_in_compat(
    refeeds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = quirky("cosyvoice2", text_stream_refeeds_last=refeeds)
    recorded = Recorded(lm, monkeypatch)
    streamed(lm, [TEXT[:6]], sampler=always(5))
    names = layout(lm, recorded.rows())
    assert names.index("t6") - names.index("t50") - 1 == (16 if refeeds else 15)


def test_compat_waits_for_a_piece_before_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = quirky("cosyvoice2", text_stream_one_burst_per_piece=True)
    recorded = Recorded(lm, monkeypatch)
    streamed(lm, [TEXT], sampler=always(5))
    names = layout(lm, recorded.rows())
    assert names.count("task") == 1
    assert names[21 : 21 + 8] == [*(f"t{i}" for i in TEXT[5:]), "task"]


def test_the_system_prompt_comes_before_the_streamed_text(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = quirky("cosyvoice3")
    end = lm.spec.prompt_end_id
    assert end is not None
    recorded = Recorded(lm, monkeypatch)
    streamed(lm, [TEXT], prompt=[1, 2, end, 8])
    names = layout(lm, recorded.read[0])
    assert names == ["start", "t1", "t2", f"t{end}", "t8", *(f"t{i}" for i in TEXT[:4])]


def test_compat_speaks_after_the_system_prompt_without_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = quirky("cosyvoice3", text_stream_decodes_before_text=True)
    end = lm.spec.prompt_end_id
    assert end is not None
    recorded = Recorded(lm, monkeypatch)
    streamed(lm, [TEXT], prompt=[1, end])
    assert layout(lm, recorded.read[0]) == ["start", "t1", f"t{end}"]


def test_the_first_token_comes_before_the_last_text(lm: SpeechLm) -> None:
    def typing() -> Iterator[Sequence[int]]:
        for count, one in enumerate(TEXT):
            typed.append(one)
            assert count < 5 or said, "nothing was said although five text ids were there"
            yield [one]

    typed: list[int] = []
    said: list[int] = []
    for token in speak_streamed(lm, typing(), (), (), always(5)):
        said.append(token)
        if len(said) == 1:
            assert len(typed) == 5


def test_streamed_speech_keeps_to_its_minimum_and_maximum(lm: SpeechLm) -> None:
    spec = lm.spec
    shortest = streamed(lm, [TEXT], sampler=always(spec.end_id))
    assert len(shortest) >= int(spec.min_tokens_per_text_id * len(TEXT))
    assert streamed(lm, []) == []


def test_compat_sets_no_maximum_to_streamed_speech() -> None:
    lm = quirky("cosyvoice2", text_stream_unlimited=True)
    said = speak_streamed(lm, [TEXT[:3]], (), (), always(5))
    assert len(list(itertools.islice(said, 60))) == 60


def test_no_special_token_is_drawn_while_text_streams(lm: SpeechLm) -> None:
    spec = lm.spec
    for special in {spec.end_id, spec.first_stop_id, spec.speech_vocabulary - 1} - {spec.fill_id}:
        said = streamed(lm, [TEXT], sampler=always(special))
        assert said and max(said) < spec.first_stop_id


def test_compat_fails_in_one_sentence_on_a_special_token() -> None:
    lm = quirky("cosyvoice2", mask_only_first_stop_id=True)
    with pytest.raises(ModelError, match="special token 41"):
        streamed(lm, [TEXT], sampler=always(lm.spec.first_stop_id + 1))


def test_long_silences_are_shortened_and_others_left(lm: SpeechLm) -> None:
    spec: CosyVoiceSpec = spec_of("cosyvoice3")
    numbers = dataclasses.replace(spec.generator, silent_tokens=(1, 2), silent_run=2)
    said = [5, 1, 2, 1, 1, 6, 2, 2, 7, 1, 1, 1]
    assert list(shorten_silences(said, numbers)) == [5, 1, 2, 6, 2, 2, 7, 1, 1]
    none = dataclasses.replace(numbers, silent_tokens=())
    assert list(shorten_silences(said, none)) == said
