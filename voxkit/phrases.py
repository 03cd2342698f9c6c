"""Reads wishes such as "a bit sad, 20% faster" out of free English or Chinese words.

Inside one clause a small grammar joins intensities, negations, numbers and directions to the word
they belong to.  Every word ends up in exactly one place: in a `Claim`, among the fillers ("speak",
"in a ... voice"), or in a phrase that was not understood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from voxkit.style import FIELDS, LIMITS, NEUTRAL, clip
from voxkit.wording import Effect, Entry, Item, clauses, lexicon

_FACTORS = frozenset(
    ("rate", "pitch_range", "pause")
)  # scaled as powers; the rest is scaled as products


@dataclass(frozen=True)
class Claim:
    """A phrase that was understood, and the fields it sets."""

    phrase: str
    start: int
    sets: Mapping[str, Any]
    colours: Mapping[str, Any]  # apply only where nothing else is said
    exact: bool  # a number was given
    softens: str = ""  # "not too fast": the effect of which there shall be less


@dataclass
class _Draft:
    """A claim being put together: the effect's items and what modifies it."""

    effect: str
    items: list[int]
    factor: float | None = None
    negated: bool = False
    less: bool = False
    number: Entry | None = None
    absolute: bool = False  # "speed 1.2" rather than "20% faster"
    reset: tuple[str, ...] = ()


@dataclass
class _Loose:
    """Modifiers that still wait for their word, as item indices."""

    negation: int | None = None
    compare: int | None = None
    factors: list[int] = field(default_factory=list)
    number: int | None = None
    noun: int | None = None
    direction: int | None = None
    reset: int | None = None

    def all(self) -> list[int]:
        """Every waiting item."""
        single = (self.negation, self.compare, self.number, self.noun, self.direction, self.reset)
        return [i for i in single if i is not None] + self.factors


def read(description: str) -> tuple[tuple[Claim, ...], tuple[tuple[int, str], ...]]:
    """Return what was understood, in order, and (start, phrase) of what was not."""
    claims: list[Claim] = []
    ignored: list[tuple[int, str]] = []
    for items in clauses(description):
        drafts, lost, kept = _Clause(items).parse()
        for draft in drafts:
            claim = _claim(draft, items, description)
            if claim is None:
                lost |= set(draft.items)
            else:
                claims.append(claim)
        ignored += _phrases(items, lost, kept, description)
    return _settled(sorted(claims, key=lambda c: c.start)), tuple(ignored)


def _settled(claims: list[Claim]) -> tuple[Claim, ...]:
    """Let a claim that softens another mean what it does beside that one.

    "Not too fast, not too slow" is the normal rate, and "sad, but not too sad" a bit sad.
    """
    for j, later in enumerate(claims):
        for i, earlier in enumerate(claims[:j] if later.softens else []):
            if earlier.softens:
                normal = {n: getattr(NEUTRAL, n) for n in _opposed(earlier.sets, claims[j].sets)}
                claims[i] = replace(earlier, sets={**earlier.sets, **normal})
                claims[j] = replace(claims[j], sets={**claims[j].sets, **normal})
                continue
            mood = lexicon().effects[later.softens].sets
            if mood.get("emotion") and mood["emotion"] == earlier.sets.get("emotion"):
                claims[j] = replace(claims[j], sets=_scale(mood, 0.5))
    return tuple(claims)


def _opposed(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Name the quantities that two claims want on different sides of normal."""
    shared = [name for name in one if name in other and name in LIMITS]
    off = {n: (one[n] - getattr(NEUTRAL, n), other[n] - getattr(NEUTRAL, n)) for n in shared}
    return [name for name, (a, b) in off.items() if a * b < 0]


class _Clause:
    """One pass over the items of a clause, from left to right."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.loose = _Loose()
        self.drafts: list[_Draft] = []
        self.lost: set[int] = set()  # items that were not understood
        self.taken: set[int] = set()  # items used ahead of their turn
        self.open: _Draft | None = None  # the last draft, while only fillers followed
        self.beside = -1  # the item index right after the last draft
        self.carried = False  # the last draft was negated and "or" may carry that on
        self.doubt = False  # a negation fell to an unknown word: what follows may mean the opposite

    def parse(self) -> tuple[list[_Draft], set[int], set[int]]:
        """Return the drafts, the items that were lost, and those that are mere fillers."""
        for k, item in enumerate(self.items):
            if k not in self.taken:
                self._step(k, item.entry)
        self._finish()
        used = {i for draft in self.drafts for i in draft.items}
        return self.drafts, self.lost, set(range(len(self.items))) - used - self.lost

    def _step(self, k: int, entry: Entry) -> None:
        match entry.kind:
            case "filler":
                self.carried = False
            case "or":
                self.open = None
            case "and":
                self.carried, self.open, self.doubt = False, None, False
                self._drop(self.loose.factors)
                self.loose.factors = []
            case "not":
                self._drop_one("negation")
                self.loose.negation, self.open = k, None
            case "intensity":
                self._intensity(k, entry)
            case "compare":
                self._drop_one("compare")
                self.loose.compare = k
            case "quantity":
                self._quantity(k, entry)
            case "noun":
                self._noun(k, entry)
            case "direction":
                self._direction(k, entry)
            case "effect":
                self._effect(entry.name, k)
            case "reset":
                self._reset(k)
            case _:
                self.doubt = self.doubt or self.loose.negation is not None
                self.lost |= {k, *self.loose.all()}
                self.loose, self.open, self.carried = _Loose(), None, False

    def _next(self, k: int) -> Entry | None:
        """The next entry that is no filler."""
        for i in range(k + 1, len(self.items)):
            if self.items[i].entry.kind != "filler" and i not in self.taken:
                return self.items[i].entry
        return None

    def _drop(self, indices: list[int]) -> None:
        self.lost |= set(indices)

    def _drop_one(self, name: str) -> None:
        index = getattr(self.loose, name)
        if index is not None:
            self.lost.add(index)
            setattr(self.loose, name, None)

    def _intensity(self, k: int, entry: Entry) -> None:
        coming = self._next(k)
        followed = coming is not None and coming.kind in ("effect", "direction", "compare")
        if self.open is not None and (
            (entry.name == "after" and (self.beside == k or not followed))
            or (entry.name == "either" and not followed)
        ):
            self.open.items.append(k)
            self.open.factor = (self.open.factor or 1.0) * entry.value
            self.beside = k + 1
        else:
            self.loose.factors.append(k)

    def _quantity(self, k: int, entry: Entry) -> None:
        coming = self._next(k)
        ahead = self._quantity_of(coming) if coming and k + 1 < len(self.items) else None
        if (
            self.open is not None
            and self.open.number is None
            and _fits(self._quantity_of(Entry("effect", self.open.effect)), entry)
            and not _fits(ahead, entry)
        ):
            self.open.items.append(k)
            self.open.number = entry
        else:
            self._drop_one("number")
            self.loose.number = k

    def _quantity_of(self, entry: Entry | None) -> str | None:
        """The field that a number beside this entry would set."""
        if entry is None:
            return None
        if entry.kind == "effect":
            return lexicon().effects[entry.name].quantity
        return entry.name if entry.kind == "direction" else None

    def _noun(self, k: int, entry: Entry) -> None:
        coming = self._next(k)
        mine = self.open and self._quantity_of(Entry("effect", self.open.effect)) == entry.name
        if self.open is not None and (
            mine or coming is None or coming.kind not in ("direction", "quantity", "effect")
        ):
            self.open.items.append(k)
        elif self.loose.reset is not None:
            self._reset_field(entry.name, [self.loose.reset, k])
            self.loose.reset = None
        elif self.loose.compare is not None:
            held, self.loose.compare, self.loose.noun = self.loose.compare, None, k
            down = self.items[held].entry.value < 0
            self._effect(lexicon().effect_of[entry.name][down], held)
        elif self.loose.negation is not None and self._plain_negation():
            self._reset_field(entry.name, [self.loose.negation, k])
            self.loose.negation = None
        else:
            self._drop_one("noun")
            self.loose.noun = k

    def _plain_negation(self) -> bool:
        return self.loose.number is None and self.loose.direction is None and not self.loose.factors

    def _direction(self, k: int, entry: Entry) -> None:
        field_name = entry.name if entry.name in LIMITS else None
        if self.loose.noun is not None:
            field_name = self.items[self.loose.noun].entry.name
        else:
            index = next(
                (i for i in range(k + 1, len(self.items)) if self.items[i].entry.kind != "filler"),
                None,
            )
            if index is not None and self.items[index].entry.kind == "noun":
                self.loose.noun, field_name = index, self.items[index].entry.name
                self.taken.add(index)
            elif self._unit_field(index):
                field_name = self._unit_field(index)
        if field_name is None:
            self.lost |= {k, *self.loose.all()}
            self.loose, self.open = _Loose(), None
        else:
            self._effect(lexicon().effect_of[field_name][entry.value < 0], k)

    def _unit_field(self, coming: int | None) -> str | None:
        """The field that the unit of a neighbouring number names: semitones are about pitch."""
        near = self.loose.number if self.loose.number is not None else coming
        if near is None or self.items[near].entry.kind != "quantity":
            return None
        unit = self.items[near].entry.name.lstrip("+")
        return {"semitones": "pitch_st", "octaves": "pitch_st", "db": "energy_db"}.get(unit)

    def _effect(self, name: str, k: int) -> None:
        if self.doubt:
            self.lost |= {k, *self.loose.all()}
            self.loose, self.open = _Loose(), None
            return
        draft, loose = _Draft(name, [k, *self.loose.factors]), self.loose
        if loose.reset is not None:
            self._reset_field(None, [loose.reset])
        if loose.factors:
            draft.factor = math.prod(self.items[i].entry.value for i in loose.factors)
        if loose.negation is not None:
            draft.items.append(loose.negation)
        draft.negated = loose.negation is not None or self.carried
        if loose.compare is not None:
            draft.items.append(loose.compare)
            draft.less = self.items[loose.compare].entry.value < 0
        if loose.noun is not None:
            draft.items.append(loose.noun)
        if loose.number is not None:
            entry = self.items[loose.number].entry
            if _fits(self._quantity_of(Entry("effect", name)), entry):
                draft.number = entry
                draft.items.append(loose.number)
            else:
                self.lost.add(loose.number)
        self.loose = _Loose()
        self._add(draft, k)

    def _add(self, draft: _Draft, k: int) -> None:
        self.drafts.append(draft)
        self.open, self.beside, self.carried = draft, k + 1, draft.negated

    def _reset(self, k: int) -> None:
        if self.loose.noun is not None:
            self._reset_field(self.items[self.loose.noun].entry.name, [self.loose.noun, k])
            self.loose.noun = None
        else:
            self._drop_one("reset")
            self.loose.reset = k
        self.open = None

    def _reset_field(self, name: str | None, indices: list[int]) -> None:
        self.drafts.append(_Draft("", list(indices), reset=(name,) if name else FIELDS))
        self.open = None

    def _finish(self) -> None:
        """Settle what still waits at the end of the clause."""
        loose = self.loose
        if loose.number is not None:
            entry = self.items[loose.number].entry
            name = self.items[loose.noun].entry.name if loose.noun is not None else None
            name = name or self._unit_field(None) or ("rate" if entry.name == "times" else None)
            signed = entry.name.startswith("+") or entry.name == "times" or loose.noun is not None
            if name is not None and signed and _fits(name, entry, absolute=True):
                items = [i for i in (loose.number, loose.noun) if i is not None]
                effect = lexicon().effect_of[name][0]
                self.drafts.append(_Draft(effect, items, number=entry, absolute=True))
                loose.number = loose.noun = None
        if loose.reset is not None:
            self._reset_field(None, [loose.reset])
            loose.reset = None
        self._drop(loose.all())


def _fits(name: str | None, quantity: Entry, absolute: bool = False) -> bool:
    """Say whether a number with this unit can set the field `name`."""
    unit = quantity.name.lstrip("+")
    match name:
        case "pitch_st":
            return unit in ("semitones", "octaves", "percent", "times") or (
                absolute and unit == "plain"
            )
        case "energy_db":
            return unit in ("db", "percent", "times")
        case "rate" | "pause" | "pitch_range":
            return unit in ("percent", "times") or (absolute and unit == "plain")
        case _:
            return False


def _claim(draft: _Draft, items: list[Item], text: str) -> Claim | None:
    """Turn a draft into the fields it sets; None when its number is out of range."""
    start = min(items[i].start for i in draft.items)
    phrase = text[start : max(items[i].end for i in draft.items)]
    if draft.reset:
        neutral = {name: getattr(NEUTRAL, name) for name in draft.reset}
        whole = len(draft.reset) > 1
        return Claim(phrase, start, {} if whole else neutral, neutral if whole else {}, False)
    effects = lexicon().effects
    effect = effects[draft.effect]
    if draft.number is not None and not draft.negated:
        value = _quantity(effect, draft.number, draft.absolute)
        if value is None:
            return None
        return Claim(phrase, start, {str(effect.quantity): value}, {}, True)
    if draft.less or (draft.negated and draft.factor is not None):
        if effect.opposite is not None:
            sets = _scale(effects[effect.opposite].sets, 0.5)
        elif draft.less:
            sets = _scale({**effect.colours, **effect.sets}, 0.5)
        else:
            sets = _neutral(effect)
        softens = draft.effect if draft.negated and not draft.less else ""
        return Claim(phrase, start, sets, {}, False, softens)
    if draft.negated:
        return Claim(phrase, start, _neutral(effect), {}, False)
    factor = min(draft.factor or 1.0, 2.0)
    return Claim(phrase, start, _scale(effect.sets, factor), _scale(effect.colours, factor), False)


def _neutral(effect: Effect) -> dict[str, Any]:
    return {name: getattr(NEUTRAL, name) for name in {**effect.colours, **effect.sets}}


def _scale(sets: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Apply an intensity: factors to its power, numbers times it; choices stay."""
    result = {}
    for name, value in sets.items():
        if name not in LIMITS:
            result[name] = value
        else:
            scaled = value**factor if name in _FACTORS else value * factor
            result[name] = clip(name, round(scaled, 4))
    return result


def _quantity(effect: Effect, number: Entry, absolute: bool) -> float | None:
    """Work out the value of a field from a number: 20% faster is 1.2, half as loud is −6 dB."""
    name = str(effect.quantity)
    unit, signed = number.name.lstrip("+"), number.name.startswith("+")
    value = effect.sets[name]
    up = absolute or value > (1.0 if name in _FACTORS else 0.0)
    size = number.value if absolute else abs(number.value)
    if unit in ("semitones", "octaves", "db") or (unit == "plain" and name not in _FACTORS):
        result = size * (12.0 if unit == "octaves" else 1.0) * (1.0 if up else -1.0)
    else:
        if unit == "percent":
            whole = absolute and not signed  # "speed 120%"; else "20% faster", "speed +20%"
            ratio = size / 100 if whole else 1 + size / 100 * (1.0 if up else -1.0)
        else:
            size = 2.0 if size == 1 and not absolute else size  # 快一倍: faster by its whole self
            ratio = size if up or size <= 0 else 1 / size
        if ratio <= 0:
            return None
        log = math.log10(ratio)
        result = {"pitch_st": 12 * log / math.log10(2), "energy_db": 20 * log}.get(name, ratio)
    low, high = LIMITS[name]
    return round(result, 4) if low <= result <= high else None


def _phrases(items: list[Item], lost: set[int], kept: set[int], text: str) -> list[tuple[int, str]]:
    """Join neighbouring lost items, with the fillers between them, into phrases."""
    spans: list[list[int]] = []
    bridge = True
    for i, item in enumerate(items):
        if i in lost:
            if spans and bridge:
                spans[-1][1] = item.end
            else:
                spans.append([item.start, item.end])
            bridge = True
        elif i not in kept or item.entry.kind != "filler":
            bridge = False
    return [(start, text[start:end]) for start, end in spans]
