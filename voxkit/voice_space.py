"""The space that real voices lie in: which speaker vectors go with which pitch, brightness, gender.

A mixture of two Gaussians, women and men, over measured traits and the main directions of the
speaker vector, with one covariance.  Given some traits, the rest is drawn from what remains open,
so that one description has many voices: the idea of PromptTTS 2 (Leng et al. 2023,
arXiv 2309.02285), here without a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from voxkit.errors import ModelError
from voxkit.files import whole_file
from voxkit.traits import TRAITS

Gender = Literal["female", "male"]
GENDERS: tuple[Gender, ...] = ("female", "male")
FILE = "voice_space.safetensors"  # in a model's folder
_MOST_BYTES = 2**20
_SLACK = 0.6  # standard deviations by which a voice may miss what was asked for
_REACH = 2.5  # standard deviations; beyond, nobody of the training speakers was


@dataclass(frozen=True, eq=False)
class Person:
    """A point of the space: somebody who does not exist."""

    gender: Gender
    traits: dict[str, float]  # by the names in TRAITS
    speaker: np.ndarray  # (D,) float32, of unit length


@dataclass(frozen=True, eq=False)
class VoiceSpace:
    """A fitted space.  `P` is the number of directions; the first numbers of a row are traits."""

    made_by: str  # fingerprint of the model whose speaker vectors these are
    speakers: int  # from whom it was learnt
    centre: np.ndarray  # (D,) mean speaker vector
    basis: np.ndarray  # (P, D) main directions
    means: np.ndarray  # (2, 6 + P) women, men
    covariance: np.ndarray  # (6 + P, 6 + P)

    def draw(self, gender: Gender, wanted: Mapping[str, float], rng: np.random.Generator) -> Person:
        """Draw somebody with `wanted` traits: standard deviations from the mean of the gender."""
        mean = self.means[GENDERS.index(gender)].astype(np.float64)
        spread = np.sqrt(np.diag(self.covariance))
        fixed = np.array([TRAITS.index(name) for name in wanted], dtype=int)
        free = np.setdiff1d(np.arange(len(mean)), fixed)
        row = np.zeros_like(mean)
        asked = np.clip(np.array(list(wanted.values())), -_REACH, _REACH)
        row[fixed] = (asked + _SLACK * rng.standard_normal(len(fixed))) * spread[fixed]
        gain = self.covariance[np.ix_(free, fixed)] @ np.linalg.pinv(
            self.covariance[np.ix_(fixed, fixed)]
        )
        rest = self.covariance[np.ix_(free, free)] - gain @ self.covariance[np.ix_(fixed, free)]
        values, vectors = np.linalg.eigh((rest + rest.T) / 2)
        chance = vectors @ (np.sqrt(values.clip(min=0)) * rng.standard_normal(len(values)))
        row[free] = gain @ row[fixed] + chance
        few = len(TRAITS)
        row[:few] = np.clip(row[:few], -_REACH * spread[:few], _REACH * spread[:few])
        vector = self.centre + (mean + row)[few:] @ self.basis
        speaker = (vector / np.linalg.norm(vector)).astype(np.float32)
        return Person(gender, untransformed((mean + row)[:few]), speaker)

    def deviations(self, gender: Gender, traits: Mapping[str, float]) -> dict[str, float]:
        """Return how many standard deviations each trait is from the mean of the gender."""
        few = len(TRAITS)
        off = transformed(traits) - self.means[GENDERS.index(gender)][:few]
        spread = np.sqrt(np.diag(self.covariance))[:few]
        return {n: float(v) for n, v in zip(TRAITS, off / spread, strict=True)}

    def femininity(self, traits: Mapping[str, float], speaker: np.ndarray) -> float:
        """Return the probability, 0 to 1, that listeners would take the speaker for a woman."""
        row = np.concatenate([transformed(traits), self.basis @ (speaker - self.centre)])
        distances = [
            float((row - mean) @ np.linalg.solve(self.covariance, row - mean))
            for mean in self.means.astype(np.float64)
        ]
        log_odds = (distances[1] - distances[0]) / 2
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, log_odds))))


def transformed(traits: Mapping[str, float]) -> np.ndarray:
    """Traits → numbers (6,) that are about normal: pitches and rates as logarithms."""
    return np.array([math.log(max(traits[n], 1e-3)) if _ratio(n) else traits[n] for n in TRAITS])


def untransformed(row: np.ndarray) -> dict[str, float]:
    """Invert `transformed`."""
    pairs = zip(TRAITS, row, strict=True)
    return {n: math.exp(v) if _ratio(n) else float(v) for n, v in pairs}


def _ratio(name: str) -> bool:
    return name.endswith(("_hz", "_s"))


def fit(
    traits: np.ndarray, speakers: np.ndarray, women: np.ndarray, *, made_by: str, directions: int
) -> VoiceSpace:
    """Fit a space: transformed traits (n, 6), unit speaker vectors (n, D), women (n,) bool.

    The covariance is that within the genders, drawn a little towards its diagonal (Ledoit and Wolf
    2004) because speakers are few.
    """
    centre = speakers.mean(0)
    _, _, rows = np.linalg.svd(speakers - centre, full_matrices=False)
    basis = rows[:directions]
    points = np.concatenate([traits, (speakers - centre) @ basis.T], axis=1)
    means = np.stack([points[women].mean(0), points[~women].mean(0)])
    off = points - means[(~women).astype(int)]
    covariance = off.T @ off / (len(off) - 2)
    covariance = 0.9 * covariance + 0.1 * np.diag(np.diag(covariance))
    return VoiceSpace(made_by, len(speakers), centre, basis, means, covariance)


def save_space(space: VoiceSpace, path: Path) -> None:
    """Write a space as float16, replacing what is there.  Raises `OutputError`."""
    from safetensors.numpy import save

    names = ("centre", "basis", "means", "covariance")
    arrays = {n: np.ascontiguousarray(getattr(space, n).astype(np.float16)) for n in names}
    # Variances of speaker vectors are too small for float16.
    arrays["covariance"] = np.ascontiguousarray(space.covariance.astype(np.float32))
    about = {"made_by": space.made_by, "speakers": space.speakers, "traits": list(TRAITS)}
    with whole_file(path, force=True) as part:
        part.write_bytes(save(arrays, {"voxkit_voice_space": json.dumps(about)}))


def load_space(path: Path) -> VoiceSpace:
    """Read a space.  Raises `ModelError` if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path} is missing: make it with `voxkit train voices`.")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})["voxkit_voice_space"])
            arrays = {n: file.get_tensor(n).astype(np.float64) for n in file.keys()}  # noqa: SIM118
        space = VoiceSpace(about["made_by"], about["speakers"], **arrays)
        directions, width = space.basis.shape
        size = len(TRAITS) + directions
        shapes = (space.centre.shape, space.means.shape, space.covariance.shape)
        if about["traits"] != list(TRAITS) or shapes != ((width,), (2, size), (size, size)):
            raise ValueError("its tables do not fit together")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("it holds numbers that are not finite")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is damaged ({error}): make it again with `voxkit train voices`."
        ) from None
    return space
