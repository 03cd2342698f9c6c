"""Bundling trained parts and voices into a model folder."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_corpus
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from voxkit.checkpoint import load, native_modules, read_weights
from voxkit.errors import OutputError, TrainingError
from voxkit.families import read_spec
from voxkit.modules.speaker import SpeakerEncoder
from voxkit.prosody import attributes
from voxkit.train.corpus import find_clip
from voxkit.train.export import ExportRecipe, VoiceRecipe, check, export, gather, load_parts
from voxkit.train.speaker import SpeakerNet
from voxkit.train.tokenizer import TokenizerNet
from voxkit.voice import load_voice

TABLES = {"generator.heard_own", "generator.said_own"}


def voice_recipe(name: str, speaker: str, clip: str) -> VoiceRecipe:
    return VoiceRecipe(name, "real", speaker, clip, f"The voice of {speaker}", "tones", "CC0")


RECIPE = ExportRecipe(
    "ann", (voice_recipe("ann", "ann", "ann-0"), voice_recipe("b", "bob", "bob-1"))
)


def trained(seed: int = 0) -> dict[str, nn.Module]:
    """Networks as training leaves them: two have more to them than speaking needs."""
    with torch.random.fork_rng(devices=[]):
        nets = native_modules(tiny.SPEC)
        nets["tokenizer"] = TokenizerNet(tiny.SPEC.tokenizer, tiny.MEL.bins)
        nets["speaker"] = SpeakerNet(tiny.SPEC.speaker, tiny.MEL.bins, 3)
    for net in nets.values():
        tiny.stir(net, seed)
    return nets


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training: a checkpoint for each part whose average is not its last step."""
    folder = tmp_path_factory.mktemp("runs")
    last = trained(1)
    for part, net in trained(0).items():
        if part == "letters":
            half = {name: t.half() for name, t in net.state_dict().items()}
            save_file(half, folder / "letters.safetensors")
            continue
        (folder / part).mkdir()
        average = {name: p.detach() for name, p in net.named_parameters()}
        state = {"step": 9, "model": last[part].state_dict(), "optimiser": {}, "average": average}
        torch.save(state, folder / part / "checkpoint.pt")
    return folder


@pytest.fixture(scope="module")
def weights(runs: Path) -> dict[str, Tensor]:
    return gather(tiny.SPEC, runs, runs / "letters.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = [(u.id, u.speaker, u.text) for u in tiny_corpus.utterances() if u.set == "real"]
    tiny_corpus.recordings(folder / "real", rows)
    return folder


def exported(
    weights: dict[str, Tensor], data: Path, out: Path, recipe: ExportRecipe = RECIPE
) -> Path:
    clips = functools.partial(find_clip, data, data)
    export(tiny.SPEC, recipe, dict(weights), tiny_corpus.encoded(), clips, out)
    return out


# ---- weights ----------------------------------------------------------------------------------


def test_the_averaged_weights_of_every_part_are_gathered(weights: dict[str, Tensor]) -> None:
    nets = trained(0)
    wanted = {
        f"{part}.{name.removeprefix('encoder.')}"
        if part in ("tokenizer", "speaker")
        else f"{part}.{name}": tensor
        for part, net in nets.items()
        for name, tensor in net.state_dict().items()
        if part not in ("tokenizer", "speaker") or name.startswith("encoder.")
    }
    assert {name for name in weights if not name.endswith(".scale")} == wanted.keys()
    for name, tensor in wanted.items():
        if name not in TABLES:
            assert weights[name].dtype == torch.float16
            assert torch.equal(weights[name], tensor.half()), name


def test_names_are_those_of_the_networks(weights: dict[str, Tensor]) -> None:
    names = {
        f"{part}.{name}"
        for part, net in native_modules(tiny.SPEC).items()
        for name in net.state_dict()
    }
    assert weights.keys() == names | {f"{name}.scale" for name in TABLES}


def test_large_tables_are_stored_in_a_byte_each(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    read = read_weights(tmp_path / "w.safetensors")
    for name in TABLES:
        assert weights[name].dtype == torch.int8
        truth = trained(0)["generator"].get_parameter(name.removeprefix("generator.")).detach()
        step = truth.abs().amax(1, keepdim=True) / 127
        # half a step of rounding, and what half precision had lost before
        assert ((read[name] - truth).abs() <= 0.51 * step + truth.abs() * 1e-3).all()
    assert not any(name.endswith(".scale") for name in read)


def test_a_table_of_zeros_stays_zero(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "generator"
    for part in (p for p in runs.iterdir() if p.is_dir()):
        (tmp_path / part.name).mkdir()
        (tmp_path / part.name / "checkpoint.pt").write_bytes((part / "checkpoint.pt").read_bytes())
    state = torch.load(path / "checkpoint.pt", weights_only=True)
    state["average"]["heard_own"].zero_()
    torch.save(state, path / "checkpoint.pt")
    found = gather(tiny.SPEC, tmp_path, runs / "letters.safetensors")
    assert (found["generator.heard_own"].float() * found["generator.heard_own.scale"] == 0).all()


def test_a_part_that_was_not_trained_is_named(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"tokenizer/checkpoint\.pt is missing"):
        gather(tiny.SPEC, tmp_path, runs / "letters.safetensors")


def test_what_encodes_the_corpus_is_ready_to(runs: Path) -> None:
    tokenizer, speaker = load_parts(tiny.SPEC, runs)
    assert isinstance(tokenizer, TokenizerNet) and isinstance(speaker, SpeakerEncoder)
    assert not tokenizer.training and not speaker.training
    nets = trained(0)
    for name, tensor in tokenizer.state_dict().items():
        assert torch.equal(tensor, nets["tokenizer"].state_dict()[name])
    for name, tensor in speaker.state_dict().items():
        assert torch.equal(tensor, nets["speaker"].state_dict()[f"encoder.{name}"])


# ---- the folder -------------------------------------------------------------------------------


def test_the_folder_is_exactly_what_loading_reads(
    weights: dict[str, Tensor], data: Path, tmp_path: Path
) -> None:
    out = exported(weights, data, tmp_path / "model")
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert found == {
        "config.json",
        "model.safetensors",
        "default_voice.txt",
        "voices/ann.safetensors",
        "voices/b.safetensors",
    }
    assert [p.name for p in tmp_path.iterdir()] == ["model"]  # nothing half-made is left
    engine = load(out, device="cpu")
    assert engine.default_voice == "ann"
    for name in ("ann", "b"):
        voice = load_voice(out / "voices" / f"{name}.safetensors")
        assert voice.made_by == engine.fingerprint
        assert engine.speak("Hello.", voice).seconds > 0.1


def test_the_numbers_are_kept_but_for_a_revision_that_names_the_weights(
    weights: dict[str, Tensor], data: Path, tmp_path: Path
) -> None:
    out = exported(weights, data, tmp_path / "a")
    spec = read_spec(out / "config.json")
    assert dataclasses.replace(spec, revision=tiny.SPEC.revision) == tiny.SPEC
    again = read_spec(exported(weights, data, tmp_path / "b") / "config.json")
    assert again.revision == spec.revision
    other = weights | {"decoder.leave.bias": weights["decoder.leave.bias"] + 1}
    changed = read_spec(exported(other, data, tmp_path / "c") / "config.json")
    assert changed.revision != spec.revision
    stored = load_file(out / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in weights.items())


def test_what_was_there_before_is_replaced(
    weights: dict[str, Tensor], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    (out / "voices").mkdir(parents=True)
    (out / "voices" / "old.safetensors").write_bytes(b"old")
    (out / "config.json").write_text("old")
    (out / "MODEL_CARD.md").write_text("kept")
    exported(weights, data, out)
    assert sorted(p.name for p in (out / "voices").iterdir()) == [
        "ann.safetensors",
        "b.safetensors",
    ]
    assert (out / "MODEL_CARD.md").read_text() == "kept"
    assert json.loads((out / "config.json").read_text())["name"] == tiny.SPEC.name


def test_a_voice_that_cannot_be_made_leaves_the_old_folder_alone(
    weights: dict[str, Tensor], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / "config.json").write_text("old")
    absent = ExportRecipe("ann", (voice_recipe("ann", "ann", "ann-99"),))
    with pytest.raises(TrainingError, match=r"'ann' asks for the clip 'ann-99' of ann"):
        exported(weights, data, out, absent)
    assert (out / "config.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_clip_of_somebody_else_or_held_out_is_no_reference(
    weights: dict[str, Tensor], data: Path, tmp_path: Path
) -> None:
    for clip in ("bob-0", "ann-3"):
        wrong = ExportRecipe("ann", (voice_recipe("ann", "ann", clip),))
        with pytest.raises(TrainingError, match=clip):
            exported(weights, data, tmp_path / "model", wrong)


def test_a_default_voice_that_is_not_among_the_voices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="default_voice 'eve' is none of .*: ann, b"):
        check(dataclasses.replace(RECIPE, default_voice="eve"), tmp_path / "model", force=True)


def test_a_model_is_replaced_only_if_asked_for(tmp_path: Path) -> None:
    check(RECIPE, tmp_path / "model", force=False)
    (tmp_path / "model").mkdir()
    check(RECIPE, tmp_path / "model", force=False)
    (tmp_path / "model" / "config.json").write_text("old")
    with pytest.raises(OutputError, match="already exists: use --force"):
        check(RECIPE, tmp_path / "model", force=False)
    check(RECIPE, tmp_path / "model", force=True)


# ---- voices -----------------------------------------------------------------------------------


def test_a_voice_speaks_like_all_of_its_recordings(
    weights: dict[str, Tensor], data: Path, tmp_path: Path
) -> None:
    out = exported(weights, data, tmp_path / "model")
    voice = load_voice(out / "voices" / "b.safetensors")
    assert (voice.name, voice.description, voice.source, voice.licence) == (
        ("b", "The voice of bob", "tones", "CC0")
    )
    clip = next(u for u in tiny_corpus.utterances() if u.id == "bob-1")
    assert voice.transcript == clip.text
    mine = [
        e
        for e in tiny_corpus.encoded()
        if e.utterance.speaker == "bob" and not e.utterance.held_out
    ]
    mean = np.mean([e.speaker for e in mine], axis=0)
    np.testing.assert_allclose(voice.speaker, mean / np.linalg.norm(mean), atol=1e-6)
    median = np.median([e.controls for e in mine], axis=0)
    wanted = attributes(median, np.ones(4, bool), tiny.MEL)
    assert voice.attributes == {name: pytest.approx(value) for name, value in wanted.items()}


def test_a_voice_keeps_the_tokens_of_its_clip(
    weights: dict[str, Tensor], data: Path, tmp_path: Path
) -> None:
    out = exported(weights, data, tmp_path / "model")
    voice = load_voice(out / "voices" / "ann.safetensors")
    assert voice.reference is not None
    made = load(out, device="cpu").parts.tokenizer.describe(voice.reference, None)
    assert (made.tokens == voice.tokens).mean() > 0.9  # the reference is stored in 16 bits
