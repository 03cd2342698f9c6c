"""The numbers of the CosyVoice family, whose weights come from the hub.

What the public implementation does differently from us is in the `quirks` of each part: as released
they are followed only in compat mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voxkit.spec import FlowSpec, MelSpec, SamplingSpec, StreamSpec, TransformerSpec


@dataclass(frozen=True)
class BpeTextSpec:
    """Text as Qwen2 byte-level BPE ids; special tokens are recognised anywhere in it."""

    kind: Literal["bpe"]
    vocabulary_file: str
    merges_file: str
    first_special_id: int
    special_tokens: tuple[str, ...]  # their ids follow one another
    end_of_prompt: str  # ends an instruction
    most_ids: int  # of a passage that is said in one go …
    least_ids: int  # … which is no shorter than this where the text allows
    system_prompt: str  # comes before everything that the model is told; empty for none


@dataclass(frozen=True)
class OnnxTokenizerQuirks:
    """What the public implementation does differently with references; compat mode follows it."""

    takes_recording_as_it_is: bool = False  # uncut, with its silence, at its own level


@dataclass(frozen=True)
class OnnxTokenizerSpec:
    """Speech tokenizer from an ONNX file: Whisper's log-mel → tokens at 25 Hz."""

    kind: Literal["onnx"]
    file: str
    sample_rate: int
    bins: int
    frames_per_token: int
    codebook: int
    window_frames: int  # longest input; longer speech goes in windows …
    overlap_frames: int  # … that overlap by this much
    quirks: OnnxTokenizerQuirks = OnnxTokenizerQuirks()


@dataclass(frozen=True)
class OnnxSpeakerSpec:
    """Speaker encoder from an ONNX file: Kaldi's filter bank, its mean removed → one vector."""

    kind: Literal["onnx"]
    file: str
    sample_rate: int
    bins: int
    embedding: int


@dataclass(frozen=True)
class BpeGeneratorQuirks:
    """What the public implementation's LM does differently; followed only in compat mode."""

    mask_only_first_stop_id: bool = False  # below the minimum length the other stop ids may end it
    prefix_counts_as_text: bool = False  # the system prompt lengthens the maximum
    text_stream_decodes_before_text: bool = False  # if only the system prompt precedes the speech
    text_stream_one_burst_per_piece: bool = False  # text that allows more waits for the next piece
    text_stream_drops_prompt: bool = False  # the end of text discards unread reference tokens
    text_stream_refeeds_last: bool = False  # and reads what it read last once more
    text_stream_unlimited: bool = False  # and sets no minimum or maximum length


@dataclass(frozen=True)
class BpeGeneratorSpec:
    """Token LM of the CosyVoice family: [start][text ids …][task][speech tokens …]."""

    kind: Literal["bpe"]
    transformer: TransformerSpec
    sampling: SamplingSpec
    text_vocabulary: int  # rows of the text embedding
    speech_vocabulary: int  # rows of the speech embedding and of the head, special ids included
    head_bias: bool
    marks: Literal["own", "speech"]  # the table whose rows `start_id` and `task_id` are
    start_id: int
    task_id: int
    end_id: int  # ends the utterance
    fill_id: int  # asks for more text where text is streamed
    first_stop_id: int  # this id and all above it end the utterance, should they be drawn
    min_tokens_per_text_id: float
    max_tokens_per_text_id: float
    interleaved_text: int  # text streamed in: so many text ids …
    interleaved_speech: int  # … then so many speech tokens
    prompt_end_id: int | None  # text streamed in: prompt text up to this id comes before all else
    silent_tokens: tuple[int, ...]  # in a run of these …
    silent_run: int  # … no more than so many are spoken
    quirks: BpeGeneratorQuirks = BpeGeneratorQuirks()


@dataclass(frozen=True)
class ConformerSpec:
    """Token encoder: look-ahead, conformer blocks, twice the rate, more conformer blocks."""

    kind: Literal["conformer"]
    inputs: int  # width of the token embedding
    width: int
    heads: int
    feed_forward: int
    layers: int  # at the token rate
    up_layers: int  # at the mel rate


@dataclass(frozen=True)
class RepeatSpec:
    """Token encoder: look-ahead over embeddings as wide as the mel, repeated to the mel rate."""

    kind: Literal["repeat"]
    width: int  # inside the look-ahead


@dataclass(frozen=True)
class UnetSpec:
    """Flow estimator: causal residual convolutions with transformer blocks between, at one rate."""

    kind: Literal["unet"]
    width: int
    middle: int  # stages between the first and the last
    blocks: int  # transformer blocks in each stage
    heads: int
    head_width: int


@dataclass(frozen=True)
class RotaryDitSpec:
    """Flow estimator: diffusion transformer whose rotary positions turn the first head alone."""

    kind: Literal["rotary-dit"]
    width: int
    layers: int
    heads: int
    head_width: int
    feed_forward: int
    position_kernel: int  # of the two convolutions that tell positions
    position_groups: int
    time_width: int  # of the sinusoids that encode the time


@dataclass(frozen=True)
class EncodedFlowQuirks:
    """What the public implementation's flow does differently; followed only in compat mode."""

    last_chunk_full_attention: bool = False  # the streamed tail is made anew without chunk masks


@dataclass(frozen=True)
class EncodedFlowSpec:
    """Decoder of the CosyVoice family: tokens → encoder → flow matching → mel, on a chunk grid."""

    kind: Literal["encoded-flow"]
    flow: FlowSpec
    codebook: int
    speaker: int  # width of the speaker vector
    lookahead: int  # tokens of right context
    chunk: int  # tokens that are decoded together and see each other; the prompt is on the grid
    left_chunks: int  # chunks before it, besides the prompt's, that a chunk sees; -1 is all
    noise_seed: int  # the flow starts from the same noise in every request
    noise_frames: int  # mel frames drawn at a time
    encoder: ConformerSpec | RepeatSpec
    estimator: UnetSpec | RotaryDitSpec
    quirks: EncodedFlowQuirks = EncodedFlowQuirks()


@dataclass(frozen=True)
class HiftQuirks:
    """What the public implementation of HiFT does differently; followed only in compat mode."""

    float32_phase: bool = False  # the source's phase is kept in float32, which drifts with time
    discarded_draws: bool = False  # random numbers are drawn and thrown away around the noise
    # Streamed calls start the source's phase at 0, vocode this many frames of the call before once
    # more and fade under the halves of a Hamming window, which sum to 1.08.
    hamming_crossfade_frames: int = 0


@dataclass(frozen=True)
class HiftSpec:
    """Vocoder: harmonic source through an upsampling network that ends in a small ISTFT."""

    kind: Literal["hift"]
    causal: bool  # convolutions look back only, but for the first of the network and of the f0
    width: int  # channels before the first upsampling; halved by each
    pre_kernel: int
    upsample_rates: tuple[int, ...]
    upsample_kernels: tuple[int, ...]
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    source_kernels: tuple[int, ...]
    source_dilations: tuple[tuple[int, ...], ...]
    n_fft: int  # of the source's STFT and the output's ISTFT
    hop: int
    leak: float  # slope of the leaky ReLU before each upsampling
    limit: float  # samples are clamped to this magnitude
    f0_width: int
    f0_first_kernel: int
    f0_float64: bool  # else the phase, which sums f0 up, depends on how the mel was cut
    harmonics: int  # the fundamental included
    sine_level: float
    noise_level: float  # of voiced frames; unvoiced ones get sine_level / 3
    voiced_hz: float  # f0 above this is voiced
    phase: Literal["linear", "nearest"]  # how frame phases become sample phases
    noise: Literal["normal", "uniform"]  # uniform is one-sided, [0, 1), and the same for every call
    quirks: HiftQuirks = HiftQuirks()


@dataclass(frozen=True)
class CosyVoiceSpec:
    """All numbers of one model of the CosyVoice family, whose weights come from the hub."""

    name: str
    family: Literal["cosyvoice2", "cosyvoice3"]
    revision: str
    description: str
    licence: str
    mel: MelSpec
    token_rate: int
    text: BpeTextSpec
    tokenizer: OnnxTokenizerSpec
    speaker: OnnxSpeakerSpec
    generator: BpeGeneratorSpec
    decoder: EncodedFlowSpec
    vocoder: HiftSpec
    stream: StreamSpec

    @property
    def mel_per_token(self) -> int:
        """Mel frames per speech token."""
        return round(self.mel.frame_rate / self.token_rate)
