"""Numbers as English words: counts, ordinals, years, decimals, fractions, Roman numerals."""

from __future__ import annotations

import re

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion")
_LARGEST = 1000 ** len(_SCALES) - 1
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ROMAN_SHAPE = re.compile(r"M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")


def cardinal(value: int) -> str:
    """123 → one hundred twenty-three; beyond quadrillions digit by digit."""
    if value < 0:
        return f"minus {cardinal(-value)}"
    if value > _LARGEST:
        return digits(str(value))
    if value < 20:
        return _SMALL[value]
    if value < 100:
        ten, one = divmod(value, 10)
        return _TENS[ten] + (f"-{_SMALL[one]}" if one else "")
    if value < 1000:
        hundreds, rest = divmod(value, 100)
        return f"{_SMALL[hundreds]} hundred" + (f" {cardinal(rest)}" if rest else "")
    groups: list[str] = []
    for scale in _SCALES:
        value, group = divmod(value, 1000)
        if group:
            groups.append(f"{cardinal(group)} {scale}".strip())
    return " ".join(reversed(groups))


def ordinal(value: int) -> str:
    """21 → twenty-first."""
    head, mark, last = re.fullmatch(r"(.*?)([ -]?)(\w+)", cardinal(value)).groups()  # type: ignore[union-attr]
    if last in _ORDINALS:
        last = _ORDINALS[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return head + mark + last


def digits(text: str) -> str:
    """Read digit by digit: 2048 → two zero four eight."""
    return " ".join(_SMALL[int(c)] for c in text)


def number(text: str) -> str:
    """Read digits with optional thousands commas and decimal point: 1,234.5, .5, 007.

    Ten digits and more without commas are taken for a code and read one by one.
    """
    plain = text.replace(",", "")
    whole, point, fraction = plain.partition(".")
    code = len(whole) > 9 and "," not in text and not whole.endswith("000")
    zeros = len(whole) > 1 and whole.startswith("0") and not point
    if code or zeros or len(whole) > 3 * len(_SCALES):
        return digits(whole) + (f" point {digits(fraction)}" if fraction else "")
    said = cardinal(int(whole)) if whole else ""
    return f"{said} point {digits(fraction)}".strip() if fraction else said


def year(value: int) -> str:
    """1999 → nineteen ninety-nine, 2005 → two thousand five, 1900 → nineteen hundred."""
    century, rest = divmod(value, 100)
    if not 1100 <= value <= 2099 or 2000 <= value <= 2009:
        return cardinal(value)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def plural(said: str) -> str:
    """Plural of a number word: ninety → nineties, six → sixes, nineteen hundred → … hundreds."""
    if said.endswith("y"):
        return said[:-1] + "ies"
    return said + ("es" if said.endswith("x") else "s")


def fraction(top: int, bottom: int) -> str:
    """3/4 → three quarters, 1/2 → one half, 5/113 → five over one hundred thirteen."""
    if bottom == 0 or bottom == 1 or (bottom > 20 and bottom not in (32, 50, 64, 100, 1000)):
        return f"{cardinal(top)} over {cardinal(bottom)}"
    if bottom == 2:
        part = "half" if top == 1 else "halves"
    else:
        part = "quarter" if bottom == 4 else ordinal(bottom).removeprefix("one ")
        part += "" if top == 1 else "s"
    return f"{cardinal(top)} {part}"


def roman(text: str) -> int | None:
    """Return the value of a well-formed upper-case Roman numeral, else None."""
    if not text or not _ROMAN_SHAPE.fullmatch(text):
        return None
    values = [_ROMAN_VALUES[c] for c in text]
    following = [*values[1:], 0]
    return sum(-v if v < n else v for v, n in zip(values, following, strict=True))
