"""Reads who is described: "an old man, deep and slow, a little hoarse" → traits of a voice.

Rate, pitch and loudness are read as for a style; the words that tell who speaks have their own
table here.  What belongs to a way of speaking and not to a voice is left for `--style`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from voxkit import phrases
from voxkit.errors import VoiceError
from voxkit.instruct import understand
from voxkit.voice_space import Gender
from voxkit.wording import clauses


@dataclass(frozen=True)
class Mark:
    """What one word tells of a speaker, in standard deviations from the mean of the gender."""

    words: str  # that mean it, separated by commas
    gender: Gender | None = None
    traits: Mapping[str, float] = field(default_factory=dict)
    rate: float = 1.0  # factor
    pitch_hz: float | None = None
    formants: float = 1.0  # factor; children have short vocal tracts


_OLD = {"clearness_db": -0.8, "brightness_db": -0.3}
_YOUNG = {"clearness_db": 0.6, "brightness_db": 0.4}
_MARKS = (
    Mark("man, male, gentleman, guy, masculine, he, 男, 男人, 男声, 男性", "male"),
    Mark("woman, female, lady, feminine, she, 女, 女人, 女声, 女性", "female"),
    Mark("boy, 男孩", "male", _YOUNG, 1.05, 230.0, 1.15),
    Mark("girl, 女孩", "female", _YOUNG, 1.05, 250.0, 1.08),
    Mark("child, kid, 孩子, 小孩", "female", _YOUNG, 1.05, 260.0, 1.1),
    Mark("grandmother, grandma, granny, 老奶奶", "female", _OLD, 0.92),
    Mark("grandfather, grandpa, 老爷爷", "male", _OLD, 0.92),
    Mark("old, elderly, aged, 老人, 老", None, _OLD, 0.92),
    Mark("young, teenage, teenager, youthful, 年轻", None, _YOUNG, 1.05),
    Mark("adult, middle aged, mature"),
    Mark("hoarse, raspy, husky, rough, gravelly, 沙哑, 嘶哑", None, {"clearness_db": -1.5}),
    Mark("breathy, airy", None, {"clearness_db": -1.2}),
    Mark("smooth, velvety", None, {"clearness_db": 1.2}),
    Mark("bright, brilliant, sharp, 明亮", None, {"brightness_db": 1.2}),
    Mark("dark, mellow, muffled, dull", None, {"brightness_db": -1.2}),
    Mark("thin", None, {"energy_db": -1.0, "brightness_db": 0.6}),
    Mark("full, rich, sonorous, resonant", None, {"energy_db": 1.0, "brightness_db": -0.3}),
)
# Words of a style that mean something else of a voice → a word of the table with that meaning.
_OF_A_VOICE = {"clear": "smooth", "crisp": "smooth", "clean": "smooth", "清晰": " smooth "}
_OF_A_VOICE |= {"warm": "mellow", "soft": "airy"}
_BY_WORD = {word.strip(): mark for mark in _MARKS for word in mark.words.split(",")}
_HERTZ = re.compile(r"(?:at\s+|about\s+|around\s+)?(\d{2,4}(?:\.\d+)?)\s*(?:hz|hertz)\b", re.I)
_LONGEST = 2_000  # characters
_MANNERS = ("emotion", "voicing", "role", "dialect")  # what belongs to a style and to no voice


@dataclass(frozen=True)
class Wish:
    """What a description asks of a voice."""

    words: str
    gender: Gender | None
    traits: Mapping[str, float]  # standard deviations from the mean of the gender
    pitch_st: float | None  # semitones from the middle of the gender
    pitch_hz: float | None  # exactly, wherever the middle is
    rate: float  # factor of the usual rate
    formants: float  # factor of the usual resonances
    understood: tuple[tuple[str, str], ...]  # (phrase, its effect)
    styles: tuple[str, ...]  # understood, but a way of speaking and no voice
    ignored: tuple[str, ...]

    @property
    def gave_way(self) -> tuple[tuple[str, str], ...]:
        """Phrases that later ones contradict, and what is said of that."""
        return tuple(told for told in self.understood if "gives way to" in told[1])


def read_wish(words: str) -> Wish:
    """Read a description, English or Chinese.  Raises `VoiceError` if nothing was understood."""
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    if not words or len(words) > _LONGEST:
        raise VoiceError('Say in a few words who speaks, such as "an old man, deep and slow".')
    hertz = _HERTZ.search(words)
    plain = _as_a_voice(_HERTZ.sub(" ", words))
    style = understand(plain)
    reading = _Reading()
    for phrase in style.ignored:
        reading.take(phrase)
    reading.settle()
    settings = style.settings()
    styles = [f"{n} {settings[n]}" for n in _MANNERS if n in settings]
    if "energy_db" in settings:
        reading.add(
            {"energy_db": settings["energy_db"] / 6, "brightness_db": settings["energy_db"] / 12}
        )
    if "pitch_range" in settings:
        reading.add({"pitch_range_st": 2 * math.log2(max(settings["pitch_range"], 0.25))})
    pitch_hz = float(hertz[1]) if hertz else reading.pitch_hz
    if pitch_hz is not None and not 50 <= pitch_hz <= 500:
        raise VoiceError(f"A voice of {pitch_hz:g} Hz is none: people speak at 60 to 400 Hz.")
    wish = Wish(
        words=words,
        gender=reading.gender,
        traits=reading.traits,
        pitch_st=settings.get("pitch_st"),
        pitch_hz=pitch_hz,
        rate=min(max(settings.get("rate", 1.0) * reading.rate, 0.4), 2.5),
        formants=reading.formants,
        understood=style.understood
        + tuple(reading.understood)
        + (((hertz[0], "pitch"),) if hertz else ()),
        styles=tuple(styles),
        ignored=tuple(reading.ignored),
    )
    claims, _ = phrases.read(plain)
    if all(claim.sets.keys() & set(_MANNERS) for claim in claims) and not (
        hertz or reading.understood
    ):
        raise VoiceError(
            f"Nothing in {words[:80]!r} tells how a voice sounds: say for example who speaks (an "
            "old woman), how high or deep, how fast, how hoarse or clear."
        )
    return wish


def _as_a_voice(words: str) -> str:
    """Put words in place of those that a style takes for a way of speaking."""
    pattern = "|".join(rf"\b{w}\b" if w.isascii() else w for w in _OF_A_VOICE)
    return re.sub(pattern, lambda m: _OF_A_VOICE[m[0].lower()], words, flags=re.IGNORECASE)


class _Reading:
    """What the words that no style knows tell of a speaker."""

    def __init__(self) -> None:
        self.gender: Gender | None = None
        self.traits: dict[str, float] = {}
        self.rate = self.formants = 1.0
        self.pitch_hz: float | None = None
        self.said: list[tuple[Mark, float, str]] = []  # with its strength and its phrase
        self.understood: list[tuple[str, str]] = []
        self.ignored: list[str] = []

    def add(self, traits: Mapping[str, float]) -> None:
        """Move traits by standard deviations."""
        for name, value in traits.items():
            self.traits[name] = self.traits.get(name, 0.0) + value

    def take(self, phrase: str) -> None:
        """Read one phrase: its marks, with what makes them stronger, weaker or the opposite."""
        for items in clauses(phrase):
            strength, start = 1.0, None
            for item in items:
                kind, text = item.entry.kind, phrase[item.start : item.end]
                mark = _BY_WORD.get(text.casefold())
                if kind == "intensity":
                    strength, start = strength * item.entry.value, start or item.start
                elif kind == "not":
                    strength, start = -0.5 * strength, start or item.start
                elif mark is not None:
                    said = phrase[item.start if start is None else start : item.end]
                    self.said.append((mark, strength, said))
                    strength, start = 1.0, None
                elif kind in ("unknown", "speaker", "effect"):
                    self.ignored.append(text)

    def settle(self) -> None:
        """Apply all marks; of two genders or ages the later is meant."""
        for i, (mark, strength, phrase) in enumerate(self.said):
            later = self.said[i + 1 :]
            gender, age = _gender(mark, strength), _age(mark, strength)
            over = [p for m, s, p in later if gender and _gender(m, s) not in (None, gender)]
            older = [p for m, s, p in later if age and _age(m, s) not in (None, age)]
            self.gender = gender or self.gender
            if not older:
                self._apply(mark, strength)
            lost = " and ".join(f"“{p}”" for p in dict.fromkeys(over[-1:] + older[-1:]))
            effect = f"gives way to {lost}" if lost else mark.words.split(",")[0]
            self.understood.append((phrase, effect))

    def _apply(self, mark: Mark, strength: float) -> None:
        if strength > 0:
            self.rate *= mark.rate**strength
            self.formants = max(self.formants, mark.formants)
            self.pitch_hz = mark.pitch_hz or self.pitch_hz
        self.add({name: strength * value for name, value in mark.traits.items()})


def _gender(mark: Mark, strength: float) -> Gender | None:
    """Return the gender that a mark tells of; that of "not a man" is the other one."""
    if mark.gender is None or strength > 0:
        return mark.gender
    return "male" if mark.gender == "female" else "female"


def _age(mark: Mark, strength: float) -> str | None:
    """Return the age that a mark tells of, if any."""
    known = {id(_OLD): "old", id(_YOUNG): "young"}
    return known.get(id(mark.traits)) if strength > 0 else None
