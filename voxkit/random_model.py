"""A hub model's exact shapes with random weights: as fast as the real one, and it says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from voxkit import cosyvoice
from voxkit.checkpoint import seated
from voxkit.company import Company
from voxkit.compiling import compiled
from voxkit.cosyvoice_spec import CosyVoiceSpec
from voxkit.engine import Engine, Parts
from voxkit.errors import ModelError
from voxkit.families import read_spec
from voxkit.modules.linears import pack
from voxkit.modules.ras import Sampler, multinomial
from voxkit.modules.speech_lm import speak
from voxkit.options import Options
from voxkit.precision import Kind, Precision
from voxkit.spec import without_quirks
from voxkit.text import Script, Sentence
from voxkit.voice import Voice

if TYPE_CHECKING:
    from voxkit.modules.speech_lm import SpeechLm

_TOKENS_PER_CHARACTER = 1.7  # as English is read: 25 tokens and 15 characters a second
_CHARACTERS_PER_ID = 4.0  # of English text
_REFERENCE_TOKENS = 75  # 3 s
_BLOCK = 1 << 16  # random numbers that are drawn; larger tensors repeat them


class Frontend:
    """Takes any text as one sentence."""

    language = None
    marks = frozenset[str]()

    def prepare(self, text: str) -> Script:
        """Return the text as it is."""
        return Script((Sentence(text, paragraph_end=False, source=text),), ())

    def ids(self, sentence: str) -> tuple[int, ...]:
        """Return as many ids as the text would have, give or take."""
        return tuple(range(1, 2 + int(len(sentence) / _CHARACTERS_PER_ID)))


class Generator:
    """Draws a token for every 40 ms that the text would last."""

    def __init__(self, spec: CosyVoiceSpec, lm: SpeechLm) -> None:
        self.spec, self.lm = spec, lm

    def tokens(
        self,
        text_ids: tuple[int, ...],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens, after a transcript and the reference's tokens."""
        count = int(len(text_ids) * _CHARACTERS_PER_ID * _TOKENS_PER_CHARACTER)
        sampler = Sampler(self.spec.generator.sampling, multinomial(generator))
        words = (*range(1, 1 + len(voice.tokens) // 7), *text_ids)
        return speak(self.lm, words, voice.tokens.tolist(), sampler, lengths=(count, count))

    def join(self, company: Company) -> None:
        """Take the steps of all who have a seat at once."""
        self.lm.join(company)


def load(
    family: str,
    device: torch.device,
    precision: Precision,
    *,
    together: int = 0,
    compile: bool = False,
) -> tuple[Engine, Voice]:
    """Make an engine of a hub family's released shapes, and a voice of random numbers.

    Raises `ModelError` for a family that has none.
    """
    spec = _spec(family)
    nets: dict[str, Any] = {}
    for part, (network, _, _) in cosyvoice.networks(spec).items():
        nets[part] = _filled(network, device)
        kind, int8 = precision.of(part)
        pack(nets[part], kind, rows=cosyvoice.usual_rows(part), int8_after_norms=int8)
    frontend: Any = Frontend()
    generator: Any = Generator(spec, nets["generator"])
    tokenizer: Any = None
    decoder = cosyvoice.MelDecoder(spec, nets["decoder"])
    parts = Parts(
        frontend,
        tokenizer,
        generator,
        compiled(decoder) if compile else decoder,
        cosyvoice.HiftPart(spec, nets["vocoder"]),
    )
    parts = seated(parts, nets["generator"], together)
    engine = Engine(spec, parts, fingerprint=f"{spec.family}:random", default_voice="random")
    return engine, _voice(spec, engine.fingerprint)


def speech_lm(family: str, kind: Kind, device: str = "cpu") -> SpeechLm:
    """Make the token LM alone.  Raises `ModelError` for a family that has none."""
    network, _, _ = cosyvoice.networks(_spec(family))["generator"]
    lm: Any = _filled(network, torch.device(device))
    pack(lm, kind)
    return lm


def _spec(family: str) -> CosyVoiceSpec:
    file = resources.files("voxkit") / "specs" / f"{family}.json"
    if not file.is_file():
        raise ModelError(f"{family} is no hub model: --random-weights has cosyvoice2, cosyvoice3.")
    with resources.as_file(file) as path:
        spec = read_spec(path)
    assert isinstance(spec, CosyVoiceSpec)
    return without_quirks(spec)


def _filled(network: nn.Module, device: torch.device) -> nn.Module:
    """Give a network of the meta device small random weights."""
    block = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0)) * 0.02
    weights = {}
    for name, tensor in network.state_dict().items():
        count = tensor.numel()
        numbers = block.repeat(-(-count // _BLOCK))[:count] if count > _BLOCK else block[:count]
        weights[name] = numbers.to(device, tensor.dtype).view(tensor.shape)
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def _voice(spec: CosyVoiceSpec, made_by: str) -> Voice:
    """Return a voice with a reference of 3 s."""
    rng = np.random.default_rng(0)
    frames = _REFERENCE_TOKENS * spec.mel_per_token
    return Voice(
        name="random",
        made_by=made_by,
        transcript="random",
        attributes={},
        language=None,
        tokens=rng.integers(0, spec.decoder.codebook, _REFERENCE_TOKENS),
        mel=rng.normal(-6.0, 2.0, (spec.mel.bins, frames)).astype(np.float32),
        speaker=rng.standard_normal(spec.speaker.embedding).astype(np.float32),
    )
