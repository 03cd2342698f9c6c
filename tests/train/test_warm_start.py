"""Training that starts from a finished model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
import torch

from voxkit.checkpoint import native_modules
from voxkit.errors import TrainingError
from voxkit.train.speaker import SpeakerNet
from voxkit.train.tokenizer import TokenizerNet
from voxkit.train.warm_start import find_model, warm_start


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("part", ["generator", "decoder", "vocoder"])
def test_a_part_takes_every_weight_of_the_model(model: Path, part: str) -> None:
    with torch.random.fork_rng(devices=[]):
        net = tiny.stir(native_modules(tiny.SPEC)[part], seed=5)
    assert warm_start(net, part, model) == []
    truth = tiny.weights()
    for name, weight in net.state_dict().items():
        assert torch.equal(weight, truth[f"{part}.{name}"].float()), name


@pytest.mark.parametrize(
    ("part", "net"),
    [
        ("tokenizer", lambda: TokenizerNet(tiny.SPEC.tokenizer, tiny.MEL.bins)),
        ("speaker", lambda: SpeakerNet(tiny.SPEC.speaker, tiny.MEL.bins, 3)),
    ],
)
def test_what_no_model_holds_starts_fresh_and_is_told(model: Path, part: str, net) -> None:
    with torch.random.fork_rng(devices=[]):
        made = net()
    before = {name: weight.clone() for name, weight in made.state_dict().items()}
    fresh = warm_start(made, part, model)
    assert fresh == [name for name in before if not name.startswith("encoder.")] != []
    assert all(torch.equal(made.state_dict()[name], before[name]) for name in fresh)
    truth = tiny.weights()
    for name in before.keys() - set(fresh):
        wanted = truth[f"{part}.{name.removeprefix('encoder.')}"].float()
        assert torch.equal(made.state_dict()[name], wanted), name


def test_a_network_of_another_shape_is_one_sentence(model: Path) -> None:
    wide = dataclasses.replace(tiny.SPEC.vocoder, width=24)
    with torch.random.fork_rng(devices=[]):
        net = native_modules(dataclasses.replace(tiny.SPEC, vocoder=wide))["vocoder"]
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    with pytest.raises(TrainingError, match=r"vocoder\.\S+ is \(16,.* ask for \(24,.*--spec"):
        warm_start(net, "vocoder", model)
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())


def test_a_deeper_network_starts_as_the_shallower_one(model: Path) -> None:
    deep = dataclasses.replace(tiny.SPEC.vocoder, layers=tiny.SPEC.vocoder.layers + 2)
    with torch.random.fork_rng(devices=[]):
        nets = [
            native_modules(dataclasses.replace(tiny.SPEC, vocoder=v))["vocoder"]
            for v in (tiny.SPEC.vocoder, deep)
        ]
        mel = torch.randn(1, tiny.MEL.bins, 9)
    new = [f"backbone.convnext.{tiny.SPEC.vocoder.layers + i}." for i in range(2)]
    assert warm_start(nets[0], "vocoder", model) == []
    fresh = warm_start(nets[1], "vocoder", model)
    assert all(any(name.startswith(n) for name in fresh) for n in new)
    assert all(name.startswith(tuple(new)) for name in fresh)
    with torch.no_grad():
        for shallow, deeper in zip(*(net.measure_pitch(mel) for net in nets), strict=True):
            assert torch.equal(shallow, deeper)


def test_a_smaller_network_is_one_sentence(model: Path) -> None:
    few = dataclasses.replace(tiny.SPEC.vocoder, layers=1)
    with torch.random.fork_rng(devices=[]):
        net = native_modules(dataclasses.replace(tiny.SPEC, vocoder=few))["vocoder"]
    with pytest.raises(TrainingError, match=r"convnext\.1\.\S+ is .* ask for nothing"):
        warm_start(net, "vocoder", model)


def test_a_model_is_found_by_name_or_folder(model: Path, tmp_path: Path) -> None:
    assert find_model(str(model)) == model
    assert (find_model("voxkit-en") / "model.safetensors").is_file()
    with pytest.raises(TrainingError, match="There is no model 'voxkit-xx'"):
        find_model("voxkit-xx")
    with pytest.raises(TrainingError, match=r"holds no config\.json"):
        find_model(str(tmp_path))
