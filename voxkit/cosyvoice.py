"""Makes the parts of an engine from a CosyVoice 2 or Fun-CosyVoice 3 folder of the hub.

A folder is converted once (`convert`); its weights are memory-mapped from then on (`load`), and put
into another order where that is faster (`voxkit/modules/linears.py`).  What the public
implementation does differently is in the spec's quirks, which only `compat` follows.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from voxkit.audio import Audio
from voxkit.catalogue import OWN_SPEC, unreadable
from voxkit.company import Company
from voxkit.cosyvoice_front import BpeText, OnnxSpeaker, OnnxTokenizer
from voxkit.cosyvoice_spec import BpeTextSpec, ConformerSpec, CosyVoiceSpec, UnetSpec
from voxkit.cosyvoice_weights import Names, flow_names, hift_names, lm_names, read_weights
from voxkit.errors import ModelError, OutputError
from voxkit.families import read_spec
from voxkit.files import misshapen, whole_file
from voxkit.generator import wanted_sampling
from voxkit.modules.encoded_flow import EncodedFlow, FlowDecoder, FlowState, grown_hop, hops
from voxkit.modules.hift import Hift
from voxkit.modules.hift_source import fixed_noise_start
from voxkit.modules.hift_stream import (
    DrawnNoise,
    FadingHiftVocoder,
    HiftFadeState,
    HiftState,
    HiftVocoder,
)
from voxkit.modules.linears import MANY, Packed, compress, install
from voxkit.modules.ras import Sampler, multinomial
from voxkit.modules.spectral import log_mel, resample
from voxkit.modules.speech_lm import SpeechLm, shorten_silences, speak, speak_streamed
from voxkit.modules.undrawn import Undrawn
from voxkit.options import Options
from voxkit.precision import FULL, Kind, Precision
from voxkit.prosody import NATURAL, Prosody, measure
from voxkit.reference import Clip, reference_clip
from voxkit.spec import without_quirks
from voxkit.voice import Description, Voice

CONVERTER_VERSION = 2  # raised when `convert` writes something else
_SMALL = 2**18  # numbers of a tensor that is not worth mapping
_CONTROL = re.compile(r"<\|[^<>|]*\|>")  # steers the model; nobody says it


@dataclass(frozen=True)
class CosyVoice:
    """A loaded model: its numbers and the parts that an engine consists of."""

    spec: CosyVoiceSpec
    frontend: BpeText
    tokenizer: ReferenceReader
    generator: TextGenerator
    decoder: MelDecoder
    vocoder: HiftPart


def spec_of(folder: Path) -> CosyVoiceSpec:
    """Return the numbers of the model in a folder.  Raises `ModelError` if it holds none."""
    own = folder / OWN_SPEC
    if own.is_file():
        spec = read_spec(own)
        if not isinstance(spec, CosyVoiceSpec):
            raise ModelError(f"{own} does not describe a model of the CosyVoice family.")
        return spec
    for family in ("cosyvoice2", "cosyvoice3"):
        if (folder / f"{family}.yaml").is_file():
            with resources.as_file(resources.files("voxkit") / "specs" / f"{family}.json") as path:
                spec = read_spec(path)
            assert isinstance(spec, CosyVoiceSpec)
            return spec
    raise unreadable(folder)


def networks(spec: CosyVoiceSpec) -> dict[str, tuple[nn.Module, Names, str]]:
    """Build the networks without weights: part → network, names of its tensors, file."""
    flow = spec.decoder
    stages = flow.estimator.middle + 2 if isinstance(flow.estimator, UnetSpec) else None
    names = flow_names(conformer=isinstance(flow.encoder, ConformerSpec), unet_stages=stages)
    with torch.device("meta"), Undrawn():
        return {
            "generator": (SpeechLm(spec.generator), lm_names, "llm.pt"),
            "decoder": (EncodedFlow(flow, spec.mel, spec.mel_per_token), names, "flow.pt"),
            "vocoder": (Hift(spec.vocoder, spec.mel), hift_names, "hift.pt"),
        }


def convert(folder: Path, target: Path, done: Callable[[int], None] = lambda size: None) -> None:
    """Write the weights of a hub folder into `target`, one safetensors file a part.

    `done` is told the size of each file when it is converted.
    Raises `ModelError` naming the file and the tensor that is missing, unknown, misshapen or not
    finite, or the file that cannot be written.
    """
    spec = spec_of(folder)
    BpeText(spec.text, folder)  # a folder that cannot be used is refused before it takes room
    for part, (network, names, file) in networks(spec).items():
        weights, made = read_weights(folder / file, network, names), target / f"{part}.safetensors"
        for key, tensor in weights.items():
            if not tensor.isfinite().all():
                raise ModelError(
                    f"{folder / file}: {names(key)[0]} holds numbers that are not finite: "
                    "get the model again."
                )
        try:
            save_file(weights, made)
        except (SafetensorError, OSError) as error:  # a disk that filled up meanwhile
            if not target.is_dir():
                raise ModelError(
                    f"{target} was removed while it was made: run the same command again."
                ) from error
            raise ModelError(
                f"{made} cannot be written ({error}): make room or set HF_HOME to another folder."
            ) from error
        done((folder / file).stat().st_size)


def load(
    folder: Path,
    converted: Path,
    *,
    device: torch.device,
    precision: Precision = FULL,
    compat: bool = False,
) -> CosyVoice:
    """Load a hub folder whose weights `convert` wrote to `converted`.

    The ONNX files are opened when a voice is made, so a folder without them can speak.
    """
    spec = spec_of(folder)
    if not compat:
        spec = without_quirks(spec)
    filled = {
        part: _fill(network, converted, part, device, precision)
        for part, (network, _, _) in networks(spec).items()
    }
    lm, flow, hift = (filled[part] for part in ("generator", "decoder", "vocoder"))
    assert isinstance(lm, SpeechLm)
    assert isinstance(flow, EncodedFlow)
    assert isinstance(hift, Hift)
    frontend = BpeText(spec.text, folder)
    return CosyVoice(
        spec=spec,
        frontend=frontend,
        tokenizer=ReferenceReader(spec, folder, hift),
        generator=TextGenerator(spec, lm, frontend),
        decoder=MelDecoder(spec, flow),
        vocoder=HiftPart(spec, hift),
    )


def fingerprint(spec: CosyVoiceSpec) -> str:
    """Name what decides a voice file's meaning: fine-tuned models share it with their origin."""
    return f"{spec.family}:{Path(spec.tokenizer.file).stem}"


def _fill(
    network: nn.Module, folder: Path, part: str, device: torch.device, precision: Precision
) -> nn.Module:
    """Put memory-mapped weights into a network, those of large linear layers as `precision` says.

    What that makes of them is written beside them the first time.  Layers after norms are made int8
    each time, in a fifth of a second for forty million weights.
    """
    kind, _ = precision.of(part)
    file = folder / f"{part}.safetensors"
    if kind != Kind.fp32:
        small = folder / f"{part}.{kind}.safetensors"
        if not small.is_file() or misshapen(small):
            compressed = compress(_weights(file), network, kind)
            unwritable = (OutputError, OSError, SafetensorError)  # which only costs time and memory
            with suppress(*unwritable), whole_file(small, force=True) as path:
                save_file(compressed, path)
            if not small.is_file():
                return _installed(network, compressed, folder, part, device, precision)
        file = small
    _installed(network, _weights(file), folder, part, device, precision)
    if device.type == "cpu" and any(isinstance(m, Packed) for m in network.modules()):
        # Packing has read the whole file: mapped again, only what is used of it is held.  Small
        # tensors are copied, since each would hold its whole neighbourhood in the file.
        mapped, held = _weights(file), network.state_dict()
        same = {n: w for n, w in mapped.items() if n in held and held[n].dtype == w.dtype}
        same = {n: w.clone() if w.numel() < _SMALL else w for n, w in same.items()}
        network.load_state_dict(held | same, assign=True)
        network.requires_grad_(False)
    return network


def usual_rows(part: str) -> int:
    """Return how many rows a linear layer of a part multiplies at a time, more or less."""
    return 1 if part == "generator" else MANY


def _installed(
    network: nn.Module,
    weights: dict[str, Tensor],
    folder: Path,
    part: str,
    device: torch.device,
    precision: Precision,
) -> nn.Module:
    """Put the weights of a part into its network.  Raises `ModelError` if they do not fit."""
    try:
        moved = {name: w.to(device) for name, w in weights.items()}
        kind, int8 = precision.of(part)
        install(network, moved, kind, rows=usual_rows(part), int8_after_norms=int8)
    except (RuntimeError, KeyError) as error:
        raise ModelError(
            f"{folder} does not hold the {part} of this model: delete it and run the command again."
        ) from error
    return network


def _weights(file: Path) -> dict[str, Tensor]:
    """Map a safetensors file into memory."""
    try:
        return load_file(file)
    except FileNotFoundError:
        raise ModelError(
            f"{file} is missing: delete its folder and run the command again."
        ) from None
    except SafetensorError as error:
        raise ModelError(
            f"{file} is damaged ({error}): delete its folder and run the command again."
        ) from None


class ReferenceReader:
    """Reference → tokens, mel and speaker vector, the first two of one length."""

    def __init__(self, spec: CosyVoiceSpec, folder: Path, hift: Hift) -> None:
        self.spec, self.folder, self.hift = spec, folder, hift

    @functools.cached_property
    def tokenizer(self) -> OnnxTokenizer:
        """The speech tokenizer, opened when it is first used."""
        return OnnxTokenizer(self.spec.tokenizer, self.folder / self.spec.tokenizer.file)

    @functools.cached_property
    def speaker(self) -> OnnxSpeaker:
        """The speaker encoder, opened when it is first used."""
        return OnnxSpeaker(self.spec.speaker, self.folder / self.spec.speaker.file)

    def clip(self, audio: Audio, *, whole: bool) -> Audio:
        """Return what of a recording a voice is made of; all of its speech where `whole`."""
        if self.spec.tokenizer.quirks.takes_recording_as_it_is:
            return audio.recording or audio if isinstance(audio, Clip) else audio
        return reference_clip(audio, whole=whole)

    def encode(self, audio: Audio) -> np.ndarray:
        """Return the speech tokens (T,) of a recording."""
        return self.tokenizer.encode(_at(audio, self.spec.tokenizer.sample_rate).numpy())

    @torch.inference_mode()
    def describe(self, audio: Audio, text_ids: tuple[int, ...] | None) -> Description:
        """Return what a voice keeps of a reference; text ids are not phones and tell no rate."""
        tokens = self.encode(audio)
        mel = log_mel(_at(audio, self.spec.mel.sample_rate)[None], self.spec.mel)
        ratio = self.spec.mel_per_token
        count = min(len(tokens), mel.shape[2] // ratio)
        mel = mel[:, :, : count * ratio]
        f0 = self.hift.f0(mel.to(self.hift.merge.weight.device))[0].cpu()
        natural = mel[0].numpy()
        voiced = torch.where(f0 > self.spec.vocoder.voiced_hz, f0, 0.0).numpy()
        return Description(
            tokens=tokens[:count],
            mel=natural,
            speaker=self.speaker.embed(_at(audio, self.spec.speaker.sample_rate).numpy()),
            attributes=measure(voiced, natural, None),
        )


def _at(audio: Audio, rate: int) -> Tensor:
    """Samples (S,) at another rate, resampled as the models' training data was."""
    return resample(torch.from_numpy(audio.samples), audio.sample_rate, rate)


class TextGenerator:
    """Text ids and voice → speech tokens, the text whole or while it is written."""

    def __init__(self, spec: CosyVoiceSpec, lm: SpeechLm, frontend: BpeText) -> None:
        self.spec, self.lm, self.frontend = spec, lm, frontend

    def bounds(self, text_ids: tuple[int, ...]) -> tuple[int, int]:
        """Return the fewest and the most speech tokens that may say text ids (N,)."""
        return self._lengths(len(text_ids))

    def _lengths(self, count: int) -> tuple[int, int]:
        spec = self.spec.generator
        return int(spec.min_tokens_per_text_id * count), int(spec.max_tokens_per_text_id * count)

    def join(self, company: Company) -> None:
        """Take the steps of all who have a seat at once."""
        self.lm.join(company)

    def tokens(
        self,
        text_ids: tuple[int, ...],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens until the text is said.

        With an `instruction` the reference's words and tokens are left out: they would win over it.
        """
        prompt, heard = self._prompt(voice, instruction)
        count = len(text_ids)
        if self.spec.generator.quirks.prefix_counts_as_text and not heard and not instruction:
            count += len(prompt)
        sampler = self._sampler(options, generator)
        said = speak(self.lm, (*prompt, *text_ids), heard, sampler, lengths=self._lengths(count))
        return shorten_silences(said, self.spec.generator)

    def tokens_streamed(
        self,
        pieces: Iterable[Sequence[int]],
        voice: Voice,
        options: Options,
        generator: torch.Generator,
        *,
        instruction: str | None = None,
    ) -> Iterator[int]:
        """Yield speech tokens while the text's ids still arrive."""
        prompt, heard = self._prompt(voice, instruction)
        sampler = self._sampler(options, generator)
        said = speak_streamed(self.lm, pieces, prompt, heard, sampler)
        return shorten_silences(said, self.spec.generator)

    def _prompt(
        self, voice: Voice, instruction: str | None
    ) -> tuple[tuple[int, ...], Sequence[int]]:
        """Return what the model is told before the text, and the reference tokens after it."""
        text = self.spec.text
        if instruction:
            lead = f"{text.system_prompt} " if text.system_prompt else ""
            words = _CONTROL.sub("", instruction)
            return self.frontend.ids(f"{lead}{words}{text.end_of_prompt}"), ()
        lead = f"{text.system_prompt}{text.end_of_prompt}" if text.system_prompt else ""
        if not voice.transcript:
            return self.frontend.ids(lead), ()
        words = self.frontend.plain(_without_lead(voice.transcript, text))
        return self.frontend.ids(lead + words), voice.tokens.tolist()

    def _sampler(self, options: Options, generator: torch.Generator) -> Sampler:
        sampling = wanted_sampling(self.spec.generator.sampling, options)
        return Sampler(sampling, multinomial(generator))


def _without_lead(transcript: str, spec: BpeTextSpec) -> str:
    """Strip what the public implementation's users write before the words of a recording."""
    lead, mark, words = transcript.partition(spec.end_of_prompt)
    known = {"", spec.system_prompt or ""}
    return words if mark and lead.strip() in known else transcript


class MelDecoder:
    """Speech tokens and voice → mel."""

    prefers_whole = True  # what it remembers of a frame between hops is some 2 MB

    def __init__(
        self, spec: CosyVoiceSpec, flow: EncodedFlow, *, full_attention: bool = False
    ) -> None:
        """With `full_attention` all mel comes at the end, every frame having seen every other."""
        self.spec, self.network, self.decoder = spec, flow, FlowDecoder(flow)
        self.full_attention = full_attention
        self.joins = flow.speaker.weight.is_cuda  # one sentence keeps a CPU busy

    def init_state(self, voice: Voice, options: Options) -> FlowState:
        """Return the state after the reference, from which any number of sentences can start."""
        device = self.network.speaker.weight.device
        state = self.decoder.init_state(
            torch.from_numpy(voice.tokens)[None].to(device),
            torch.from_numpy(voice.mel)[None].to(device),
            torch.from_numpy(voice.speaker)[None].to(device),
            steps=options.steps,
            guidance=options.guidance,
            full_attention=self.full_attention,
        )
        nothing = torch.zeros(0, dtype=torch.long)
        return self.decode(nothing, state, False)[1]

    def hops(self, voice: Voice, earlier: Sequence[int] = ()) -> Iterator[int]:
        """Yield how many more tokens each `decode` waits for, so that chunks fill the grid."""
        stream, flow, prompt = self.spec.stream, self.spec.decoder, len(voice.tokens)
        return hops(stream, flow, prompt, grown_hop(stream, flow, prompt, earlier))

    def seed(self, state: FlowState, generator: torch.Generator) -> FlowState:
        """Return the state for one sentence; every one starts from the same noise."""
        return self.decoder.shared(state)

    def decode(self, tokens: Tensor, state: FlowState, last: bool) -> tuple[Tensor, FlowState]:
        """Take more tokens (t,) and return all finished mel (1, M, f), and the state."""
        device = state.pending.device
        return self.decoder.decode(tokens.long()[None].to(device), state, last)

    def complete(self, rest: Sequence[tuple[Tensor, FlowState]]) -> list[Tensor]:
        """Take the last tokens (t,) of several sentences → what is left of the mel of each."""
        moved = [(tokens.long()[None].to(state.pending.device), state) for tokens, state in rest]
        return self.decoder.complete(moved)


class HiftPart:
    """Mel → waveform."""

    stretches = False
    joins = False

    def __init__(self, spec: CosyVoiceSpec, hift: Hift) -> None:
        self.spec = spec
        fades = spec.vocoder.quirks.hamming_crossfade_frames > 0
        self.vocoder = (FadingHiftVocoder if fades else HiftVocoder)(hift, spec.mel)
        self._noise_start = fixed_noise_start(spec) if spec.vocoder.noise == "uniform" else None

    def init_state(
        self, generator: torch.Generator, prosody: Prosody = NATURAL
    ) -> HiftState | HiftFadeState:
        """Return the state before the first frame.  Raises `ModelError` for a change of pitch."""
        if not dataclasses.replace(prosody, speed=1.0).is_natural:
            raise ModelError(f"{self.spec.name} cannot change the pitch of a voice.")
        if self._noise_start is not None:
            generator = torch.Generator()
            generator.set_state(self._noise_start)
        return self.vocoder.init_state(DrawnNoise(self.spec.vocoder, generator))

    def vocode(
        self, mel: Tensor, state: HiftState | HiftFadeState, last: bool
    ) -> tuple[Tensor, HiftState | HiftFadeState]:
        """Take more mel (1, M, f) and return all finished samples (s,), and the state."""
        return self.vocoder.vocode(mel, state, last)  # type: ignore[arg-type]

    def complete(self, rest: Sequence[tuple[Tensor, HiftState | HiftFadeState]]) -> list[Tensor]:
        """Take the last mel (1, M, f) of several sentences → what is left of the sound of each."""
        return [self.vocode(mel, state, True)[0] for mel, state in rest]
