"""Make the small copy of the golden numbers in tests/data/parity from a whole folder of them.

python scripts/trim_parity.py GOLDEN_FOLDER

Left out: front ends that `tests/modules/test_spectral.py` holds to the same numbers, cases whose
large inputs cannot be cut, and all but the beginning of long outputs (listed in `x_beginnings`).
Rows of embeddings and heads that no kept case reads are zeroed; weights are compressed.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

TARGET = Path(__file__).parents[1] / "tests" / "data" / "parity"
COLUMNS = 64  # of logits
WAV = 5_000  # samples of long waveforms
Shape = tuple[int | None, ...]  # how much of each axis is kept; None is all

LOGITS: Shape = (None, COLUMNS)
# case → output or input → what is kept of it; inputs that are not listed are kept whole.
CASES: dict[str, dict[str, Shape]] = {
    "cv2/llm_prefill": {"out_lm_input": (), "out_hidden": (), "out_logits_last": LOGITS},
    "cv2/llm_prefill_noprompt": {"out_logits_last": LOGITS},
    "cv2/llm_greedy": {"out_tokens": (), "out_logits": LOGITS},
    "cv2/llm_bistream": {"out_tokens": (), "out_logits": LOGITS},
    "cv2/flow_encoder": {
        "out_spk": (),
        "out_h_stream1_final0": (None, None, 10),
        "out_h_stream0_final1": (None, None, 10),
        "out_mu_stream1_final1": (None, None, 10),
        "out_mu_stream0_final0": (None, None, 10),
    },
    "cv2/flow_inference": {
        "out_mel_stream0_final1": (None, None, 40),
        "out_mel_stream1_final0": (),
        "out_traj_t": (),
    },
    "cv2/flow_inference_noprompt": {"out_mel": (None, None, 40)},
    "cv2/hift_f0": {"out_f0": ()},
    "cv2/hift_source_nonoise": {
        "out_s": (None, None, WAV),
        "out_sine": (None, 1_000, None),
        "out_uv": (),
    },
    "cv2/hift_inference_nonoise": {"out_wav": (None, WAV), "out_wav_cache": (None, WAV)},
    "cv2/stream": {
        "out_schedule": (),
        "out_schedule_second_call": (),
        "out_chunk0_flow_mel_new": (),
        "out_chunk1_flow_mel_new": (None, None, 20),
        "out_chunk2_flow_mel_new": (None, None, 20),
        "out_chunk3_flow_mel_new": (),
        "out_chunk0_wav": (None, WAV),
        "out_chunk1_wav": (None, WAV),
        "out_chunk3_wav": (None, WAV),
    },
    "cv2/nonstream": {
        "out_schedule": (),
        "out_mel": (None, None, 60),
        "out_hift_mel_speed125": (None, None, 20),
        "out_wav": (None, WAV),
    },
    "cv3/llm_prefill": {"out_lm_input": (), "out_hidden": (), "out_logits_last": LOGITS},
    "cv3/llm_prefill_noprompt": {"out_logits_last": LOGITS},
    "cv3/llm_greedy": {"out_tokens": (), "out_logits": LOGITS},
    "cv3/llm_bistream": {"out_tokens": (), "out_logits": LOGITS},
    "cv3/flow_encoder": {"out_spk": (), "out_mu_final0": (None, None, 10)},
    "cv3/flow_inference": {
        "out_mel_stream0_final1": (None, None, 40),
        "out_mel_stream1_final0": (),
        "out_traj_t": (),
    },
    "cv3/hift_f0": {"out_f0_final0": (), "out_f0_final1": ()},
    "cv3/stream": {
        "out_schedule": (),
        "out_schedule_second_call": (),
        "out_chunk0_flow_mel_new": (None, None, 40),
        "out_chunk3_flow_mel_new": (None, None, 40),
    },
}
SOURCE_FRAMES, DECODE_FRAMES = 4, 24  # of causal cases: cut inputs give the beginning of outputs
SAMPLING_ROWS = 2
NOISE_FRAMES = 30


def cut(array: np.ndarray, shape: Shape) -> np.ndarray:
    """Keep the beginning of the axes that `shape` limits."""
    return array[tuple(slice(0, n) for n in shape)]


def trim(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the inputs of a case and the chosen part of its outputs."""
    wanted = CASES[name]
    kept = {k: a for k, a in arrays.items() if k.startswith("in_") and k not in wanted}
    kept |= {k: a for k, a in arrays.items() if k.startswith("x_") and a.size < 100}
    kept |= {k: cut(arrays[k], shape) for k, shape in wanted.items()}
    if beginnings := [k for k, shape in wanted.items() if any(shape)]:
        kept["x_beginnings"] = np.array(beginnings)
    if "x_cache_source" in arrays and "out_wav_cache" in kept:
        kept["x_cache_source"] = arrays["x_cache_source"]
    return kept


def trim_source(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the first frames of the causal source, in and out."""
    samples = SOURCE_FRAMES * (arrays["x_sine_waves"].shape[1] // arrays["in_f0"].shape[1])
    kept = {"in_f0": arrays["in_f0"][:, :SOURCE_FRAMES], "out_s": arrays["out_s"][..., :samples]}
    for key in ("x_sine_waves", "out_uv", "out_sine"):
        kept[key] = arrays[key][:, :samples]
    return kept


def trim_decode(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the first frames of the causal decoder, and what they give before more follow."""
    frames = arrays["in_mel"].shape[2]
    per_frame = arrays["in_s"].shape[2] // frames
    held = arrays["in_s"].shape[2] - arrays["out_wav_final0"].shape[1]
    return {
        "in_mel": arrays["in_mel"][:, :, :DECODE_FRAMES],
        "in_s": arrays["in_s"][:, :, : DECODE_FRAMES * per_frame],
        "out_wav_final0": arrays["out_wav_final0"][:, : DECODE_FRAMES * per_frame - held],
    }


def used(cases: Iterable[Mapping[str, np.ndarray]], *keys: str) -> list[int]:
    """List the ids that occur under `keys`."""
    return sorted({int(i) for case in cases for key in keys if key in case for i in case[key].flat})


def keep_rows(table: np.ndarray, rows: Iterable[int]) -> np.ndarray:
    """Zero all other rows."""
    kept = np.zeros_like(table)
    kept[list(rows)] = table[list(rows)]
    return kept


def trim_weights(
    source: Path, family: str, part: str, cases: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Zero what no kept case reads."""
    tensors = load_file(source / family / f"{part}.safetensors")
    mine = [arrays for name, arrays in cases.items() if name.startswith(f"{family}/{part}")]
    if part == "flow":
        mine += [a for name, a in cases.items() if name.endswith(("stream",)) and family in name]
        rows = used(mine, "in_token", "in_prompt_token")
        tensors["input_embedding.weight"] = keep_rows(tensors["input_embedding.weight"], rows)
    if part == "llm":
        text, head = "llm.model.model.embed_tokens.weight", "llm_decoder.weight"
        tensors["llm.model.lm_head.weight"][:] = 0
        rows = used(mine, "x_text_folded", "x_prompt_text_folded")
        tensors[text] = keep_rows(tensors[text], rows)
        said = used(mine, "out_tokens", "in_prompt_speech_token")
        speech, size = "speech_embedding.weight", tensors[head].shape[0]
        codebook = json.loads((source / family / "llm_config.json").read_text())[
            "speech_token_size"
        ]
        special = range(codebook, min(codebook + 5, size))  # the marks, the end and the fill
        tensors[speech] = keep_rows(tensors[speech], [*said, *special])
        heard = {*said, *special, *range(COLUMNS)}
        for key in (head, "llm_decoder.bias"):
            if key in tensors:
                tensors[key] = keep_rows(tensors[key], heard)
    return tensors


def main(source: Path) -> None:
    """Write the copy anew."""
    shutil.rmtree(TARGET, ignore_errors=True)
    for family in ("common", "cv2", "cv3"):
        (TARGET / family).mkdir(parents=True)
    cases: dict[str, dict[str, np.ndarray]] = {}
    for name in CASES:
        cases[name] = trim(name, np.load(source / f"{name}.npz"))
    cases["cv3/hift_source"] = trim_source(np.load(source / "cv3/hift_source.npz"))
    cases["cv3/hift_decode"] = trim_decode(np.load(source / "cv3/hift_decode.npz"))
    sampling = np.load(source / "common/ras_sampling.npz")
    cases["common/ras_sampling"] = {
        key: array[:SAMPLING_ROWS] for key, array in sampling.items() if array.ndim
    }
    noise = np.load(source / "common/rand_noise.npz")
    key = "out_rand_noise_first_1500"
    cases["common/rand_noise"] = {**noise, key: noise[key][:, :, :NOISE_FRAMES]}
    for name, arrays in cases.items():
        np.savez_compressed(TARGET / f"{name}.npz", **arrays)
    for family in ("cv2", "cv3"):
        for part in ("llm", "flow", "hift"):
            shutil.copyfile(
                source / family / f"{part}_config.json", TARGET / family / f"{part}_config.json"
            )
            packed = lzma.compress(save(trim_weights(source, family, part, cases)), preset=9)
            (TARGET / family / f"{part}.safetensors.xz").write_bytes(packed)
    shutil.copyfile(source / "tolerances.json", TARGET / "tolerances.json")
    sizes = {p: p.stat().st_size for p in TARGET.rglob("*") if p.is_file()}
    for path, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size:>9}  {path.relative_to(TARGET)}")
    print(f"{sum(sizes.values()):>9}  in all")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
