"""Numbers are said as words."""

from __future__ import annotations

import pytest

from voxkit.numbers import cardinal, fraction, number, ordinal, plural, roman, year


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (21, "twenty-one"),
        (40, "forty"),
        (115, "one hundred fifteen"),
        (1001, "one thousand one"),
        (-12_345, "minus twelve thousand three hundred forty-five"),
        (10**15, "one quadrillion"),
    ],
)
def test_cardinals(value: int, said: str) -> None:
    assert cardinal(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1, "first"),
        (2, "second"),
        (3, "third"),
        (8, "eighth"),
        (12, "twelfth"),
        (20, "twentieth"),
        (45, "forty-fifth"),
        (100, "one hundredth"),
        (1009, "one thousand ninth"),
    ],
)
def test_ordinals(value: int, said: str) -> None:
    assert ordinal(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1066, "one thousand sixty-six"),
        (1100, "eleven hundred"),
        (1905, "nineteen oh five"),
        (1999, "nineteen ninety-nine"),
        (2000, "two thousand"),
        (2009, "two thousand nine"),
        (2024, "twenty twenty-four"),
    ],
)
def test_years(value: int, said: str) -> None:
    assert year(value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,234.50", "one thousand two hundred thirty-four point five zero"),
        (".5", "point five"),
        ("0", "zero"),
        ("007", "zero zero seven"),
        ("0123456789", "zero one two three four five six seven eight nine"),
    ],
)
def test_written_numbers(text: str, said: str) -> None:
    assert number(text) == said


def test_a_number_of_ten_thousand_digits_is_read_digit_by_digit() -> None:
    assert number("1" * 10_000) == " ".join(["one"] * 10_000)


@pytest.mark.parametrize(
    ("top", "bottom", "said"),
    [
        (1, 2, "one half"),
        (3, 2, "three halves"),
        (3, 4, "three quarters"),
        (5, 8, "five eighths"),
        (1, 100, "one hundredth"),
        (5, 113, "five over one hundred thirteen"),
        (1, 0, "one over zero"),
    ],
)
def test_fractions(top: int, bottom: int, said: str) -> None:
    assert fraction(top, bottom) == said


def test_plurals_of_decades() -> None:
    assert [plural(w) for w in ("twenty", "six", "nineteen hundred")] == [
        "twenties",
        "sixes",
        "nineteen hundreds",
    ]


def test_roman_numerals_count_only_when_well_formed() -> None:
    assert [roman(t) for t in ("I", "IV", "XIV", "MCMXCIX", "IIII", "VX", "", "ABC")] == [
        1,
        4,
        14,
        1999,
        None,
        None,
        None,
        None,
    ]
