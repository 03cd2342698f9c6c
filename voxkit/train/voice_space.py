"""Fits the space of voices to the corpus's speakers: what they sound like, measured, not told.

Only whether a speaker is a woman or a man is read, from LibriSpeech's SPEAKERS.TXT or the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxkit.audio import Audio
from voxkit.errors import AudioError, TrainingError
from voxkit.reference import reference_clip
from voxkit.spec import MelSpec
from voxkit.train.data import Utterance
from voxkit.traits import Listener, measure_traits
from voxkit.voice_space import VoiceSpace, fit, transformed

_FEWEST = 8  # speakers of each gender
_LEAST_S = 1.5  # of a clip


@dataclass(frozen=True)
class VoicesRecipe:
    """From whom the space is learnt."""

    sets: tuple[str, ...]
    women: tuple[str, ...]  # speakers whose gender no table tells; the rest of those are men
    clips: int
    directions: int


def genders(data: Path, recipe: VoicesRecipe) -> dict[str, bool]:
    """Map speakers to whether they are women, from the tables of the sets and the recipe."""
    found: dict[str, bool] = {}
    for name in recipe.sets:
        table = data / name / "SPEAKERS.TXT"
        if not table.is_file():
            continue
        for line in table.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            if not line.startswith(";") and len(cells) > 1 and cells[1] in ("F", "M"):
                found[cells[0]] = cells[1] == "F"
    return found | dict.fromkeys(recipe.women, True)


def learnt(
    utterances: Sequence[Utterance],
    women: dict[str, bool],
    recipe: VoicesRecipe,
    listener: Listener,
    mel: MelSpec,
    *,
    made_by: str,
    report: Callable[[int, int], None],
) -> VoiceSpace:
    """Measure every speaker and fit the space.  Raises `TrainingError` for too few of them."""
    groups: dict[str, list[Utterance]] = {}
    for u in utterances:
        if u.set in recipe.sets and u.speaker in women:
            groups.setdefault(u.speaker, []).append(u)
    traits, speakers, who = [], [], []
    for number, (speaker, mine) in enumerate(groups.items()):
        report(number, len(groups))
        heard = _measured(mine[:: max(1, len(mine) // recipe.clips)][: recipe.clips], listener, mel)
        if heard is None:
            continue
        traits.append(heard[0])
        speakers.append(heard[1])
        who.append(women[speaker])
    if min(sum(who), len(who) - sum(who)) < _FEWEST:
        raise TrainingError(
            f"The corpus has {sum(who)} women and {len(who) - sum(who)} men whose gender is known: "
            f"at least {_FEWEST} of each are needed."
        )
    directions = min(recipe.directions, len(who) // 2)
    return fit(
        np.array(traits),
        np.array(speakers),
        np.array(who),
        made_by=made_by,
        directions=directions,
    )


def _measured(
    clips: Sequence[Utterance], listener: Listener, mel: MelSpec
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the mean transformed traits (6,) and speaker vector (D,) of some clips."""
    rows, vectors = [], []
    for u in clips:
        audio = Audio(u.wav.astype(np.float32) / 32768, mel.sample_rate)
        if audio.seconds < _LEAST_S:
            continue
        try:
            heard = measure_traits(reference_clip(audio), listener, mel)
        except AudioError:  # this clip tells nothing; others of the speaker may
            continue
        rows.append(transformed(heard.traits))
        vectors.append(heard.speaker)
    if not rows:
        return None
    vector = np.mean(vectors, axis=0)
    return np.mean(rows, axis=0), vector / np.linalg.norm(vector)
