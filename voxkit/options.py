"""What one call asks for, with every default.  `None` means: as the model's own spec says."""

from __future__ import annotations

from dataclasses import dataclass

from voxkit.errors import VoxkitError

WHOLE = 100_000  # tokens, as a first hop: more than any sentence has


@dataclass(frozen=True)
class Options:
    """Wishes of one request.  Same options, text, voice and seed: the same speech tokens."""

    seed: int = 0
    speed: float = 1.0  # 2.0 speaks twice as fast; 0.25 to 4
    temperature: float | None = None  # of the token sampler; 0 is greedy
    top_p: float | None = None
    top_k: int | None = None
    steps: int | None = None  # of the decoder, from noise to mel
    guidance: float | None = None  # classifier-free guidance of the decoder
    sentence_pause_ms: float = 200.0  # silence between sentences
    first_hop: int | None = None  # fewest tokens of a sentence that are decoded before it sounds

    def __post_init__(self) -> None:
        """Refuse values outside their range with one sentence."""
        _within("seed", self.seed, 0, 2**63 - 1)
        _within("speed", self.speed, 0.25, 4.0)
        _within("temperature", self.temperature, 0.0, 2.0)
        _within("top-p", self.top_p, 0.01, 1.0)
        _within("top-k", self.top_k, 1, 100_000)
        _within("steps", self.steps, 1, 100)
        _within("guidance", self.guidance, 0.0, 10.0)
        _within("first hop", self.first_hop, 1, WHOLE)
        _within("sentence pause", self.sentence_pause_ms, 0.0, 10_000.0)


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise VoxkitError(f"The {name} must be between {low:g} and {high:g}, not {value:g}.")
