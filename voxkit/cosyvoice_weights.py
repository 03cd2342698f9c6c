"""Reads the weights of CosyVoice hub folders: their key names, their weight norm, their file kinds.

Names are translated from ours to theirs, so that what is wrong is told in the words of the file.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from voxkit.errors import ModelError

Names = Callable[[str], tuple[str, ...]]  # our tensor → theirs, to be joined along the first axis
Rules = Sequence[tuple[str, str]]  # applied one after the other to our name

_LM: Rules = (
    (r"^text\.", "llm.model.model.embed_tokens."),
    (r"^speech\.", "speech_embedding."),
    (r"^marks\.", "llm_embedding."),
    (r"^head\.", "llm_decoder."),
    (r"^transformer\.", "llm.model.model."),
    (r"attention_norm", "input_layernorm"),
    (r"feed_norm", "post_attention_layernorm"),
    (r"attention\.qkv", "self_attn.{q,k,v}_proj"),
    (r"attention\.merge", "self_attn.o_proj"),
    (r"gate_up", "mlp.{gate,up}_proj"),
    (r"(\d)\.down\.", r"\1.mlp.down_proj."),
)
_FLOW: Rules = (
    (r"^embedding\.", "input_embedding."),
    (r"^speaker\.", "spk_embed_affine_layer."),
    (r"^project\.", "encoder_proj."),
    (r"^estimator\.", "decoder.estimator."),
)
_CONFORMER: Rules = (
    (r"^encoder\.(up_)?embed\.linear", r"encoder.\1embed.out.0"),
    (r"^encoder\.(up_)?embed\.norm", r"encoder.\1embed.out.1"),
    (r"^encoder\.lookahead\.right", "encoder.pre_lookahead_layer.conv1"),
    (r"^encoder\.lookahead\.left", "encoder.pre_lookahead_layer.conv2"),
    (r"^encoder\.up\.", "encoder.up_layer.conv."),
    (r"^encoder\.norm", "encoder.after_norm"),
    (r"^encoder\.(up_)?blocks", r"encoder.\1encoders"),
    (r"\.attention_norm", ".norm_mha"),
    (r"\.feed_norm", ".norm_ff"),
    (r"\.widen", ".feed_forward.w_1"),
    (r"\.narrow", ".feed_forward.w_2"),
    (r"\.attention\.content_bias", ".self_attn.pos_bias_u"),
    (r"\.attention\.distance_bias", ".self_attn.pos_bias_v"),
    (r"\.attention\.query", ".self_attn.linear_q"),
    (r"\.attention\.key", ".self_attn.linear_k"),
    (r"\.attention\.value", ".self_attn.linear_v"),
    (r"\.attention\.distance", ".self_attn.linear_pos"),
    (r"\.attention\.out", ".self_attn.linear_out"),
)
_REPEAT: Rules = (
    (r"^encoder\.lookahead\.right", "pre_lookahead_layer.conv1"),
    (r"^encoder\.lookahead\.left", "pre_lookahead_layer.conv2"),
)
_UNET: Rules = (
    (r"estimator\.time_in", "estimator.time_mlp.linear_1"),
    (r"estimator\.time_out", "estimator.time_mlp.linear_2"),
    (r"estimator\.(down|up)\.", r"estimator.\1_blocks.0.2."),
    (r"estimator\.final\.conv", "estimator.final_block.block.0"),
    (r"estimator\.final\.norm", "estimator.final_block.block.2"),
    (r"estimator\.out", "estimator.final_proj"),
    (r"\.resnet\.first\.conv", ".0.block1.block.0"),
    (r"\.resnet\.first\.norm", ".0.block1.block.2"),
    (r"\.resnet\.second\.conv", ".0.block2.block.0"),
    (r"\.resnet\.second\.norm", ".0.block2.block.2"),
    (r"\.resnet\.time", ".0.mlp.1"),
    (r"\.resnet\.shortcut", ".0.res_conv"),
    (r"(_blocks\.\d+)\.blocks\.", r"\1.1."),
    (r"\.attention_norm", ".norm1"),
    (r"\.feed_norm", ".norm3"),
    (r"\.qkv", ".attn1.to_{q,k,v}"),
    (r"(\.1\.\d+)\.out", r"\1.attn1.to_out.0"),
    (r"\.widen", ".ff.net.0.proj"),
    (r"\.narrow", ".ff.net.2"),
)
_DIT: Rules = (
    (r"estimator\.time_in", "estimator.time_embed.time_mlp.0"),
    (r"estimator\.time_out", "estimator.time_embed.time_mlp.2"),
    (r"estimator\.embed", "estimator.input_embed.proj"),
    (r"estimator\.position_convs\.0", "estimator.input_embed.conv_pos_embed.conv1.0"),
    (r"estimator\.position_convs\.1", "estimator.input_embed.conv_pos_embed.conv2.0"),
    (r"estimator\.final_modulation", "estimator.norm_out.linear"),
    (r"estimator\.out", "estimator.proj_out"),
    (r"estimator\.blocks", "estimator.transformer_blocks"),
    (r"\.modulation", ".attn_norm.linear"),
    (r"\.qkv", ".attn.to_{q,k,v}"),
    (r"(blocks\.\d+)\.out", r"\1.attn.to_out.0"),
    (r"\.widen", ".ff.ff.0.0"),
    (r"\.narrow", ".ff.ff.2"),
)
_HIFT: Rules = (
    (r"^f0\.out", "f0_predictor.classifier"),
    (r"^merge", "m_source.l_linear"),
    (r"^ups\.(\d+)\.conv", r"ups.\1"),
    (r"^source_blocks", "source_resblocks"),
    (r"^blocks", "resblocks"),
    (r"\.inner\.", ".convs1."),
    (r"\.outer\.", ".convs2."),
    (r"\.inner_snakes\.", ".activations1."),
    (r"\.outer_snakes\.", ".activations2."),
)
UNUSED = (  # tensors that a file may have and no part needs
    r"llm\.model\.lm_head\.weight",  # the text head: tied to the text embedding and never asked
    r"decoder\.estimator\.rotary_embed\.inv_freq",  # computed from the spec
)
_NOT_WEIGHTS = {"epoch", "step"}  # written by the public implementation's training
_OLD_LAYOUT = re.compile(r"decoder\.estimator\..*\.block1\.block\.1\.weight")


def lm_names(key: str) -> tuple[str, ...]:
    """Name the tensors of `llm.pt` that make one of `SpeechLm`'s."""
    return _each(_renamed(key, _LM))


def _each(name: str) -> tuple[str, ...]:
    """Write out a name with alternatives, as the shell does: a{b,c} → ab, ac."""
    packed = re.search(r"\{(.*)\}", name)
    if packed is None:
        return (name,)
    return tuple(name.replace(packed[0], one) for one in packed[1].split(","))


def flow_names(*, conformer: bool, unet_stages: int | None) -> Names:
    """Name the tensors of `flow.pt`, whose estimator is a U-Net of so many stages, or a DiT."""

    def names(key: str) -> tuple[str, ...]:
        name = _renamed(key, _FLOW)
        if not name.startswith("decoder."):
            return (_renamed(name, _CONFORMER if conformer else _REPEAT),)
        if unet_stages is None:
            return _each(_renamed(name, _DIT))
        return _each(_renamed(_stage(name, unet_stages), _UNET))

    return names


def _stage(name: str, stages: int) -> str:
    """Name stage 0 the down block, the last one the up block, and the others mid blocks."""

    def kind(match: re.Match[str]) -> str:
        index = int(match[1])
        if index == 0:
            return "estimator.down_blocks.0"
        if index == stages - 1:
            return "estimator.up_blocks.0"
        return f"estimator.mid_blocks.{index - 1}"

    return re.sub(r"estimator\.stages\.(\d+)", kind, name)


def hift_names(key: str) -> tuple[str, ...]:
    """Name the tensor of `hift.pt` that is one of `Hift`'s."""
    conv = re.match(r"f0\.convs\.(\d+)\.(.*)", key)  # activations stand between, so they count by 2
    if conv:
        return (f"f0_predictor.condnet.{2 * int(conv[1])}.{conv[2]}",)
    return (_renamed(key, _HIFT),)


def _renamed(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def read_weights(file: Path, module: nn.Module, names: Names) -> dict[str, Tensor]:
    """Read the tensors of `module`, which may be on the meta device, from a file of the hub.

    Weight norm is folded.  Raises `ModelError` naming the file and the tensor that is missing,
    unknown or of the wrong shape.
    """
    theirs = _without_prefix(_read(file))
    if any(_OLD_LAYOUT.fullmatch(key) for key in theirs):
        raise ModelError(
            f"{file} has the layout of early 2025, before the CosyVoice 2 release of today: "
            "get the model again."
        )
    used: set[str] = set()
    ours = {}
    for key, wanted in module.state_dict().items():
        parts = [_take(theirs, name, file, used) for name in names(key)]
        for name, part in zip(names(key), parts, strict=True):
            if part.dim() != wanted.dim() or part.shape[1:] != wanted.shape[1:]:
                raise _misshapen(file, name, part, wanted, len(parts))
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        if tensor.shape != wanted.shape:
            raise _misshapen(file, names(key)[0], parts[0], wanted, len(parts))
        ours[key] = tensor.to(wanted.dtype).contiguous()
    for key in theirs:
        if key not in used and not any(re.fullmatch(pattern, key) for pattern in UNUSED):
            raise ModelError(f"{file} has a tensor {key} that this model does not know.")
    return ours


def _take(theirs: dict[str, Tensor], name: str, file: Path, used: set[str]) -> Tensor:
    """Return one tensor, folded if it is stored as a norm g and a direction v."""
    stem, _, leaf = name.rpartition(".")
    for pair in (
        (f"{stem}.parametrizations.{leaf}.original0", f"{stem}.parametrizations.{leaf}.original1"),
        (f"{name}_g", f"{name}_v"),
    ):
        if pair[0] in theirs and pair[1] in theirs:
            used.update(pair)
            norm, direction = (theirs[key] for key in pair)
            axes = [1] * (direction.dim() - 1)
            if direction.dim() < 2 or list(norm.shape) != [direction.shape[0], *axes]:
                raise ModelError(
                    f"{file}: {pair[0]} ({_size(norm)}) is no norm of {pair[1]} "
                    f"({_size(direction)}): it is damaged or of another model."
                )
            return fold(norm, direction)
    if name not in theirs:
        raise ModelError(f"{file} has no tensor {name}: it is damaged or of another model.")
    used.add(name)
    return theirs[name]


def fold(norm: Tensor, direction: Tensor) -> Tensor:
    """g · v / ‖v‖ over all axes but the first (Salimans and Kingma 2016), in float64."""
    v = direction.double()
    length = v.flatten(1).norm(dim=1).view(-1, *[1] * (v.dim() - 1))
    return norm.double() * v / length


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip `generator.`, which fine-tuned vocoders have beside a discriminator."""
    prefix = "generator."
    inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return inside or tensors


def _read(file: Path) -> dict[str, Tensor]:
    """Read a `.pt` or `.safetensors` file without running anything in it."""
    damaged = ModelError(
        f"{file} is damaged or holds no weights: delete it and get the model again."
    )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if file.exists() and not zipfile.is_zipfile(file):  # what torch has written since 2020
            raise damaged
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise ModelError(f"{file} is missing: get the model again.") from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise damaged from error
    if not isinstance(state, dict):
        raise damaged
    state = {key: value for key, value in state.items() if key not in _NOT_WEIGHTS}
    if not all(isinstance(key, str) and _is_plain(value) for key, value in state.items()):
        raise damaged
    return state


def _is_plain(value: object) -> bool:
    """Tell a tensor of real numbers, all of them there, from anything else."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_complex()
        and not value.is_quantized
    )


def _misshapen(file: Path, name: str, part: Tensor, wanted: Tensor, joined: int) -> ModelError:
    several = " of several joined" if joined > 1 else ""
    return ModelError(
        f"{file}: {name} has the shape {_size(part)} and not what this model needs "
        f"({_size(wanted)}{several})."
    )


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "of a single number"
