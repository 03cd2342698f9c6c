"""CosyVoice 2 and 3 give the public implementation's numbers, module by module and end to end.

`VOXKIT_PARITY_DIR` names a folder of golden numbers; without it the trimmed copy in
`tests/data/parity` is used (made by `scripts/trim_parity.py`, which says what it leaves out).
Sizes come from the configurations there.  A case whose file is absent is skipped by name.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import lzma
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from voxkit.cosyvoice import networks
from voxkit.cosyvoice_spec import ConformerSpec, CosyVoiceSpec, RepeatSpec, RotaryDitSpec, UnetSpec
from voxkit.cosyvoice_weights import read_weights
from voxkit.families import read_spec
from voxkit.modules.chunks import ChunkMask
from voxkit.modules.encoded_flow import (
    EncodedFlow,
    FlowDecoder,
    FlowState,
    euler_steps,
    hops,
    resized,
    start_noise,
)
from voxkit.modules.hift import Hift, samples_per_frame
from voxkit.modules.hift_source import accumulate, excitation, phase_steps, sines
from voxkit.modules.hift_stream import FadingHiftVocoder, HiftVocoder, make_source
from voxkit.modules.ras import Sampler, multinomial, nucleus, repetition_aware
from voxkit.modules.spectral import (
    kaldi_fbank,
    log_mel,
    resample,
    slaney_mel_basis,
    whisper_log_mel,
)
from voxkit.modules.speech_lm import SpeechLm, speak, speak_streamed
from voxkit.spec import FlowSpec, MelSpec, without_quirks

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("VOXKIT_PARITY_DIR") or HERE / "data" / "parity")
RELEASED = HERE.parent / "voxkit" / "specs"
FAMILIES = ("cv2", "cv3")

# Absolute tolerances for two correct float32 implementations, by group, where `tolerances.json` of
# the folder has none: they are ten times what float32 differs from float64 in the public one.
GROUPS = {
    "lm_input": 1e-6,
    "hidden": 5e-5,
    "logits": 1.5e-4,
    "logp": 1.5e-4,
    "mel_basis": 1e-8,
    "embedded": 1e-6,
    "spk": 1e-6,
    "h": 3e-5,
    "mu": 2e-5,
    "y": 1.5e-4,
    "traj": 1.5e-4,
    "mel": 1.5e-4,
    "f0": 3e-3,
    "sine": 3e-3,
    "noise": 1e-6,
    "s": 2e-3,
    "stft": 2e-6,
    "wav": 5e-4,
    "fbank": 1e-3,
    "logmel": 1e-4,
}
LONG_WAV, LONG_WAV_RMS = 5e-3, 5e-4  # whole streams: the phase of the source sums up rounding


@functools.cache
def tolerances() -> dict[str, Any]:
    file = FOLDER / "tolerances.json"
    return json.loads(file.read_text()) if file.is_file() else {}


@dataclass(frozen=True)
class Case:
    """One file of golden numbers."""

    name: str
    arrays: dict[str, np.ndarray]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def ids(self, key: str) -> list[int]:
        return self.arrays[key].reshape(-1).tolist()

    def tolerance(self, key: str) -> float:
        known = tolerances().get(f"{self.name}:{key.removeprefix('out_')}")
        if known is not None:
            return max(10 * known["max_abs"], 1e-6 * known["scale"])
        stem = re.sub(r"^out_(chunk\d+_)?(flow_|hift_)?", "", key)
        group = max((g for g in GROUPS if stem.startswith(g)), key=len, default=None)
        return GROUPS[group] if group else 1e-5

    def check(self, key: str, computed: Tensor, *, atol: float | None = None) -> bool:
        """Compare with the numbers under `key`, if the copy has them, and tell whether it has.

        A trimmed copy lists outputs of which it keeps the beginning along every axis.
        """
        if key not in self:
            return False
        expected = self[key]
        if key in self.arrays.get("x_beginnings", ()):
            computed = computed[tuple(slice(0, n) for n in expected.shape)]
        assert computed.shape == expected.shape, f"{self.name}: {key}"
        error = (
            float((computed.double() - expected.double()).abs().max()) if expected.numel() else 0
        )
        worst = self.tolerance(key) if atol is None else atol
        record(self.name, key, error, worst)
        assert error <= worst, f"{self.name}: {key} differs by {error:.2e}, more than {worst:.2e}"
        return True


ERRORS: dict[str, tuple[float, float]] = {}


def record(name: str, key: str, error: float, allowed: float) -> None:
    ERRORS[f"{name}:{key}"] = (error, allowed)


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    """Write the measured errors where `VOXKIT_PARITY_REPORT` says."""
    yield
    if file := os.environ.get("VOXKIT_PARITY_REPORT"):
        rows = [f"{k}\t{error:.3g}\t{allowed:.3g}" for k, (error, allowed) in ERRORS.items()]
        Path(file).write_text("\n".join(rows) + "\n")


def case(name: str) -> Case:
    file = FOLDER / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"{name} is not in {FOLDER}")
    with np.load(file) as arrays:
        return Case(name, {key: arrays[key] for key in arrays})


def config(family: str, part: str) -> dict[str, Any]:
    file = FOLDER / family / f"{part}_config.json"
    if not file.is_file():
        pytest.skip(f"{family}/{part}_config.json is not in {FOLDER}")
    return json.loads(file.read_text())


# ---- sizes: the public constructors' arguments in our words -----------------------------------


def pairs(lists: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(one) for one in lists)


def released(family: str) -> CosyVoiceSpec:
    spec = read_spec(RELEASED / f"cosyvoice{family[-1]}.json")
    assert isinstance(spec, CosyVoiceSpec)
    return spec


def lm_spec(family: str) -> CosyVoiceSpec:
    spec, args = released(family), config(family, "llm")
    qwen, size, sampling = args["qwen2_config"], args["speech_token_size"], args["sampling"]
    old = spec.generator.first_stop_id  # special ids follow the codebook, whatever its size
    own = spec.generator.marks == "own"
    transformer = dataclasses.replace(
        spec.generator.transformer,
        layers=qwen["num_hidden_layers"],
        width=qwen["hidden_size"],
        heads=qwen["num_attention_heads"],
        kv_heads=qwen["num_key_value_heads"],
        head_width=qwen["hidden_size"] // qwen["num_attention_heads"],
        feed_forward=qwen["intermediate_size"],
        norm_eps=qwen["rms_norm_eps"],
        rope_theta=qwen["rope_theta"],
    )
    generator = dataclasses.replace(
        spec.generator,
        transformer=transformer,
        sampling=dataclasses.replace(
            spec.generator.sampling,
            top_p=sampling["top_p"],
            top_k=sampling["top_k"],
            repeat_window=sampling["win_size"],
            repeat_limit=round(sampling["win_size"] * sampling["tau_r"]),
        ),
        text_vocabulary=qwen["vocab_size"],
        speech_vocabulary=spec.generator.speech_vocabulary - old + size,
        first_stop_id=size,
        end_id=spec.generator.end_id - old + size,
        fill_id=spec.generator.fill_id - old + size,
        start_id=spec.generator.start_id if own else spec.generator.start_id - old + size,
        task_id=spec.generator.task_id if own else spec.generator.task_id - old + size,
        interleaved_text=args["mix_ratio"][0],
        interleaved_speech=args["mix_ratio"][1],
        # ids beyond the small table are folded to its last row
        prompt_end_id=None if own else min(spec.generator.prompt_end_id, qwen["vocab_size"] - 1),
    )
    return dataclasses.replace(spec, generator=generator)


def flow_spec(family: str) -> CosyVoiceSpec:
    spec, args = released(family), config(family, "flow")
    estimator = args["estimator"]
    if "encoder" in args:
        encoder, fixed = args["encoder"], args["encoder_fixed"]
        encoder_spec: ConformerSpec | RepeatSpec = ConformerSpec(
            kind="conformer",
            inputs=args["input_size"],
            width=encoder["output_size"],
            heads=encoder["attention_heads"],
            feed_forward=encoder["linear_units"],
            layers=encoder["num_blocks"],
            up_layers=fixed["num_up_blocks"],
        )
        estimator_spec: UnetSpec | RotaryDitSpec = UnetSpec(
            kind="unet",
            width=estimator["channels"][0],
            middle=estimator["num_mid_blocks"],
            blocks=estimator["n_blocks"],
            heads=estimator["num_heads"],
            head_width=estimator["attention_head_dim"],
        )
    else:
        encoder_spec = RepeatSpec(kind="repeat", width=args["pre_lookahead_layer"]["channels"])
        assert isinstance(spec.decoder.estimator, RotaryDitSpec)
        estimator_spec = dataclasses.replace(
            spec.decoder.estimator,
            width=estimator["dim"],
            layers=estimator["depth"],
            heads=estimator["heads"],
            head_width=estimator["dim_head"],
            feed_forward=estimator["dim"] * estimator["ff_mult"],
        )
    decoder = dataclasses.replace(
        spec.decoder,
        flow=FlowSpec(args["n_timesteps"], args["cfm"]["cfm_params"]["inference_cfg_rate"]),
        codebook=args["vocab_size"],
        speaker=args["spk_embed_dim"],
        lookahead=args["pre_lookahead_len"],
        chunk=estimator["static_chunk_size"] // args["token_mel_ratio"],
        encoder=encoder_spec,
        estimator=estimator_spec,
    )
    return dataclasses.replace(spec, decoder=decoder)


def hift_spec(family: str) -> CosyVoiceSpec:
    spec, args = released(family), config(family, "hift")
    vocoder = dataclasses.replace(
        spec.vocoder,
        width=args["base_channels"],
        pre_kernel=args.get("conv_pre_look_right", spec.vocoder.pre_kernel - 1) + 1,
        upsample_rates=tuple(args["upsample_rates"]),
        upsample_kernels=tuple(args["upsample_kernel_sizes"]),
        block_kernels=tuple(args["resblock_kernel_sizes"]),
        block_dilations=pairs(args["resblock_dilation_sizes"]),
        source_kernels=tuple(args["source_resblock_kernel_sizes"]),
        source_dilations=pairs(args["source_resblock_dilation_sizes"]),
        n_fft=args["istft_params"]["n_fft"],
        hop=args["istft_params"]["hop_len"],
        leak=args["lrelu_slope"],
        limit=args["audio_limit"],
        f0_width=args["f0_predictor"]["cond_channels"],
        harmonics=args["nb_harmonics"] + 1,
        sine_level=args["nsf_alpha"],
        noise_level=args["nsf_sigma"],
        voiced_hz=float(args["nsf_voiced_threshold"]),
    )
    mel = dataclasses.replace(spec.mel, sample_rate=args["sampling_rate"])
    return dataclasses.replace(spec, vocoder=vocoder, mel=mel)


def loaded(spec: CosyVoiceSpec, family: str, part: str, folder: Path) -> nn.Module:
    """Build one network and read its weights from the copy, as from a hub folder."""
    network, names, file = networks(spec)[part]
    weights = FOLDER / family / f"{Path(file).stem}.safetensors"
    packed = weights.with_suffix(".safetensors.xz")
    if not weights.is_file() and packed.is_file():
        weights = folder / f"{family}-{weights.name}"
        weights.write_bytes(lzma.decompress(packed.read_bytes()))
    if not weights.is_file():
        pytest.skip(f"{family}/{weights.name} is not in {FOLDER}")
    network.load_state_dict(read_weights(weights, network, names), assign=True)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def get(folder: Path) -> Callable[[str, str], tuple[CosyVoiceSpec, Any]]:
    """Return spec and network of a family's part, built once."""

    @functools.cache
    def build(family: str, part: str) -> tuple[CosyVoiceSpec, nn.Module]:
        spec = {"generator": lm_spec, "decoder": flow_spec, "vocoder": hift_spec}[part](family)
        return spec, loaded(spec, family, part, folder)

    return build


Get = Callable[[str, str], tuple[CosyVoiceSpec, Any]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


# ---- front ends -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_mel(family: str) -> None:
    golden = case(f"{family}/mel24k")
    rate = int(golden["x_sampling_rate"])
    fmax = float(golden["x_fmax"])
    mel = MelSpec(
        sample_rate=rate,
        n_fft=int(golden["x_n_fft"]),
        win=int(golden["x_win_size"]),
        hop=int(golden["x_hop_size"]),
        bins=int(golden["x_num_mels"]),
        fmin=float(golden["x_fmin"]),
        fmax=fmax if fmax > 0 else rate / 2,
    )
    ours = released(family).mel
    if (mel.sample_rate, mel.n_fft, mel.bins) == (ours.sample_rate, ours.n_fft, ours.bins):
        assert mel == ours
    golden.check("out_mel_basis", torch.from_numpy(slaney_mel_basis(mel)), atol=1e-8)
    golden.check("out_mel", log_mel(golden["in_wav"][None], mel), atol=3e-5)


def test_kaldi_filter_bank() -> None:
    golden = case("common/kaldi_fbank_16k")
    bank = kaldi_fbank(golden["in_wav"][None])
    even = (bank - bank.mean(dim=1, keepdim=True))[0]
    compared = [golden.check("out_fbank", bank[0], atol=1e-3)]
    assert any([*compared, golden.check("out_fbank_minus_mean", even, atol=1e-3)])


def test_whisper_log_mel() -> None:
    golden = case("common/whisper_logmel128_16k")
    bins = golden["out_logmel"].shape[1]
    assert golden.check("out_logmel", whisper_log_mel(golden["in_wav"][None], bins=bins), atol=1e-4)


def test_resampling() -> None:
    golden = case("common/resample")
    for old, new in ((24000, 16000), (44100, 24000)):
        made = resample(golden["in_wav"][None], old, new)
        assert golden.check(f"out_{old}_to_{new}", made, atol=1e-5)


def test_start_noise() -> None:
    golden = case("common/rand_noise")
    spec = released("cv2").decoder
    expected = golden["out_rand_noise_first_1500"]
    golden.check(
        "out_rand_noise_first_1500",
        start_noise(spec, expected.shape[1], 0, expected.shape[2]),
        atol=0,
    )
    whole = start_noise(spec, expected.shape[1], 0, spec.noise_frames).numpy().astype("<f4")
    assert hashlib.sha256(whole.tobytes()).hexdigest() == str(golden.arrays["out_sha256_f32_le"])


# ---- sampling ---------------------------------------------------------------------------------


class GivenUniforms:
    """Draws by inverse cumulative distribution from uniforms, one each."""

    def __init__(self, uniforms: list[float]) -> None:
        self.uniforms, self.used = uniforms, 0

    def __call__(self, weights: Tensor) -> int:
        heights = weights.double().numpy().cumsum()
        self.used += 1
        return int(
            np.searchsorted(heights / heights[-1], self.uniforms[self.used - 1], side="right")
        )


def test_repetition_aware_sampling() -> None:
    golden = case("common/ras_sampling")
    sampling = released("cv2").generator.sampling
    for i, logits in enumerate(golden["in_logits"]):
        history = golden["in_decoded_tokens"][i].tolist()
        draw = GivenUniforms(golden["in_u"][i].tolist())
        assert repetition_aware(logits, history, sampling, draw) == int(golden["out_token"][i])
        assert (draw.used == 2) == bool(golden["out_fell_back"][i])
        generator = torch.Generator().manual_seed(1000 + i)
        drawn = repetition_aware(logits, history, sampling, multinomial(generator))
        assert drawn == int(golden["out_token_torch_seed_1000_plus_i"][i])
        probabilities = logits.log_softmax(0).softmax(0).numpy()
        ids, weights = nucleus(probabilities, sampling.top_p, sampling.top_k)
        count = int(golden["out_n_candidates"][i])
        assert ids.tolist() == golden["out_candidate_ids"][i][:count].tolist()
        torch.testing.assert_close(
            torch.from_numpy(weights), golden["out_candidate_probs"][i][:count], atol=1e-6, rtol=0
        )


# ---- language model ---------------------------------------------------------------------------


def given(golden: Case) -> tuple[list[int], list[int], list[int]]:
    """Return prompt text, text and reference tokens of a case."""
    return (
        golden.ids("x_prompt_text_folded"),
        golden.ids("x_text_folded"),
        golden.ids("in_prompt_speech_token"),
    )


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Collect the logits of every step."""
    logits: list[Tensor] = []
    step = SpeechLm.step

    def listening(self: SpeechLm, x: Tensor, cache: Any) -> Any:
        made, cache = step(self, x, cache)
        logits.append(made.clone())
        return made, cache

    monkeypatch.setattr(SpeechLm, "step", listening)
    return logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["llm_prefill", "llm_prefill_noprompt"])
def test_lm_prefill(family: str, name: str, get: Get) -> None:
    golden = case(f"{family}/{name}")
    _, lm = get(family, "generator")
    prompt_text, text, tokens = given(golden)
    x = lm.prompt([*prompt_text, *text], tokens)
    hidden, _ = lm.transformer(x, lm.transformer.init_cache(1))
    logits = lm.head(hidden)
    golden.check("out_lm_input", x)
    golden.check("out_hidden", hidden)
    golden.check("out_logits_all", logits)
    assert golden.check("out_logits_last", logits[:, -1])
    golden.check("out_logp_last", logits[:, -1].log_softmax(dim=-1))


def check_decoding(golden: Case, said: list[int], heard: list[Tensor]) -> None:
    assert said == golden.ids("out_tokens")
    logits = torch.stack(heard)
    golden.check("out_logits", logits)
    golden.check("out_logp", logits.log_softmax(dim=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_lm_greedy_decoding(family: str, get: Get, heard: list[Tensor]) -> None:
    golden = case(f"{family}/llm_greedy")
    spec, lm = get(family, "generator")
    prompt_text, text, tokens = given(golden)
    greedy = dataclasses.replace(spec.generator.sampling, temperature=0.0)
    said = speak(
        lm,
        [*prompt_text, *text],
        tokens,
        Sampler(greedy, _no_draw),
        lengths=(2 * len(text), 20 * len(text)),
    )
    count = len(golden.ids("out_tokens"))
    check_decoding(golden, list(itertools.islice(said, count)), heard)


def _no_draw(weights: Tensor) -> int:
    raise AssertionError("greedy decoding draws nothing")


@pytest.mark.parametrize("family", FAMILIES)
def test_lm_repetition_aware_decoding(family: str, get: Get, heard: list[Tensor]) -> None:
    golden = case(f"{family}/llm_ras_decode")
    spec, lm = get(family, "generator")
    prompt_text, text, tokens = given(golden)
    draw = GivenUniforms(golden["in_u"].tolist())
    said = speak(
        lm,
        [*prompt_text, *text],
        tokens,
        Sampler(spec.generator.sampling, draw),
        lengths=(2 * len(text), 20 * len(text)),
    )
    count = len(golden.ids("out_tokens"))
    check_decoding(golden, list(itertools.islice(said, count)), heard)
    assert draw.used == int(golden["out_n_uniform_used"])


@pytest.mark.parametrize("family", FAMILIES)
def test_lm_text_streaming(family: str, get: Get, heard: list[Tensor]) -> None:
    golden = case(f"{family}/llm_bistream")
    spec, lm = get(family, "generator")
    prompt_text, text, tokens = given(golden)
    greedy = dataclasses.replace(spec.generator.sampling, temperature=0.0)
    size = int(golden["x_chunk"])
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    said = speak_streamed(lm, pieces, prompt_text, tokens, Sampler(greedy, _no_draw))
    count = len(golden.ids("out_tokens"))
    check_decoding(golden, list(itertools.islice(said, count)), heard)


# ---- flow -------------------------------------------------------------------------------------


def all_tokens(golden: Case) -> Tensor:
    return torch.cat([golden["in_prompt_token"], golden["in_token"]], dim=1).long()


def start(decoder: FlowDecoder, golden: Case, *, full_attention: bool = False) -> FlowState:
    """Start from the case's reference, or from none."""
    tokens, mel = torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, decoder.net.bins, 0)
    if "in_prompt_token" in golden:
        tokens, mel = golden["in_prompt_token"].long(), golden["in_prompt_feat"].transpose(1, 2)
    return decoder.init_state(tokens, mel, golden["in_embedding"], full_attention=full_attention)


@pytest.mark.parametrize("family", FAMILIES)
def test_flow_encoder(family: str, get: Get) -> None:
    golden = case(f"{family}/flow_encoder")
    spec, flow = get(family, "decoder")
    tokens, ahead = all_tokens(golden), spec.decoder.lookahead
    golden.check("out_spk", flow.speaker_vector(golden["in_embedding"]))
    golden.check("out_embedded", flow.embedding(tokens))
    for stream, final in itertools.product((0, 1), repeat=2):
        read, after = (
            (tokens, tokens[:, :0])
            if final
            else tokens.split([tokens.shape[1] - ahead, ahead], dim=1)
        )
        hidden, _ = flow.encode(read, after, flow.encoder.init_state(1), chunked=bool(stream))
        mu = flow.project(hidden)
        golden.check(f"out_h_stream{stream}_final{final}", hidden)
        golden.check(f"out_mu_stream{stream}_final{final}", mu)
        golden.check(f"out_mu_final{final}", mu)


@pytest.mark.parametrize("family", FAMILIES)
def test_flow_estimator(family: str, get: Get) -> None:
    golden = case(f"{family}/flow_estimator")
    spec, flow = get(family, "decoder")
    assert (golden["in_mask"] == 1).all()
    inputs = [golden[f"in_{key}"] for key in ("x", "mu", "spks", "cond")]
    moments = flow.estimator.moments(golden["in_t"])
    moment = tuple(torch.cat(rows) for rows in zip(*moments, strict=True))
    batch, _, frames = golden["in_x"].shape
    for stream in (0, 1):
        mask = ChunkMask(0, frames, spec.decoder.chunk * flow.rate)
        velocity, _ = flow.estimator(
            *inputs, moment, flow.estimator.init_state(batch), mask if stream else None
        )
        golden.check(f"out_y_stream{stream}", velocity)


@pytest.mark.parametrize("family", FAMILIES)
def test_flow_inference(family: str, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = case(f"{family}/flow_inference")
    spec, flow = get(family, "decoder")
    decoder, tokens = FlowDecoder(flow), all_tokens(golden)
    frames = golden["in_prompt_feat"].shape[1]
    for stream, final in itertools.product((0, 1), repeat=2):
        count = tokens.shape[1] - (0 if final else spec.decoder.lookahead)
        state = start(decoder, golden, full_attention=not stream)
        state = dataclasses.replace(state, pending=tokens)
        mel, _ = decoder.advance(count, state, last=bool(final))
        golden.check(f"out_mel_stream{stream}_final{final}", mel[:, :, frames:])
    golden.check("x_rand_noise", start_noise(spec.decoder, flow.bins, 0, mel.shape[2]), atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_flow_trajectory(family: str, get: Get) -> None:
    golden = case(f"{family}/flow_inference")
    _, flow = get(family, "decoder")
    places = []

    def listen(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        places.append(inputs[0][0].clone())

    decoder = FlowDecoder(flow)
    hook = flow.estimator.register_forward_pre_hook(listen)
    try:
        decoder.decode(golden["in_token"].long(), start(decoder, golden, full_attention=True), True)
    finally:
        hook.remove()
    assert golden.check("out_traj_t", euler_steps(len(places))[0])
    golden.check("out_traj_x", torch.stack(places))


@pytest.mark.parametrize("family", FAMILIES)
def test_flow_inference_without_reference(family: str, get: Get) -> None:
    golden = case(f"{family}/flow_inference_noprompt")
    decoder = FlowDecoder(get(family, "decoder")[1])
    state = start(decoder, golden, full_attention=True)
    golden.check("out_mel", decoder.decode(golden["in_token"].long(), state, True)[0])


# ---- vocoder ----------------------------------------------------------------------------------


@dataclass
class GivenNoise:
    """Unit noise (1, S, H) handed out frame by frame; zeros without any."""

    hift: Hift
    noise: Tensor | None = None
    at: int = 0

    def take(self, frames: int) -> Tensor:
        count = frames * samples_per_frame(self.hift.spec)
        self.at += count
        if self.noise is None:
            return torch.zeros(1, count, self.hift.spec.harmonics)
        return self.noise[:, self.at - count : self.at]


@pytest.mark.parametrize("family", FAMILIES)
def test_hift_f0(family: str, get: Get) -> None:
    golden = case(f"{family}/hift_f0")
    spec, hift = get(family, "vocoder")
    f0 = hift.f0(golden["in_mel"])
    golden.check("out_f0", f0)
    golden.check("out_f0_final1", f0, atol=2e-4)
    golden.check("out_f0_final0", f0[:, : 1 - spec.vocoder.f0_first_kernel], atol=2e-4)


@pytest.mark.parametrize("compat", [True, False])
@pytest.mark.parametrize(
    "name", ["cv2/hift_source_nonoise", "cv2/hift_source_seed123", "cv3/hift_source"]
)
def test_hift_source(name: str, compat: bool, get: Get) -> None:
    golden = case(name)
    spec, hift = get(name[:3], "vocoder")
    vocoder = spec.vocoder if compat else without_quirks(spec.vocoder)
    f0, samples = golden["in_f0"], samples_per_frame(vocoder)
    noise = torch.zeros(1, f0.shape[1] * samples, vocoder.harmonics)
    if "x_sine_waves" in golden:
        noise = golden["x_sine_waves"]
    elif "seed123" in name:
        generator = torch.Generator().manual_seed(123)
        torch.rand(1, vocoder.harmonics, generator=generator)
        noise = torch.randn(noise.shape, generator=generator)
    phases = accumulate(
        phase_steps(f0, vocoder, spec.mel.sample_rate),
        torch.zeros(1, 1, vocoder.harmonics, dtype=torch.float64),
    )
    sine = sines(phases, vocoder, samples, before=phases[:, :1], after=phases[:, -1:])
    harmonics, voiced, scaled = excitation(sine, f0, noise, vocoder)
    golden.check("out_sine", harmonics)
    golden.check("out_uv", voiced, atol=0)
    golden.check("out_noise", scaled)
    golden.check("out_s", hift.merge(harmonics).tanh().transpose(1, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_hift_decode(family: str, get: Get) -> None:
    golden = case(f"{family}/hift_decode")
    spec, hift = get(family, "vocoder")
    mel, source = golden["in_mel"], golden["in_s"][:, 0]
    real, imaginary = hift.source_spectrum(source)
    golden.check("out_stft_real", real)
    golden.check("out_stft_imag", imaginary)
    wav = hift.decode(mel, source)
    golden.check("out_wav", wav, atol=1e-5)
    golden.check("out_wav_final1", wav, atol=1e-5)
    held = (spec.vocoder.f0_first_kernel + spec.vocoder.pre_kernel - 1) * samples_per_frame(
        spec.vocoder
    )
    golden.check("out_wav_final0", wav[:, :-held], atol=1e-5)


@pytest.mark.parametrize("compat", [True, False])
@pytest.mark.parametrize("name", ["cv2/hift_inference_nonoise", "cv3/hift_inference"])
def test_hift_inference(name: str, compat: bool, get: Get) -> None:
    golden = case(name)
    spec, hift = get(name[:3], "vocoder")
    noise = case("cv3/hift_source")["x_sine_waves"] if name.startswith("cv3") else None
    with quirks(hift, compat):
        vocoder = HiftVocoder(hift, spec.mel)
        f0 = hift.f0(golden["in_mel"])
        given_noise = GivenNoise(hift, noise).take(f0.shape[1])
        source = make_source(hift, f0, given_noise, spec.mel.sample_rate)
        golden.check("out_s", source[:, None])
        golden.check("out_s_final1", source[:, None])
        for key, last in (("out_wav", True), ("out_wav_final1", True), ("out_wav_final0", False)):
            if key in golden:
                state = vocoder.init_state(GivenNoise(hift, noise))
                golden.check(key, vocoder.vocode(golden["in_mel"], state, last)[0][None])
        if "x_cache_source" in golden:
            old = golden["x_cache_source"][:, 0]
            source = torch.cat([old, source[:, old.shape[1] :]], dim=1)
            golden.check("out_s_cache", source[:, None])
            golden.check("out_wav_cache", hift.decode(golden["in_mel"], source))


@contextmanager
def quirks(hift: Hift, follow: bool) -> Iterator[None]:
    """Let a network follow its quirks, or none, within a block."""
    before = hift.spec
    hift.spec = before if follow else without_quirks(before)
    yield
    hift.spec = before


# ---- from tokens to sound ---------------------------------------------------------------------


def check_long(golden: Case, key: str, wav: Tensor) -> None:
    """Compare a long waveform by its worst and its mean square difference."""
    if key not in golden:
        return
    golden.check(key, wav, atol=LONG_WAV)
    expected = golden[key]
    part = wav[tuple(slice(0, n) for n in expected.shape)]
    assert float((part - expected).square().mean().sqrt()) <= LONG_WAV_RMS


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_utterance(family: str, get: Get) -> None:
    golden = case(f"{family}/nonstream")
    decoder = FlowDecoder(get(family, "decoder")[1])
    mel, _ = decoder.decode(
        golden["in_token"].long(), start(decoder, golden, full_attention=True), True
    )
    golden.check("out_mel", mel)
    golden.check("out_hift_mel_speed125", resized(mel, 1.25))
    spec, hift = get(family, "vocoder")
    for ending, frames in (("", mel), ("_speed125", resized(mel, 1.25))):
        if f"out_s{ending}" in golden:
            wav = hift.decode(frames, golden[f"out_s{ending}"][:, 0])
            golden.check(f"out_wav{ending}", wav, atol=1e-4)
        if spec.vocoder.noise == "normal":  # which these cases silence
            for compat in (True, False):
                with quirks(hift, compat):
                    vocoder = HiftVocoder(hift, spec.mel)
                    wav, _ = vocoder.vocode(frames, vocoder.init_state(GivenNoise(hift)), True)
                    check_long(golden, f"out_wav{ending}", wav[None])
    samples = mel.shape[2] * samples_per_frame(spec.vocoder)
    assert golden["out_schedule"].tolist() == [[golden["in_token"].shape[1], 0, 0, 1, samples]]


@pytest.mark.parametrize("call", ["first", "second"])
@pytest.mark.parametrize("family", FAMILIES)
def test_streaming(family: str, call: str, get: Get) -> None:
    """Stream as the public implementation does: its schedule, mel, sound, and second request."""
    golden = case(f"{family}/stream")
    spec, flow = get(family, "decoder")
    hift_numbers, hift = get(family, "vocoder")
    fades = hift_numbers.vocoder.quirks.hamming_crossfade_frames > 0
    vocoder = (FadingHiftVocoder if fades else HiftVocoder)(hift, hift_numbers.mel)
    decoder, tokens = FlowDecoder(flow), golden["in_token"].long()
    ending = "" if call == "first" else "_second_call"
    stored = "x_sine_waves" in golden
    noise = golden["x_sine_waves"] if stored else None
    sounds = stored or hift_numbers.vocoder.noise == "normal"  # which these cases silence
    state, wav_state = start(decoder, golden), vocoder.init_state(GivenNoise(hift, noise))
    prompt = golden["in_prompt_token"].shape[1]
    hop = spec.stream.first_hop if call == "first" else spec.stream.max_hop
    schedule, pieces, given_count, offset = [], [], 0, 0
    for index, size in enumerate(hops(spec.stream, spec.decoder, prompt, hop)):
        last = given_count + size > tokens.shape[1]
        new = tokens[:, given_count:] if last else tokens[:, given_count : given_count + size]
        given_count += new.shape[1]
        mel, state = decoder.decode(new, state, last)
        wav, wav_state = vocoder.vocode(mel, wav_state, last)
        schedule.append([given_count, offset, int(not last), int(last), wav.shape[0]])
        pieces.append(wav)
        offset += mel.shape[2] // flow.rate
        if call == "first":
            golden.check(f"out_chunk{index}_flow_mel_new", mel)
            if sounds:
                check_long(golden, f"out_chunk{index}_wav", wav[None])
        if last:
            break
    assert schedule == golden[f"out_schedule{ending}"].tolist()
    if sounds:
        check_long(golden, f"out_wav{ending}", torch.cat(pieces)[None])


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_are_what_the_engine_uses(family: str, get: Get) -> None:
    kinds = {"generator": SpeechLm, "decoder": EncodedFlow, "vocoder": Hift}
    for part, kind in kinds.items():
        assert isinstance(get(family, part)[1], kind)
