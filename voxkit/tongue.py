"""What must be known of a language to read the figures of its sentences aloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from voxkit.myriads import Counting
from voxkit.quantities import Rule


@dataclass(frozen=True)
class Tongue:
    """How one language says what is written in figures."""

    counting: Counting
    code: tuple[str, ...]  # nought to nine in telephone numbers
    joint: str  # between the groups of a telephone number
    point: str
    minus: str
    plus: str
    below_zero: str  # before a temperature
    to: str
    versus: str  # in a score
    fraction: str  # of {top} and {bottom}
    mixed: str  # of {whole} and {part}
    percent: str  # of {value}
    permille: str
    degrees: str
    celsius: str
    fahrenheit: str
    powers: Mapping[str, str]  # "2" and "3", and "n" for the others
    space: str  # between a number and its unit
    units: Mapping[str, str]
    square: str
    cubic: str
    speeds: Mapping[str, tuple[str, str]]  # what comes before and after the number
    rate: str  # of {value} and {per}
    per: Mapping[str, str]  # what may stand behind a slash, besides units
    currencies: Mapping[str, str]  # by sign and by code
    halves: Mapping[str, str]  # "a" for a.m., "p" for p.m.
    year: Callable[[int], str]
    date: Callable[[int | None, int, int | None], str]
    clock: Callable[[int, int, int | None], str]
    counted: Callable[[int, str], str]  # a whole number and the text behind it
    names: str  # pattern of what ends in a name whose number follows after a hyphen
    date_cue: str  # patterns of what comes before and behind a month and a day
    date_sequel: str
    code_cue: str  # pattern of what comes before digits that are read one by one
    score_cue: str  # pattern of what comes before a score
    own: tuple[Rule, ...] = ()  # come first
