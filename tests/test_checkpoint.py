"""Finding and loading models: what is in the folder is what speaks, and damage is one sentence."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import voxkit
import voxkit.checkpoint
from voxkit.checkpoint import (
    available,
    digest,
    fill,
    fingerprint,
    load,
    native_modules,
    read_weights,
)
from voxkit.errors import ModelError, SpecError
from voxkit.modules.alone import Alone
from voxkit.spec import to_dict
from voxkit.voice import load_voice

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.folder(tmp_path / "model")


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of bundled models, with two in it, beside an empty hub cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    path = tmp_path / "assets"
    for name in ("voxkit-tiny", "voxkit-other"):
        tiny.write_model(path / name, dataclasses.replace(tiny.SPEC, name=name))
    (path / "cmudict.txt.gz").write_bytes(b"no model")
    monkeypatch.setattr(voxkit.checkpoint, "_ASSETS", path)
    return path


def damaged(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> str:
    """Change the weights in the file and return what loading says."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    path.unlink()
    save_file(weights, path)
    with pytest.raises(ModelError) as caught:
        load(folder, device="cpu")
    said = str(caught.value)
    assert str(path) in said
    assert said.count(". ") == 0 and said.endswith("."), said
    return said


# ---- loading ----------------------------------------------------------------------------------


def test_no_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="There is no model ''"):
        load("")


def test_a_folder_becomes_an_engine_that_speaks_with_its_voices(folder: Path) -> None:
    engine = load(folder, device="cpu")
    assert engine.spec == tiny.SPEC
    assert engine.default_voice == "anna"
    voice = load_voice(folder / "voices" / f"{engine.default_voice}.safetensors")
    assert engine.speak("Hello.", voice).seconds > 0.1


def test_requests_that_share_steps_say_what_they_say_alone(folder: Path) -> None:
    """In float32 the rounding that company changes is too small to change a token here."""
    alone, shared = (load(folder, device="cpu", dtype="fp32", together=n) for n in (0, 3))
    voice = load_voice(folder / "voices" / "anna.safetensors")
    lines = ["Hello.", "Seven old men walked by.", "No, not today.", "It is late. Go home."]

    def say(engine: voxkit.Engine, line: str) -> np.ndarray:
        return engine.speak(line, voice, voxkit.Options(seed=len(line))).samples

    made: dict[int, np.ndarray] = {}
    assert shared.company is not None
    shared.company.run(
        [partial(say, shared, line) for line in lines],
        lambda index, future: made.update({index: future.result()}),
    )
    for index, line in enumerate(lines):
        np.testing.assert_allclose(made[index], say(alone, line), atol=1e-3)
        np.testing.assert_allclose(say(shared, line), say(alone, line), atol=1e-3)  # no task


def test_static_memory_for_one_request_changes_no_token(folder: Path) -> None:
    """What a GPU does, here on the CPU."""
    plain, static = (load(folder, device="cpu", dtype="fp32") for _ in range(2))
    lm = static.parts.generator.model
    lm.transformer = Alone(lm.transformer)
    voice = load_voice(folder / "voices" / "anna.safetensors")
    for text in ("see the sea", iter(["see ", "the sea. ", "so so"])):
        pieces = list(text) if not isinstance(text, str) else None
        said = [e.speak(iter(pieces) if pieces else text, voice).samples for e in (plain, static)]
        assert len(said[0]) == len(said[1])
        np.testing.assert_allclose(said[0], said[1], atol=1e-3)


def test_every_weight_arrives(folder: Path) -> None:
    parts = load(folder, device="cpu").parts
    found: dict[str, nn.Module] = {
        "letters": parts.frontend.letters,
        "tokenizer": parts.tokenizer.encoder,
        "speaker": parts.tokenizer.speaker,
        "generator": parts.generator.model,
        "decoder": parts.decoder.network,
        "vocoder": parts.vocoder.model,
    }
    weights = load_file(folder / "model.safetensors")
    for part, module in found.items():
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, weights.pop(f"{part}.{name}").float()), name
    assert not weights


def test_networks_are_float32_and_do_not_learn(folder: Path) -> None:
    parts = load(folder, device="cpu").parts
    for parameter in parts.decoder.network.parameters():
        assert parameter.dtype == torch.float32
        assert not parameter.requires_grad
    assert not parts.generator.model.training


def test_buffers_that_no_file_holds_are_those_of_the_numbers(folder: Path) -> None:
    loaded = load(folder, device="cpu").parts.vocoder.model.head
    built = native_modules(tiny.SPEC)["vocoder"].head
    for name in ("window", "attenuation", "phase"):
        assert torch.equal(getattr(loaded, name), getattr(built, name))


def test_a_folder_without_a_default_voice_names_none(tmp_path: Path) -> None:
    assert load(tiny.write_model(tmp_path / "bare"), device="cpu").default_voice == ""


def test_a_path_may_be_text(folder: Path) -> None:
    assert load(str(folder), device="cpu").spec == tiny.SPEC


def test_threads_are_set_only_if_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    load(folder, device="cpu")
    assert asked == []
    load(folder, device="cpu", threads=3)
    assert asked == [3]


def test_loading_leaves_the_random_numbers_of_the_process_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    load(folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("device", ["banana", "mps", "cuda:2"])
def test_an_unknown_device_is_one_sentence(
    device: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ModelError, match=f"There is no device '{device}'"):
        load(folder, device=device)


def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    engine = load(folder, device="auto")
    assert engine.parts.decoder.network.leave.weight.device.type == "cpu"
    with pytest.raises(ModelError, match="--device cpu"):
        load(folder, device="cuda")


# ---- damage -----------------------------------------------------------------------------------


def test_a_missing_weight_is_named(folder: Path) -> None:
    said = damaged(folder, lambda weights: weights.pop("decoder.leave.bias"))
    assert "lacks decoder.leave.bias" in said


def test_an_unknown_weight_is_named(folder: Path) -> None:
    said = damaged(folder, lambda weights: weights.update({"speaker.tail": torch.zeros(2)}))
    assert "unknown weight speaker.tail" in said


def test_a_weight_of_the_wrong_shape_is_named_with_both_shapes(folder: Path) -> None:
    said = damaged(folder, lambda weights: weights.update({"speaker.leave.bias": torch.zeros(3)}))
    assert "speaker.leave.bias is (3,)" in said
    assert "(8,)" in said


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_named(folder: Path, number: float) -> None:
    said = damaged(folder, lambda weights: weights["speaker.leave.bias"].fill_(number))
    assert "speaker.leave.bias holds numbers that are not finite" in said


def test_weights_that_do_not_fit_the_numbers_are_refused(folder: Path) -> None:
    wider = dataclasses.replace(tiny.SPEC.decoder, feed_forward=50)
    config = to_dict(dataclasses.replace(tiny.SPEC, decoder=wider))
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"model\.safetensors: decoder\.blocks\.0\.inner"):
        load(folder, device="cpu")


def test_missing_weights_are_one_sentence(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        load(folder, device="cpu")


@pytest.mark.parametrize("keep", [0, 5, 4000])
def test_a_file_cut_short_is_one_sentence(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        load(folder, device="cpu")


def test_a_folder_without_numbers_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model that voxkit can read"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 3}'])
def test_broken_numbers_are_one_sentence(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(SpecError, match=r"config\.json"):
        load(folder, device="cpu")


def test_weights_are_read_as_they_were_written(tmp_path: Path) -> None:
    weights = {"a.b": torch.randn(3, 2, generator=tiny.seeded(0))}
    save_file(weights, tmp_path / "w.safetensors")
    assert torch.equal(read_weights(tmp_path / "w.safetensors")["a.b"], weights["a.b"])


def test_whole_numbers_with_a_scale_for_each_row_are_read_as_what_they_stand_for(
    tmp_path: Path,
) -> None:
    table = torch.tensor([[127, -127], [64, 1]], dtype=torch.int8)
    scale = torch.tensor([[0.5], [2.0]])
    save_file({"t": table, "t.scale": scale, "u": torch.ones(1)}, tmp_path / "w.safetensors")
    weights = read_weights(tmp_path / "w.safetensors")
    assert set(weights) == {"t", "u"}
    assert weights["t"].tolist() == [[63.5, -63.5], [128.0, 2.0]]


def test_a_module_is_filled_only_from_names_of_its_own(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    mine = {"speaker.weight": torch.ones(1, 2), "speaker.bias": torch.zeros(1)}
    others = {"speakers.weight": torch.zeros(1), "decoder.speaker.weight": torch.zeros(1)}
    fill(module, mine | others, "speaker", tmp_path, CPU)
    assert module(torch.ones(1, 2)).item() == 2


# ---- fingerprints -----------------------------------------------------------------------------


def test_a_fingerprint_names_the_model_and_what_its_voices_depend_on(tmp_path: Path) -> None:
    print_of = load(tiny.write_model(tmp_path / "a"), device="cpu").fingerprint
    assert print_of.startswith("voxkit-tiny:")
    for part, same in (("decoder.leave.bias", True), ("vocoder.pitch.bias", True)) + tuple(
        (name, False) for name in ("tokenizer.leave.bias", "speaker.leave.bias")
    ):
        path = tiny.write_model(tmp_path / part)
        weights = load_file(path / "model.safetensors")
        (path / "model.safetensors").unlink()
        save_file(weights | {part: weights[part] + 1}, path / "model.safetensors")
        assert (load(path, device="cpu").fingerprint == print_of) == same, part


def test_a_fingerprint_depends_on_the_mel() -> None:
    weights = {"speaker.x": torch.arange(4.0)}
    louder = dataclasses.replace(tiny.SPEC, mel=dataclasses.replace(tiny.MEL, mean=-5.0))
    assert fingerprint(tiny.SPEC, weights) == fingerprint(tiny.SPEC, dict(weights))
    assert fingerprint(tiny.SPEC, weights) != fingerprint(louder, weights)


def test_a_digest_depends_on_names_numbers_and_words() -> None:
    weights = {"a": torch.arange(3.0), "b": torch.zeros(1)}
    assert digest(weights) == digest(dict(reversed(weights.items())))
    others = [
        digest(weights, "words"),
        digest({"a": torch.arange(3.0), "c": torch.zeros(1)}),
        digest({"a": torch.arange(3.0) + 1, "b": torch.zeros(1)}),
    ]
    assert len({digest(weights), *others}) == 4
    assert len(digest(weights)) == 12


# ---- names ------------------------------------------------------------------------------------


def test_bundled_models_are_listed_without_loading_them(assets: Path) -> None:
    found = {model.name: model for model in available()}
    assert set(found) == {"voxkit-tiny", "voxkit-other"}
    model = found["voxkit-tiny"]
    assert (model.family, model.bundled, model.path) == ("native", True, assets / "voxkit-tiny")
    assert model.bytes == sum(p.stat().st_size for p in model.path.iterdir())


def test_a_bundled_model_is_found_by_its_name(assets: Path) -> None:
    assert load("voxkit-other", device="cpu").spec.name == "voxkit-other"


def test_an_unknown_model_is_answered_with_the_nearest_names(assets: Path) -> None:
    with pytest.raises(ModelError, match=r"'voxkit-tinny'.*voxkit-tiny.*`voxkit models list`"):
        load("voxkit-tinny", device="cpu")


def test_loading_twice_gives_engines_of_their_own(folder: Path) -> None:
    first, second = load(folder, device="cpu"), load(folder, device="cpu")
    assert first.fingerprint == second.fingerprint
    assert first.parts.decoder.network is not second.parts.decoder.network
    voice = load_voice(folder / "voices" / "bert.safetensors")
    a, b = first.speak("Hello.", voice), second.speak("Hello.", voice)
    assert np.array_equal(a.samples, b.samples)
