"""Training shards from folders of recordings, with synthetic speech for text coverage.

A shard is a folder with memory-mapped arrays of many utterances laid end to end:

- `wav.npy` (S,) int16 at the model's rate;  `mel.npy` (F, M) float16;  `f0.npy` (4F,) float16 in
  Hz, 0 where unvoiced, four values a mel frame;  `phones.npy` (F,) int16 phone class of each frame,
  or -1 where nobody knows;
- `utterances.jsonl`: id, set, speaker, text, frames, held out or not; in the order of the arrays.

`sets.json` beside the shards says which folder each set was read from.
"""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from voxkit.errors import TrainingError
from voxkit.files import whole_file
from voxkit.spec import MelSpec

# Phone classes of the speech tokenizer: silence, then ARPAbet without stress; AX is unstressed AH.
PHONE_CLASSES = (
    "PAU AA AE AH AX AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH "
    "UH UW V W Y Z ZH"
).split()
_CLASS_INDEX = {phone: i for i, phone in enumerate(PHONE_CLASSES)}
_FLITE_PHONES = {"AXR": "ER", "DX": "T", "EL": "L", "EM": "M", "EN": "N"}
F0_PER_FRAME = 4
SHARD_UTTERANCES = 400
SET_FOLDERS = "sets.json"  # beside the shards: which folder each set was read from


@dataclass(frozen=True)
class SetRecipe:
    """One folder of recordings: `metadata.csv` (id|speaker|text) and `clips/ID.*`."""

    name: str
    folder: str


@dataclass(frozen=True)
class SyntheticRecipe:
    """Synthetic speech by an installed program that takes the options of `flite`."""

    program: str  # name or path
    utterances: int
    held_out: int
    voices: tuple[str, ...]
    pseudo_speakers: int
    prose: tuple[str, ...]  # folders of plain text to take sentences from


@dataclass(frozen=True)
class CorpusRecipe:
    """What `voxkit train corpus` makes."""

    seed: int
    held_out_share: float  # of every recorded set, chosen by a hash of the utterance's id
    sets: tuple[SetRecipe, ...]
    synthetic: SyntheticRecipe | None = None


@dataclass(frozen=True)
class Job:
    """One utterance to turn into arrays: a clip to read, or a text to synthesise."""

    id: str
    set: str
    speaker: str
    text: str
    held_out: bool
    clip: str = ""
    program: str = ""
    voice: str = ""
    formant: float = 1.0  # >1 shortens the vocal tract
    pitch_hz: float = 0.0  # 0 leaves the voice's own
    stretch: float = 1.0


def phone_class(symbol: str) -> int:
    """Class of an ARPAbet symbol with stress, such as AH0 (which is AX)."""
    return _CLASS_INDEX["AX" if symbol == "AH0" else symbol.rstrip("012")]


def recorded_jobs(recipe: CorpusRecipe, root: Path) -> Iterator[Job]:
    """List the utterances of every recorded set.  Raises `TrainingError`."""
    for entry in recipe.sets:
        folder = root / entry.folder
        metadata = folder / "metadata.csv"
        for part in (metadata, folder / "clips"):
            if not part.exists():
                raise TrainingError(f"{part} is missing: a set is metadata.csv beside clips/.")
        clips = {p.stem: p for p in sorted((folder / "clips").iterdir())}
        with metadata.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE):
                if not row:
                    continue  # an empty line
                if len(row) < 3:
                    raise TrainingError(f"{metadata}: {'|'.join(row)!r} is not id|speaker|text.")
                if row[0] in clips:
                    held_out = random.Random(row[0]).random() < recipe.held_out_share
                    yield Job(row[0], entry.name, row[1], row[2], held_out, clip=str(clips[row[0]]))


def synthetic_jobs(
    recipe: SyntheticRecipe, seed: int, transcripts: list[str], words: list[str], prose: list[str]
) -> Iterator[Job]:
    """List synthetic utterances.

    Speakers beyond the program's own voices are made by moving formants (resampling), pitch and
    tempo.
    """
    from voxkit.train.sentences import SentenceSource

    draw = random.Random(seed)
    speakers = [(v, v, 1.0, 0.0, 1.0) for v in recipe.voices]
    for i in range(recipe.pseudo_speakers):
        voice = recipe.voices[i % len(recipe.voices)]
        formant = math.exp(draw.uniform(math.log(0.84), math.log(1.25)))
        pitch = draw.uniform(85, 240) / formant if voice != "rms" else 0.0
        speakers.append((f"{voice}-{i}", voice, formant, pitch, formant * draw.uniform(0.88, 1.15)))
    source = SentenceSource(transcripts, prose, words, seed)
    for i in range(recipe.utterances):
        plain = draw.random() < 0.6
        index = draw.randrange(len(recipe.voices) if plain else len(speakers))
        name, voice, formant, pitch, stretch = speakers[index]
        yield Job(
            f"synthetic-{i:06d}",
            "synthetic",
            f"{Path(recipe.program).name}-{name}",
            source.draw(),
            i < recipe.held_out,
            program=recipe.program,
            voice=voice,
            formant=round(formant, 4),
            pitch_hz=round(pitch, 1),
            stretch=round(stretch, 4),
        )


def find_clip(root: Path, corpus: Path, name: str, clip: str) -> Path:
    """Return the recording `clip` of the set `name`, in the folder that `corpus` was made from."""
    path = corpus / SET_FOLDERS
    folders = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    folder = root / folders.get(name, name) / "clips"
    found = sorted(p for p in folder.glob("*") if p.stem == clip)
    if not found:
        raise TrainingError(f"There is no recording {clip} in {folder}: check --data.")
    return found[0]


def write_shards(jobs: list[Job], out: Path, mel: MelSpec, workers: int) -> Iterator[int]:
    """Make the shards that are missing and yield the number of utterances of each as it is done."""
    groups = [jobs[i : i + SHARD_UTTERANCES] for i in range(0, len(jobs), SHARD_UTTERANCES)]
    names = [f"{group[0].set}-{i:04d}" for i, group in enumerate(groups)]
    todo = [(g, out / n, mel) for g, n in zip(groups, names, strict=True) if not (out / n).exists()]
    yield sum(len(g) for g in groups) - sum(len(g) for g, _, _ in todo)
    # spawned: a fork would copy torch with its threads at work
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_shard, *zip(*todo, strict=True)) if todo else ()


def _write_shard(jobs: list[Job], folder: Path, mel: MelSpec) -> int:
    import torch

    from voxkit.modules.spectral import log_mel

    torch.set_num_threads(1)
    arrays: dict[str, list[np.ndarray]] = {"wav": [], "mel": [], "f0": [], "phones": []}
    rows: list[dict[str, Any]] = []
    for job in jobs:
        made = _synthesise(job, mel.sample_rate) if job.program else _read(job, mel.sample_rate)
        if made is None:
            continue
        wav, segments = made
        frames = len(wav) // (2 * mel.hop) * 2  # whole tokens: two mel frames each
        if not 10 <= frames <= 40 * mel.sample_rate // mel.hop:
            continue
        wav = wav[: frames * mel.hop]
        features = log_mel(torch.from_numpy(wav)[None], mel)[0].T.numpy()
        arrays["wav"].append((np.clip(wav, -1, 1) * 32767).astype(np.int16))
        arrays["mel"].append(features.astype(np.float16))
        arrays["f0"].append(track_pitch(wav, mel, frames).astype(np.float16))
        arrays["phones"].append(_frame_phones(segments, frames, mel))
        row = {key: asdict(job)[key] for key in ("id", "set", "speaker", "text", "held_out")}
        rows.append(row | {"frames": frames})
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    for name, parts in arrays.items():
        np.save(partial / f"{name}.npy", np.concatenate(parts) if parts else np.zeros(0, np.int16))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (partial / "utterances.jsonl").write_text(lines, encoding="utf-8")
    partial.rename(folder)
    return len(jobs)


def _read(job: Job, rate: int) -> tuple[np.ndarray, None] | None:
    try:
        samples, native = soundfile.read(job.clip, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise TrainingError(f"{job.clip} cannot be read ({error}): replace it.") from None
    wav = samples.mean(1)
    if native != rate:
        wav = soxr.resample(wav, native, rate)
    wav = set_level(trim_silence(wav.astype(np.float32), rate), rate)
    return (wav, None) if len(wav) else None


def _synthesise(job: Job, rate: int) -> tuple[np.ndarray, list[tuple[int, float]]] | None:
    """Run the program: the waveform and (phone class, end time in s) of every segment."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = [job.program, "-voice", job.voice]
        if job.stretch != 1:
            command += ["--setf", f"duration_stretch={job.stretch}"]
        if job.pitch_hz:
            command += ["--setf", f"int_f0_target_mean={job.pitch_hz}"]
        command += ["-t", job.text, "-psdur", "-o", file.name]
        try:
            said = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
            samples, native = soundfile.read(file.name, dtype="float32")
        except (OSError, subprocess.SubprocessError, soundfile.LibsndfileError) as error:
            told = getattr(error, "stderr", None) or str(error).encode()
            raise TrainingError(
                f"{job.program} could not say {job.id} ({job.text!r}) with the voice {job.voice}: "
                f"{' '.join(told.decode(errors='replace').split())[:200]}"
            ) from None
    segments = []
    for item in said.decode(errors="replace").split():
        name, _, end = item.rpartition(":")
        name = _FLITE_PHONES.get(name.upper(), name.upper())
        if name not in _CLASS_INDEX:
            return None
        segments.append((_CLASS_INDEX[name], float(end) / job.formant))
    if not segments:
        return None
    wav = soxr.resample(samples, native * job.formant, rate).astype(np.float32)
    wav = _extend_band(wav, rate, native * job.formant / 2, job.id)
    return set_level(wav, rate), segments


def _extend_band(wav: np.ndarray, rate: int, cutoff: float, seed: str) -> np.ndarray:
    """Fill the empty band above `cutoff` Hz with noise that follows the energy just below it."""
    from scipy.signal import butter, sosfilt, sosfiltfilt

    top = min(cutoff * 0.97, 0.48 * rate)
    band = butter(4, [0.62 * top, 0.95 * top], "bandpass", fs=rate, output="sos")
    high = butter(6, top, "highpass", fs=rate, output="sos")
    smooth = butter(2, 40, "lowpass", fs=rate, output="sos")
    energy = np.sqrt(np.maximum(sosfiltfilt(smooth, sosfilt(band, wav) ** 2), 0))
    draw = np.random.default_rng(random.Random(seed).getrandbits(32))
    noise = sosfilt(high, draw.standard_normal(len(wav)))
    return (wav + 0.45 * energy * noise / (noise.std() + 1e-9)).astype(np.float32)


def trim_silence(wav: np.ndarray, rate: int, keep_s: float = 0.1) -> np.ndarray:
    """Cut both ends down to `keep_s` of what is 40 dB below the loudest 20 ms."""
    hop = rate // 50
    frames = len(wav) // hop
    if frames == 0:
        return wav[:0]
    power = (wav[: frames * hop].reshape(frames, hop) ** 2).mean(1)
    loud = np.flatnonzero(power > power.max() * 1e-4)
    if len(loud) == 0:
        return wav[:0]
    margin = int(keep_s * rate)
    return wav[max(0, loud[0] * hop - margin) : (loud[-1] + 1) * hop + margin]


def set_level(wav: np.ndarray, rate: int, *, rms: float = 0.08, peak: float = 0.95) -> np.ndarray:
    """Scale so that the louder half of the 20 ms frames has `rms`, without exceeding `peak`."""
    hop = rate // 50
    if len(wav) < hop:
        return wav
    power = (wav[: len(wav) // hop * hop].reshape(-1, hop) ** 2).mean(1)
    level = float(np.sqrt(power[power >= np.median(power)].mean()))
    scale = min(rms / max(level, 1e-6), peak / max(float(np.abs(wav).max()), 1e-6))
    return (wav * scale).astype(np.float32)


def track_pitch(wav: np.ndarray, mel: MelSpec, frames: int) -> np.ndarray:
    """Return f0 in Hz (0 unvoiced), `F0_PER_FRAME` a mel frame, by WORLD's DIO and StoneMask."""
    try:
        import pyworld
    except ImportError:
        raise TrainingError(
            "Tracking pitch needs pyworld: install it with `pip install 'voxkit[train]'`."
        ) from None

    period = 1000.0 * mel.hop / mel.sample_rate / F0_PER_FRAME
    audio = wav.astype(np.float64)
    f0, times = pyworld.dio(
        audio, mel.sample_rate, f0_floor=60.0, f0_ceil=500.0, frame_period=period, speed=6
    )
    f0 = pyworld.stonemask(audio, f0, times, mel.sample_rate)
    return np.pad(f0, (0, max(0, frames * F0_PER_FRAME - len(f0))))[: frames * F0_PER_FRAME]


def _frame_phones(
    segments: list[tuple[int, float]] | None, frames: int, mel: MelSpec
) -> np.ndarray:
    if segments is None:
        return np.full(frames, -1, np.int16)
    ends = np.array([end for _, end in segments])
    classes = np.array([phone for phone, _ in segments], np.int16)
    centres = (np.arange(frames) + 0.5) * mel.hop / mel.sample_rate
    return classes[np.minimum(np.searchsorted(ends, centres), len(classes) - 1)]


def build(
    recipe: CorpusRecipe, root: Path, out: Path, mel: MelSpec, workers: int
) -> Iterator[tuple[int, int]]:
    """Write every shard that is missing into `out`; yields (done, total) utterances."""
    recorded = list(recorded_jobs(recipe, root))
    synthetic: list[Job] = []
    if recipe.synthetic:
        _check_program(recipe.synthetic)
        synthetic = list(_synthetic(recipe, recorded))
    out.mkdir(parents=True, exist_ok=True)
    for partial in out.glob(".partial-*"):
        shutil.rmtree(partial)
    folders = {s.name: s.folder for s in recipe.sets}
    with whole_file(out / SET_FOLDERS, force=True) as part:
        part.write_text(json.dumps(folders, indent=2) + "\n", encoding="utf-8")
    total = len(recorded) + len(synthetic)
    done = 0
    groups = [[j for j in recorded if j.set == s.name] for s in recipe.sets] + [synthetic]
    for group in groups:
        if group:
            for count in write_shards(group, out, mel, workers):
                done += count
                yield done, total


def _check_program(recipe: SyntheticRecipe) -> None:
    """Raise `TrainingError` unless the program is there and has the voices.

    Asked for a voice that it has not, flite speaks with another.
    """
    if shutil.which(recipe.program) is None:
        raise TrainingError(
            f"The program {recipe.program} is not installed; install it or remove "
            "[synthetic] from the recipe."
        )
    listed = subprocess.run([recipe.program, "-lv"], capture_output=True, text=True, check=False)
    _, _, names = listed.stdout.partition("Voices available:")
    if unknown := [v for v in recipe.voices if v not in names.split()]:
        raise TrainingError(
            f"The program {recipe.program} has no voice {unknown[0]!r}, only "
            f"{', '.join(names.split()) or 'none'}: change `voices` in the recipe."
        )


def _synthetic(recipe: CorpusRecipe, recorded: list[Job]) -> Iterator[Job]:
    from voxkit.phonemes import Lexicon
    from voxkit.train.sentences import read_prose

    assert recipe.synthetic is not None
    lexicon = Lexicon.bundled()
    words = sorted(w for w in lexicon.entries if re.fullmatch(r"[a-z]{3,12}", w))
    known = set(words) | set("a i an of to in is it on at by he we be as or if so no do go".split())
    transcripts = [j.text for j in recorded if j.text and not j.held_out]
    prose = read_prose((Path(p) for p in recipe.synthetic.prose), known)
    return synthetic_jobs(recipe.synthetic, recipe.seed, transcripts, words, prose)
