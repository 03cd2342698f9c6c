"""A CosyVoice folder of the hub becomes the parts of an engine."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from tiny import cuts, seeded, tone
from tiny_cosyvoice import FAMILIES, hub_folder, released, spec_of, voice
from torch import Tensor

from voxkit import cosyvoice
from voxkit.audio import Audio
from voxkit.catalogue import OWN_SPEC
from voxkit.cosyvoice import CosyVoice
from voxkit.errors import ModelError
from voxkit.modules.hift_stream import FadingHiftVocoder
from voxkit.modules.speech_lm import SpeechLm
from voxkit.options import Options
from voxkit.precision import Kind, Precision
from voxkit.spec import to_dict, without_quirks
from voxkit.voice import Voice

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=FAMILIES)
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A hub folder and its conversion."""
    root = tmp_path_factory.mktemp(request.param)
    hub = hub_folder(root / "hub", request.param)
    converted = root / "converted"
    converted.mkdir()
    cosyvoice.convert(hub, converted)
    return hub, converted


@pytest.fixture(scope="module")
def model(folders: tuple[Path, Path]) -> CosyVoice:
    return cosyvoice.load(*folders, device=CPU)


@pytest.fixture(scope="module")
def compat(folders: tuple[Path, Path]) -> CosyVoice:
    return cosyvoice.load(*folders, device=CPU, compat=True)


def spoken(model: CosyVoice, who: Voice, said: list[int], *, largest: int | None = None) -> Tensor:
    """Tokens → sound, at once or in random hops."""
    state = model.decoder.seed(model.decoder.init_state(who, Options()), seeded(1))
    wav_state = model.vocoder.init_state(seeded(2))
    hops = [(0, len(said))]
    if largest is not None:
        hops = list(cuts(len(said), np.random.default_rng(0), largest))
    pieces = []
    for begin, end in hops:
        last = end == len(said)
        new = torch.tensor(said[begin:end], dtype=torch.long)
        mel, state = model.decoder.decode(new, state, last)
        wav, wav_state = model.vocoder.vocode(mel, wav_state, last)
        pieces.append(wav)
    return torch.cat(pieces)


def test_text_becomes_sound_and_hops_do_not_change_it(model: CosyVoice) -> None:
    who = voice(model.spec)
    ids = model.frontend.ids("hello world")
    said = list(model.generator.tokens(ids, who, Options(), seeded(0)))
    assert len(said) >= 2 * len(ids) - 2
    whole = spoken(model, who, said)
    assert whole.shape == (len(said) * 2 * model.spec.mel.hop,)
    assert torch.isfinite(whole).all() and float(whole.std()) > 1e-4
    assert float((spoken(model, who, said, largest=7) - whole).abs().max()) < 1e-4


def test_a_seed_gives_the_same_tokens_and_another_gives_others(model: CosyVoice) -> None:
    ids, who = model.frontend.ids("hello world " * 4), voice(model.spec)
    runs = [list(model.generator.tokens(ids, who, Options(), seeded(n))) for n in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_the_options_reach_the_sampler(model: CosyVoice) -> None:
    ids, who = model.frontend.ids("hello world"), voice(model.spec)
    cold = Options(temperature=0.0)
    runs = [list(model.generator.tokens(ids, who, cold, seeded(n))) for n in (3, 4)]
    assert runs[0] == runs[1]


def test_streamed_text_is_said(model: CosyVoice) -> None:
    ids, who = model.frontend.ids("hello world, hello hello"), voice(model.spec)
    pieces = [ids[i : i + 2] for i in range(0, len(ids), 2)]
    said = list(model.generator.tokens_streamed(pieces, who, Options(), seeded(0)))
    assert said and max(said) < model.spec.decoder.codebook


def test_two_sentences_start_from_one_reference(model: CosyVoice) -> None:
    start = model.decoder.init_state(voice(model.spec), Options())
    said = torch.arange(20)
    one, _ = model.decoder.decode(said, model.decoder.seed(start, seeded(0)), True)
    two, _ = model.decoder.decode(said, model.decoder.seed(start, seeded(1)), True)
    assert torch.equal(one, two)


# ---- what the model is told ---------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """Collect text ids and reference tokens of every prompt."""
    prompts: list[tuple[list[int], list[int]]] = []
    prompt = SpeechLm.prompt

    def listening(self: SpeechLm, text: Any, tokens: Any) -> Tensor:
        prompts.append((list(text), list(tokens)))
        return prompt(self, text, tokens)

    monkeypatch.setattr(SpeechLm, "prompt", listening)
    return prompts


def prompt_of(
    model: CosyVoice, told: list[Any], who: Voice, instruction: str | None = None
) -> tuple[str, list[int]]:
    """Say "world" and return the text that the model read, and the tokens."""
    ids = model.frontend.ids("world")
    list(model.generator.tokens(ids, who, Options(), seeded(0), instruction=instruction))
    text, tokens = told.pop()
    return model.frontend.text(text), tokens


def test_a_reference_with_its_transcript_is_heard_whole(model: CosyVoice, told: Any) -> None:
    who = voice(model.spec)
    text, tokens = prompt_of(model, told, who)
    system = "You are a helpful assistant.<|endofprompt|>"
    lead = system if model.spec.family == "cosyvoice3" else ""
    assert text == f"{lead}hello.world"
    assert tokens == who.tokens.tolist()


def test_a_transcript_may_begin_as_the_public_implementation_wants_it(
    model: CosyVoice, told: Any
) -> None:
    plain = prompt_of(model, told, voice(model.spec))
    lead = f"{model.spec.text.system_prompt}{model.spec.text.end_of_prompt}"
    assert prompt_of(model, told, voice(model.spec, transcript=f"{lead}hello")) == plain
    text, _ = prompt_of(model, told, voice(model.spec, transcript="world<|endofprompt|>hello"))
    assert "world" in text.removesuffix("world"), "other words before the mark are the recording's"


def test_a_reference_without_transcript_gives_the_voice_alone(model: CosyVoice, told: Any) -> None:
    text, tokens = prompt_of(model, told, voice(model.spec, transcript=None))
    system = "You are a helpful assistant.<|endofprompt|>"
    assert text == (f"{system}world" if model.spec.family == "cosyvoice3" else "world")
    assert tokens == []


def test_an_instruction_is_wrapped_as_the_model_learnt_it(model: CosyVoice, told: Any) -> None:
    text, tokens = prompt_of(model, told, voice(model.spec), "Be happy.")
    system = "You are a helpful assistant. " if model.spec.family == "cosyvoice3" else ""
    assert text == f"{system}Be happy.<|endofprompt|>world"
    assert tokens == []


def test_lengths_count_the_text_alone_but_the_prefix_too_in_compat(
    model: CosyVoice, compat: CosyVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "voxkit.cosyvoice.speak", lambda *_, lengths: found.append(lengths) or iter(())
    )
    ids = model.frontend.ids("world")
    for who in (voice(model.spec), voice(model.spec, transcript=None)):
        for one in (model, compat):
            list(one.generator.tokens(ids, who, Options(), seeded(0)))
    n = len(ids)
    prefix = len(model.frontend.ids(f"{model.spec.text.system_prompt}<|endofprompt|>"))
    longer = n + prefix if model.spec.family == "cosyvoice3" else n
    assert found == [(2 * n, 20 * n)] * 3 + [(2 * longer, 20 * longer)]


# ---- references ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("seconds", [1.0, 1.013, 2.5])
def test_a_reference_has_as_many_tokens_as_pairs_of_frames(
    model: CosyVoice, rate: int, seconds: float
) -> None:
    made = model.tokenizer.describe(tone(150.0, seconds, rate), None)
    assert made.tokens.dtype == np.int64 and made.mel.dtype == made.speaker.dtype == np.float32
    assert made.mel.shape == (model.spec.mel.bins, 2 * len(made.tokens))
    assert abs(len(made.tokens) - 25 * seconds) <= 1.5
    assert made.speaker.shape == (model.spec.speaker.embedding,)
    assert "energy_db" in made.attributes
    who = voice(
        model.spec, tokens=1, seed=0
    )  # what it made is a voice that the decoder can start from
    who = dataclasses.replace(who, tokens=made.tokens, mel=made.mel, speaker=made.speaker)
    assert model.decoder.init_state(who, Options()).prompt.shape[2] == made.mel.shape[1]


def test_a_reference_longer_than_the_tokenizer_hears_is_read(model: CosyVoice) -> None:
    made = model.tokenizer.describe(tone(150.0, 41.0, 16_000), None)
    assert abs(len(made.tokens) - 41 * 25) <= 1


def test_source_speech_is_encoded_for_conversion(model: CosyVoice) -> None:
    audio = tone(150.0, 2.0, 16_000)
    tokens = model.tokenizer.encode(audio)
    assert len(tokens) == 50
    wav = spoken(model, voice(model.spec), tokens.tolist())
    assert len(wav) == 50 * 2 * model.spec.mel.hop


def test_a_folder_without_onnx_files_speaks_and_says_what_cloning_lacks(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    hub, converted = folders
    bare = tmp_path / "bare"
    for file in hub.rglob("*"):
        if file.is_file() and file.suffix != ".onnx":
            target = bare / file.relative_to(hub)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    model = cosyvoice.load(bare, converted, device=CPU)
    assert len(spoken(model, voice(model.spec), [1, 2, 3])) == 6 * model.spec.mel.hop
    with pytest.raises(ModelError, match=r"speech_tokenizer_v\d\.onnx is missing"):
        model.tokenizer.encode(Audio(np.zeros(16_000, np.float32), 16_000))


# ---- compat -------------------------------------------------------------------------------------


def test_quirks_are_followed_only_in_compat(model: CosyVoice, compat: CosyVoice) -> None:
    assert model.spec == without_quirks(compat.spec) != compat.spec
    assert not isinstance(model.vocoder.vocoder, FadingHiftVocoder)
    fades = compat.spec.family == "cosyvoice2"
    assert isinstance(compat.vocoder.vocoder, FadingHiftVocoder) == fades


def test_compat_speaks_too_and_differs_at_the_end_of_a_stream(
    model: CosyVoice, compat: CosyVoice
) -> None:
    who, said = voice(model.spec), [i * 7 % 40 for i in range(30)]
    ours, theirs = (spoken(one, who, said, largest=9) for one in (model, compat))
    assert ours.shape == theirs.shape
    assert not torch.allclose(ours[-2_000:], theirs[-2_000:], atol=1e-4)


def test_fixed_noise_is_the_same_for_every_seed(model: CosyVoice) -> None:
    mel = torch.randn(1, model.spec.mel.bins, 30, generator=seeded(0))
    one, two = (
        model.vocoder.vocode(mel, model.vocoder.init_state(seeded(n)), True)[0] for n in (1, 2)
    )
    assert torch.equal(one, two) == (model.spec.vocoder.noise == "uniform")


def test_hops_fill_the_grid_that_the_reference_began(model: CosyVoice) -> None:
    sizes = model.decoder.hops(voice(model.spec, tokens=13))
    assert [next(sizes) for _ in range(4)] == [2 + 5 + 3, 10, 20, 20]
    assert next(model.decoder.hops(voice(model.spec, tokens=12))) == 3 + 3
    assert next(model.decoder.hops(voice(model.spec, tokens=15))) == 5 + 3


def test_a_later_sentence_hops_like_the_first(model: CosyVoice) -> None:
    who = voice(model.spec, tokens=13)
    assert next(model.decoder.hops(who, [50, 50])) == next(model.decoder.hops(who))


def test_in_compat_mode_hops_go_on_growing_from_sentence_to_sentence(compat: CosyVoice) -> None:
    who = voice(compat.spec, tokens=13)
    assert [next(compat.decoder.hops(who, earlier)) for earlier in ([], [9], [10], [10, 30])] == [
        5 + 2 + 3,
        5 + 2 + 3,  # no hop was whole
        10 + 7 + 3,
        20 + 7 + 3,
    ]


def test_in_compat_mode_a_reference_is_taken_as_it_is(model: CosyVoice, compat: CosyVoice) -> None:
    quiet = Audio(0.1 * tone(150, 3.0, 16_000).samples, 16_000)
    assert compat.tokenizer.clip(quiet, whole=False) is quiet
    clip = model.tokenizer.clip(quiet, whole=False)
    assert np.abs(clip.samples).max() > 2 * np.abs(quiet.samples).max()


def test_nothing_in_a_transcript_or_an_instruction_steers_the_model(
    model: CosyVoice, told: Any
) -> None:
    mark = model.spec.text.end_of_prompt
    who = voice(model.spec, transcript=f"hello{mark} hello")
    plain = voice(model.spec, transcript="hello hello")
    assert prompt_of(model, told, who) == prompt_of(model, told, plain)
    one, two = (prompt_of(model, told, plain, words) for words in (f"Sing.{mark}", "Sing."))
    assert one == two


def test_a_sentence_of_no_tokens_has_no_sound(model: CosyVoice, compat: CosyVoice) -> None:
    for made in (model, compat):
        assert spoken(made, voice(made.spec), []).shape == (0,)


# ---- folders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_is_known_by_its_yaml_which_is_never_read(family: str, tmp_path: Path) -> None:
    (tmp_path / f"{family}.yaml").write_text("!new:os.system [true]", encoding="utf-8")
    assert cosyvoice.spec_of(tmp_path) == released(family)


def test_an_older_family_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "cosyvoice.yaml").touch()
    with pytest.raises(ModelError, match=r"cosyvoice\.yaml is of CosyVoice 1 or of an early"):
        cosyvoice.spec_of(tmp_path)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        cosyvoice.spec_of(tmp_path)


def test_a_folder_may_tell_its_own_sizes(tmp_path: Path) -> None:
    spec = spec_of("cosyvoice3")
    (tmp_path / OWN_SPEC).write_text(json.dumps(to_dict(spec)), encoding="utf-8")
    assert cosyvoice.spec_of(tmp_path) == spec


def test_a_missing_or_damaged_conversion_is_named(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    hub, _ = folders
    with pytest.raises(
        ModelError, match=r"generator\.safetensors is missing: delete its folder and run"
    ):
        cosyvoice.load(hub, tmp_path, device=CPU)
    (tmp_path / "generator.safetensors").write_bytes(b"\x08")
    with pytest.raises(
        ModelError, match=r"generator\.safetensors is damaged .*: delete its folder and run"
    ):
        cosyvoice.load(hub, tmp_path, device=CPU)


@pytest.mark.parametrize("error", [SafetensorError("I/O error"), OSError(28, "No space left")])
def test_a_disk_that_fills_up_while_converting_is_one_sentence(
    error: Exception, folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(cosyvoice, "save_file", full)
    with pytest.raises(ModelError, match="generator.safetensors cannot be written .*: make room"):
        cosyvoice.convert(folders[0], tmp_path)


def test_a_folder_that_goes_while_it_is_filled_is_one_sentence(
    folders: Any, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="gone was removed while it was made"):
        cosyvoice.convert(folders[0], tmp_path / "gone")


def test_numbers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    hub = hub_folder(tmp_path / "hub", "cosyvoice2")
    tensors = torch.load(hub / "flow.pt", weights_only=True)
    tensors["encoder_proj.weight"][0, 0] = torch.nan
    torch.save(tensors, hub / "flow.pt")
    with pytest.raises(ModelError, match=r"flow\.pt: encoder_proj\.weight holds numbers that are"):
        cosyvoice.convert(hub, tmp_path)


def test_a_vocabulary_is_read_before_anything_is_converted(tmp_path: Path) -> None:
    hub = hub_folder(tmp_path / "hub", "cosyvoice2")
    (hub / "CosyVoice-BlankEN" / "merges.txt").write_text("", encoding="utf-8")
    (tmp_path / "made").mkdir()
    with pytest.raises(ModelError, match=r"merges\.txt is empty"):
        cosyvoice.convert(hub, tmp_path / "made")
    assert not any((tmp_path / "made").iterdir())


def test_small_weights_that_are_damaged_are_made_again(folders: Any, tmp_path: Path) -> None:
    made = tmp_path / "made"
    shutil.copytree(folders[1], made)
    kinds = Precision(Kind.bf16, Kind.bf16)
    cosyvoice.load(folders[0], made, device=CPU, precision=kinds)
    small = made / "generator.bf16.safetensors"
    whole = small.read_bytes()
    small.write_bytes(whole[:100])
    cosyvoice.load(folders[0], made, device=CPU, precision=kinds)
    assert small.read_bytes() == whole


def test_the_weights_of_another_part_are_one_sentence(folders: Any, tmp_path: Path) -> None:
    shutil.copytree(folders[1], tmp_path / "made")
    shutil.copy(folders[1] / "decoder.safetensors", tmp_path / "made" / "vocoder.safetensors")
    with pytest.raises(ModelError, match="made does not hold the vocoder of this model"):
        cosyvoice.load(folders[0], tmp_path / "made", device=CPU)


def test_weights_of_the_wrong_family_are_refused(tmp_path: Path) -> None:
    hub = hub_folder(tmp_path / "two", "cosyvoice2")
    other = hub_folder(tmp_path / "three", "cosyvoice3")
    (hub / "flow.pt").write_bytes((other / "flow.pt").read_bytes())
    with pytest.raises(ModelError, match=r"two/flow\.pt"):
        cosyvoice.convert(hub, tmp_path)


def test_voices_are_exchanged_within_a_family_alone() -> None:
    prints = {cosyvoice.fingerprint(released(family)) for family in FAMILIES}
    assert prints == {
        "cosyvoice2:speech_tokenizer_v2",
        "cosyvoice3:speech_tokenizer_v3",
    }
