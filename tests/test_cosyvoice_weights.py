"""Reading the hub's weight files: every tensor has its place, and what is wrong is named."""

from __future__ import annotations

import functools
import json
import lzma
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_cosyvoice import FAMILIES, hub_weights, networks, released, spec_of
from torch import Tensor, nn

from voxkit import cosyvoice
from voxkit.cosyvoice_spec import CosyVoiceSpec
from voxkit.cosyvoice_weights import Names, fold, read_weights
from voxkit.errors import ModelError

KEYS = Path(__file__).parent / "data" / "cosyvoice_keys.json.xz"  # of the released files: shapes
PARTS = {"generator": "llm.pt", "decoder": "flow.pt", "vocoder": "hift.pt"}


@functools.cache
def released_networks(family: str) -> dict[str, tuple[nn.Module, Names, str]]:
    """The networks at their real sizes, without memory for weights."""
    return cosyvoice.networks(released(family))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_released_files_fill_the_released_sizes(
    family: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor of the release is used or known to be unused, and none is missing."""
    network, names, file = released_networks(family)[part]
    shapes = json.loads(lzma.decompress(KEYS.read_bytes()))[f"{family}/{file}"]
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    monkeypatch.setattr("voxkit.cosyvoice_weights._read", lambda path: dict(tensors))
    read = read_weights(Path(file), network, names)
    assert read.keys() == network.state_dict().keys()


@pytest.fixture(scope="module")
def tiny() -> Callable[[str, str], tuple[dict[str, Tensor], nn.Module, Names]]:
    """Tensors of a tiny hub file, and the empty network that they are for."""
    files = {family: hub_weights(spec_of(family)) for family in FAMILIES}

    def get(family: str, part: str) -> tuple[dict[str, Tensor], nn.Module, Names]:
        network, names, file = cosyvoice.networks(spec_of(family))[part]
        return dict(files[family][file]), network, names

    return get


def write(path: Path, tensors: dict[str, Any]) -> Path:
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("family, suffix", [("cosyvoice2", ".pt"), ("cosyvoice3", ".safetensors")])
@pytest.mark.parametrize("part", PARTS)
def test_weights_come_back_as_they_were(
    family: str, part: str, suffix: str, tiny: Any, tmp_path: Path
) -> None:
    tensors, network, names = tiny(family, part)
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(tensors, file)
    else:
        save_file({key: tensor.clone() for key, tensor in tensors.items()}, file)
    read = read_weights(file, network, names)
    expected = networks(spec_of(family))[part].state_dict()
    assert read.keys() == expected.keys()
    for key, tensor in expected.items():
        assert read[key].dtype == tensor.dtype
        torch.testing.assert_close(read[key], tensor, atol=1e-6, rtol=1e-5, check_dtype=False)


def test_a_norm_and_a_direction_are_folded_to_one_weight() -> None:
    direction = torch.tensor([[[3.0, 4.0]], [[0.0, -2.0]]])
    folded = fold(torch.tensor([[[10.0]], [[7.0]]]), direction)
    expected = torch.tensor([[[6.0, 8.0]], [[0.0, -7.0]]], dtype=torch.float64)
    assert torch.equal(folded, expected)


def test_the_f0_predictor_is_folded_and_kept_in_double_precision(tiny: Any, tmp_path: Path) -> None:
    tensors, network, names = tiny("cosyvoice3", "vocoder")
    read = read_weights(write(tmp_path / "hift.pt", tensors), network, names)
    kinds = {key.startswith("f0."): tensor.dtype for key, tensor in read.items()}
    assert kinds == {True: torch.float64, False: torch.float32}


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_tensor_is_named_as_in_the_file(part: str, tiny: Any, tmp_path: Path) -> None:
    tensors, network, names = tiny("cosyvoice2", part)
    gone = next(reversed([k for k in tensors if not k.endswith(("original0", "lm_head.weight"))]))
    del tensors[gone]
    file = write(tmp_path / "weights.pt", tensors)
    plain = re.escape(gone.replace(".parametrizations.weight.original1", ".weight"))
    with pytest.raises(ModelError, match=f"weights.pt has no tensor {plain}"):
        read_weights(file, network, names)


def test_an_unknown_tensor_is_named(tiny: Any, tmp_path: Path) -> None:
    tensors, network, names = tiny("cosyvoice2", "decoder")
    tensors["decoder.adapter.weight"] = torch.zeros(1)
    with pytest.raises(ModelError, match=r"has a tensor decoder\.adapter\.weight that"):
        read_weights(write(tmp_path / "flow.pt", tensors), network, names)


def test_a_wrong_shape_is_named_with_both_shapes(tiny: Any, tmp_path: Path) -> None:
    tensors, network, names = tiny("cosyvoice2", "decoder")
    tensors["encoder_proj.bias"] = torch.zeros(9)
    with pytest.raises(ModelError, match=r"flow\.pt: encoder_proj\.bias has the shape 9 .*\(16\)"):
        read_weights(write(tmp_path / "flow.pt", tensors), network, names)


@pytest.mark.parametrize(
    ("part", "name", "tensor", "told"),
    [
        (
            "generator",
            "llm.model.model.layers.0.self_attn.k_proj.weight",
            torch.zeros(8, 15),
            "8 x 15",
        ),
        (
            "generator",
            "llm.model.model.layers.0.self_attn.k_proj.weight",
            torch.zeros(()),
            "single",
        ),
        ("vocoder", "conv_post.parametrizations.weight.original0", torch.zeros(7), "is no norm of"),
        (
            "vocoder",
            "conv_post.parametrizations.weight.original1",
            torch.zeros(()),
            "is no norm of",
        ),
        ("decoder", "encoder_proj.bias", torch.zeros(16).to_sparse(), "is damaged"),
        ("decoder", "encoder_proj.bias", torch.zeros(16, dtype=torch.complex64), "is damaged"),
        ("decoder", 3, torch.zeros(16), "is damaged"),
    ],
)
def test_what_cannot_be_joined_or_folded_is_named(
    part: str, name: Any, tensor: torch.Tensor, told: str, tiny: Any, tmp_path: Path
) -> None:
    tensors, network, names = tiny("cosyvoice2", part)
    assert name in tensors or name == 3
    tensors[name] = tensor
    with pytest.raises(ModelError, match=rf"weights\.pt.*{told}"):
        read_weights(write(tmp_path / "weights.pt", tensors), network, names)


def test_the_text_head_is_neither_needed_nor_kept(tiny: Any, tmp_path: Path) -> None:
    tensors, network, names = tiny("cosyvoice2", "generator")
    assert tensors.pop("llm.model.lm_head.weight") is not None
    read = read_weights(write(tmp_path / "llm.pt", tensors), network, names)
    assert not any("lm_head" in key for key in read)


def test_a_fine_tuned_vocoder_with_its_discriminator_is_read(tiny: Any, tmp_path: Path) -> None:
    tensors, network, names = tiny("cosyvoice2", "vocoder")
    tuned: dict[str, Any] = {f"generator.{key}": tensor for key, tensor in tensors.items()}
    tuned |= {"discriminator.0.weight": torch.zeros(1), "epoch": 3, "step": 20}
    read = read_weights(write(tmp_path / "hift.pt", tuned), network, names)
    assert read.keys() == network.state_dict().keys()


def test_the_old_layout_is_refused_by_name(tiny: Any, tmp_path: Path) -> None:
    tensors, network, names = tiny("cosyvoice2", "decoder")
    old = {key.replace(".block.2.", ".block.1."): tensor for key, tensor in tensors.items()}
    with pytest.raises(ModelError, match=r"flow\.pt has the layout of early 2025"):
        read_weights(write(tmp_path / "flow.pt", old), network, names)


def test_a_file_of_the_other_family_is_refused(tiny: Any, tmp_path: Path) -> None:
    tensors, _, _ = tiny("cosyvoice3", "decoder")
    _, network, names = tiny("cosyvoice2", "decoder")
    with pytest.raises(ModelError, match=r"flow\.pt"):
        read_weights(write(tmp_path / "flow.pt", tensors), network, names)


class Evil:
    """What a pickle could do."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


def test_nothing_in_a_file_is_run(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, network, names = tiny("cosyvoice2", "decoder")
    monkeypatch.chdir(tmp_path)
    for writer in (torch.save, lambda x, f: f.write_bytes(pickle.dumps(x, 2))):
        file = tmp_path / "flow.pt"
        writer({"encoder_proj.bias": Evil()}, file)
        with pytest.raises(ModelError, match=r"flow\.pt is damaged"):
            read_weights(file, network, names)
        assert not Path("touched").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 100, 100_000, -100])
def test_a_cut_file_is_damaged(suffix: str, kept: int, tiny: Any, tmp_path: Path) -> None:
    tensors, network, names = tiny("cosyvoice2", "decoder")
    file = tmp_path / f"flow{suffix}"
    if suffix == ".pt":
        torch.save(tensors, file)
    else:
        save_file(tensors, file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelError, match=rf"flow\{suffix} is damaged"):
        read_weights(file, network, names)


@pytest.mark.parametrize("content", [[1, 2], {"a": "text"}])
def test_what_is_no_table_of_tensors_is_damaged(content: Any, tiny: Any, tmp_path: Path) -> None:
    _, network, names = tiny("cosyvoice2", "decoder")
    with pytest.raises(ModelError, match=r"flow\.pt is damaged"):
        read_weights(write(tmp_path / "flow.pt", content), network, names)


def test_a_missing_file_is_named(tiny: Any, tmp_path: Path) -> None:
    _, network, names = tiny("cosyvoice2", "decoder")
    with pytest.raises(ModelError, match=r"flow\.pt is missing"):
        read_weights(tmp_path / "flow.pt", network, names)


def test_both_released_specs_are_of_their_family() -> None:
    for family in FAMILIES:
        spec = released(family)
        assert isinstance(spec, CosyVoiceSpec)
        assert spec.family == family
