"""Written dates, times, telephone numbers, money, measures and plain numbers as spoken words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from voxkit import notation
from voxkit.numbers import cardinal, digits, fraction, number, ordinal, plural, year

Match = re.Match[str]


@dataclass(frozen=True)
class Rule:
    """One way of writing and how it is said; tried only on text with a character of `needs`."""

    pattern: re.Pattern[str]
    said: Callable[[Match], str]
    needs: re.Pattern[str] | None


def rule(pattern: str, said: str | Callable[[Match], str], needs: str = "") -> Rule:
    """Compile a rule.  `said` is a replacement or a function, `needs` a character class."""
    text = said if isinstance(said, str) else None
    return Rule(
        pattern=re.compile(pattern),
        said=(lambda m: text) if text is not None else said,  # type: ignore[arg-type]
        needs=re.compile(f"[{needs}]") if needs else None,
    )


def apply(rules: tuple[Rule, ...], text: str) -> str:
    """Apply every rule in order; each sees what the ones before it have left."""
    for one in rules:
        if one.needs is None or one.needs.search(text):
            text = one.pattern.sub(one.said, text)
    return text


_DIGIT = "0-9"
_NUM = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_QUANTITY = rf"(?:[0-9]{{1,9}} [0-9]{{1,9}}/[0-9]{{1,9}}|[0-9]{{1,9}}/[0-9]{{1,9}}|{_NUM})"
_START = r"(?<![\w.,/])(?<![A-Za-z]-)"
_SPAN = rf"{_START}(?:(?P<low>{_QUANTITY}) ?[-–] ?)?(?P<num>{_QUANTITY})"
_MONTH = (
    rf"(?P<month>(?:{'|'.join(notation.MONTHS)})(?!\w)|"
    rf"(?:{'|'.join(sorted(notation.SHORT_MONTHS, key=len, reverse=True))})(?!\w)\.?)"
)
_NTH = r"(?:st|nd|rd|th)"
_DAY = rf"(?P<day>[0-9]{{1,2}}){_NTH}?(?: ?[-–] ?(?P<until>[0-9]{{1,2}}){_NTH}?)?"
_YEAR = r"(?P<year>[12][0-9]{3})(?![0-9])"
_CURRENCY = r"(?P<sign>US\$|C\$|A\$|[$€£¥₹₩₽₺₪₿])"
_SIGNS = "$€£¥₹₩₽₺₪₿"
_CODES = "|".join(notation.CURRENCY_CODES)
_MAGNITUDE = (
    r"(?:[ -]?(?P<scale>thousand|million|billion|trillion)\b"
    r"|(?P<short>k|K|m|M|mn|bn|b|B|tn|T)\b(?!\$))?"
)
_UNIT = "|".join(re.escape(u) for u in sorted(notation.UNITS, key=len, reverse=True))


def _quantity(text: str) -> str:
    """Read a number, a fraction or a mixed number."""
    if "/" not in text:
        return number(text)
    whole, _, part = text.rpartition(" ")
    top, bottom = (int(n) for n in part.split("/"))
    said = fraction(top, bottom)
    if not whole:
        return said
    return f"{number(whole)} and {'a ' + said.removeprefix('one ') if top == 1 else said}"


def _span(m: Match) -> str:
    """Read one quantity or a range of two."""
    low = m.groupdict().get("low")
    return (f"{_quantity(low)} to " if low else "") + _quantity(m["num"])


def _one(m: Match) -> bool:
    """Tell whether a thing counted by the match stands in the singular."""
    return m["num"] == "1" and not m.groupdict().get("low")


# --- groups of digits: telephones, dates, times ---------------------------------------------------


def _groups(text: str) -> str:
    """Read groups of digits one digit at a time, with a short pause between the groups."""
    return ", ".join(digits(group) for group in re.findall("[0-9]+", text))


def _telephone(m: Match) -> str:
    return ("plus " if m[0].startswith("+") else "") + _groups(m[0])


def _short_telephone(m: Match) -> str:
    low, high = m[0].split("-")
    round_numbers = low.endswith("0") and high.endswith("0")
    return m[0] if round_numbers else _groups(m[0])  # 500-1000 is a range


def _month_name(text: str) -> str:
    bare = text.rstrip(".")
    return notation.SHORT_MONTHS.get(bare, bare)


def _day(m: Match) -> str:
    until = f" to {ordinal(int(m['until']))}" if m["until"] else ""
    return ordinal(int(m["day"])) + until


def _comma_year(text: str | None) -> str:
    return f", {year(int(text))}" if text else ""


def _month_day(m: Match) -> str:
    return f"{_month_name(m['month'])} {_day(m)}{_comma_year(m['year'])}"


def _day_month(m: Match) -> str:
    article = "" if re.search(r"\b[Tt]he $", m.string[: m.start()]) else "the "
    return f"{article}{_day(m)} of {_month_name(m['month'])}{_comma_year(m['year'])}"


def _month_year(m: Match) -> str:
    return f"{_month_name(m['month'])} {year(int(m['year']))}"


def _calendar(month: int, day: int, written_year: str = "") -> str | None:
    """Say a date, or return None where there is no such month or day."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{notation.MONTHS[month - 1]} {ordinal(day)}{_comma_year(written_year)}"


def _iso_date(m: Match) -> str:
    said = _calendar(int(m["month"]), int(m["day"]), m["year"]) or _groups(m[0])
    return said + (", " if m[0].endswith("T") else "")


def _numeric_date(m: Match) -> str:
    """12/25/2020 is American, 25.12.2020 European; 25/12/2020 can be read in one way only."""
    a, b, written = int(m["a"]), int(m["b"]), m["year"]
    if len(written) == 2:
        written = ("20" if int(written) < 50 else "19") + written
    month, day = (b, a) if m["sep"] == "." or a > 12 else (a, b)
    return _calendar(month, day, written) or _groups(m[0])


def _clock(m: Match) -> str:
    groups = m.groupdict()
    hour, minute, half = int(m["hour"]), groups.get("minute"), groups.get("half") or ""
    after = " to " if m[0][-1] in "-– " else ""
    if second := groups.get("second"):
        parts = ((hour, "hour"), (int(minute or 0), "minute"), (int(second), "second"))
        return " ".join(f"{cardinal(v)} {name}{'' if v == 1 else 's'}" for v, name in parts)
    if half:
        half = f" {half[0].upper()} M"
        end = "." if not after and m[0].endswith(".") and not m.string[m.end() :].strip() else ""
        half += end
    if minute in (None, "00"):
        if half:
            return f"{cardinal(hour)}{half}{after}"
        return f"{cardinal(hour)} {'o' + chr(39) + 'clock' if 1 <= hour <= 12 else 'hundred'}"
    said = ("oh " if str(minute)[0] == "0" else "") + cardinal(int(str(minute)))
    return f"{cardinal(hour)} {said}{half}{after}"


# --- money and measures ---------------------------------------------------------------------------


def _money(m: Match) -> str:
    groups = m.groupdict()
    if code := groups.get("code"):
        names = notation.CURRENCY_CODES[code]
    else:
        names = notation.CURRENCIES[m["sign"]]
    one, several, cent, cents = names
    scale = groups["scale"] or notation.MAGNITUDES.get(groups["short"] or "", "")
    whole, _, part = m["num"].replace(",", "").partition(".")
    if groups.get("low") or scale or "/" in whole or len(part) not in (0, 2) or not cent:
        return (
            f"{_span(m)} {scale + ' ' if scale else ''}{one if _one(m) and not scale else several}"
        )
    said = []
    if int(part or 0) == 0 or int(whole or 0):
        said.append(f"{number(whole or '0')} {one if whole == '1' else several}")
    if int(part or 0):
        said.append(f"{cardinal(int(part))} {cent if int(part) == 1 else cents}")
    return " and ".join(said)


def _cents(m: Match) -> str:
    return f"{_span(m)} cent{'' if _one(m) else 's'}"


def _before_noun(m: Match) -> bool:
    """Tell "a 5 km run", where the unit stays in the singular."""
    return bool(re.search(r"\b[Aa]n? $", m.string[: m.start()]))


def _unit_name(symbol: str, single: bool) -> str:
    one, _, several = notation.UNITS[symbol].partition("/")
    return one if single else several or one + "s"


def _per(symbol: str | None) -> str:
    if not symbol:
        return ""
    unit = notation.PER.get(symbol) or notation.UNITS.get(symbol, symbol).partition("/")[0]
    return f" per {unit}"


def _rate(m: Match) -> str:
    return _per(m["per"])


def _each(m: Match) -> str:
    return m["noun"] + _per(m["per"])


def _measure(m: Match) -> str:
    a_part = "/" in m["num"] and " " not in m["num"] and not m["low"]
    square = {"2": "square ", "3": "cubic ", None: ""}[m["power"]]
    name = _unit_name(m["unit"], a_part or _one(m) or _before_noun(m))
    return f"{_span(m)}{' of a ' if a_part else ' '}{square}{name}{_per(m['per'])}"


def _area(m: Match) -> str:
    square = "square" if m["kind"].startswith("sq") else "cubic"
    name = ("inch" if _one(m) else "inches") if m["unit"] == "in" else ""
    return f"{_span(m)} {square} {name or _unit_name(m['unit'], _one(m))}"


def _feet(m: Match) -> str:
    feet, inches = m["feet"], m["inches"]
    said = f"{number(feet)} {'foot' if feet == '1' else 'feet'}"
    return said + (f" {number(inches)} {'inch' if inches == '1' else 'inches'}" if inches else "")


def _inches(m: Match) -> str:
    if m[0][-1] == '"' and m.string[: m.start()].count('"') % 2:
        return m[0]  # the mark closes a quotation
    return f"{_span(m)} inch{'' if _one(m) or _before_noun(m) else 'es'}"


def _percent(m: Match) -> str:
    return f"{_span(m)} percent{' to ' if m[0][-1] != '%' else ''}"


def _degrees(m: Match) -> str:
    scale = {"C": " Celsius", "F": " Fahrenheit", "K": " Kelvin", None: ""}[m["scale"]]
    return f"{_span(m)} degree{'' if _one(m) else 's'}{scale}"


# --- plain numbers --------------------------------------------------------------------------------

_YEAR_CUE = re.compile(
    r"\b(?:[Ii]n|[Ss]ince|[Ff]rom|[Bb]y|[Uu]ntil|[Tt]ill|[Bb]efore|[Aa]fter|[Dd]uring|[Yy]ear|of"
    r"|[Cc]irca|early|late|mid|summer|spring|autumn|fall|winter|[Tt]he|Q[1-4])[ -]$|[(,©] ?$"
)
_COUNTED = re.compile(r" (?:people|men|women|children|or|more|other|new|[a-z]{3,}(?<!s)s)\b")
_NOT_COUNTED = frozenset("was has does this's".split())


def _four_digits(m: Match) -> str:
    """Tell a year from a count of two thousand and so many things."""
    value, after = int(m["num"]), m.string[m.end() :]
    if 1100 <= value <= 1999:
        return year(value)
    counted = _COUNTED.match(after)
    if counted and counted[0].strip() not in _NOT_COUNTED:
        return cardinal(value)
    cue = _YEAR_CUE.search(m.string[: m.start()]) or re.match(r"\s*(?:$|[,.;:!?)'])", after)
    return year(value) if cue or value < 2030 else cardinal(value)


def _years(m: Match) -> str:
    first, last = m["first"], m["last"]
    if len(last) == 2:
        said = f"oh {cardinal(int(last[1]))}" if last[0] == "0" else cardinal(int(last))
        return f"{year(int(first))} to {said}"
    return f"{year(int(first))} to {year(int(last))}"


def _decade(m: Match) -> str:
    value = int(m["num"])
    return plural(year(value) if value > 100 else cardinal(value))


def _short_year(m: Match) -> str:
    value = int(m["num"])
    return f"oh {cardinal(value)}" if value < 10 else cardinal(value)


def _nth(m: Match) -> str:
    return ordinal(int(m["num"].replace(",", "")))


def _several(m: Match) -> str:
    return plural(number(m["num"]))


def _ratio(m: Match) -> str:
    return f"{number(m['a'])} to {number(m['b'])}"


def _version(m: Match) -> str:
    parts = m["num"].split(".")
    joint = " dot " if len(parts) == 4 and not m["v"] else " point "
    return ("version " if m["v"] else "") + joint.join(number(part) for part in parts)


def _slashed(m: Match) -> str:
    """Read 3/4, 24/7, 50/50 and 9/11 as they are said, and 4/1 after "on" as a date."""
    top, bottom = int(m["a"]), int(m["b"])
    if (top, bottom) in ((24, 7), (9, 11)) or top == bottom:
        return f"{cardinal(top)} {cardinal(bottom)}"
    if re.search(
        r"\b(?:[Oo]n|[Bb]y|[Uu]ntil|[Bb]efore|[Aa]fter|dated|due) $", m.string[: m.start()]
    ):
        return _calendar(top, bottom) or fraction(top, bottom)
    return fraction(top, bottom)


def _power(m: Match) -> str:
    exponent = m[0].replace("^", "")
    if exponent in ("2", "3"):
        return " squared" if exponent == "2" else " cubed"
    sign = "minus " if exponent.startswith("-") else ""
    return f" to the power of {sign}{number(exponent.lstrip('-'))}"


def _letter_digit(m: Match) -> str:
    """Part a letter from a digit: "A-4", lest "A four" be heard with an article."""
    return "-" if re.search(r"(?<![A-Za-z])A$", m.string[: m.start()]) else " "


def _leftover(m: Match) -> str:
    joined = m.string[: m.start()].endswith("-")
    return f"{'' if joined else ' '}{number(m[0])} "


def _continental(m: Match) -> str:
    """Turn 1.234,56 and 5,50 € into 1,234.56 and 5.50 €."""
    whole, _, part = m[0].rpartition(",")
    return whole.replace(".", ",") + "." + part


GROUPS = (
    rule(r"#(?=[0-9])", "number ", "#"),
    rule(
        r"(?<![\w.,])(?<![0-9] )[1-9][0-9]{0,2}(?:(?: [0-9]{3}){2,}| 000)(?![\w.]| [0-9])",
        lambda m: m[0].replace(" ", ","),
        _DIGIT,
    ),
    rule(
        r"(?<![\w.,$-])(?:\+?[0-9]{1,3}[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])"
        r"[0-9]{3}[ .-][0-9]{4}(?![\w-])",
        _telephone,
        _DIGIT,
    ),
    rule(r"\+[0-9]{1,3}(?:[ -][0-9]{2,4}){2,5}(?![\w-])", _telephone, "+"),
    rule(r"(?<![\w.,])0[0-9]{2,5}(?: [0-9]{3,6}){1,3}(?!\w)", _telephone, _DIGIT),
    rule(r"(?<![\w.,])[0-9]{4}(?: [0-9]{4}){2,}(?!\w)", _telephone, _DIGIT),
    rule(r"(?<![\w.,$-])[2-9][0-9]{2}-[0-9]{4}(?![\w,-])", _short_telephone, _DIGIT),
    rule(r"(?<=[Cc]all )911\b|(?<=[Dd]ial )911\b|(?<=ed )911\b", "nine one one", _DIGIT),
    rule(
        rf"(?<![\w-]){_YEAR}(?P<sep>[-/.])(?P<month>[0-9]{{1,2}})(?P=sep)(?P<day>[0-9]{{1,2}})"
        r"(?![0-9-])(?:T(?=[0-9]))?",
        _iso_date,
        _DIGIT,
    ),
    rule(
        r"(?<![\w.,/-])(?P<a>[0-9]{1,2})(?P<sep>[/.-])(?P<b>[0-9]{1,2})(?P=sep)"
        r"(?P<year>[12][0-9]{3}|(?<=/)[0-9]{2})(?![\w/-])",
        _numeric_date,
        _DIGIT,
    ),
    rule(r"(?<![\w.,-])[0-9]{2,}(?:-[0-9]+){2,}(?![\w-])", lambda m: _groups(m[0]), _DIGIT),
    rule(rf"\b{_DAY}(?: of)? {_MONTH}(?:,? {_YEAR})?", _day_month, _DIGIT),
    rule(rf"\b{_MONTH} {_DAY}(?![\w:%]|[.,][0-9])(?:,? {_YEAR})?", _month_day, _DIGIT),
    rule(rf"\b{_MONTH},? {_YEAR}", _month_year, _DIGIT),
    rule(
        r"(?<![\w:.])(?P<hour>1[0-2]|0?[1-9]) ?[-–] ?"
        r"(?=(?:1[0-2]|0?[1-9])(?::[0-5][0-9])? ?[apAP]\.?[mM]\b)",
        lambda m: f"{cardinal(int(m['hour']))} to ",
        _DIGIT,
    ),
    rule(
        r"(?<![\w:.])(?P<hour>[01]?[0-9]|2[0-3])(?:[:.](?P<minute>[0-5][0-9]))? ?"
        r"(?P<half>[ap]\.m\.|[ap]m\b|[AP]\.M\.|[AP]M\b)(?: ?[-–] ?(?=[0-9]))?",
        _clock,
        _DIGIT,
    ),
    rule(
        r"(?<![\w:.])(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])"
        r"(?::(?P<second>[0-5][0-9]))?(?![0-9:])(?:[-–](?=[0-9]))?",
        _clock,
        ":",
    ),
    rule(r"(?<![\w.])(?P<a>[0-9]+):(?P<b>[0-9]+)(?![\w:])", _ratio, ":"),
)

MEASURES = (
    rule(r"(?<![\w.,])[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}(?!\w)", _continental, ","),
    rule(r"(?<![\w.,])[0-9]+,[0-9]{2}(?= ?€)", _continental, "€"),
    rule(r"(?<=[0-9]) ?- ?(?=[0-9.]+ ?=)", " minus ", "-"),
    rule(r"(?<=[0-9]) ?x ?(?=[0-9])", " by ", "x"),
    rule(r"(?<=[a-z])/(?P<per>min|sec|hr|h|s|day|week|month|year|mo|yr)\b", _rate, "/"),
    rule(rf"(?:^|(?<=[\s(\[\"=<>±~:]))[-−](?=[{_SIGNS}]?\.?[0-9])", "minus ", "-−"),
    rule(
        rf"{_CURRENCY} ?(?:(?P<low>{_QUANTITY}) ?[-–] ?(?P=sign)?)?"
        rf"(?P<num>{_QUANTITY}){_MAGNITUDE}",
        _money,
        _SIGNS,
    ),
    rule(rf"{_SPAN}{_MAGNITUDE} ?(?P<sign>[{_SIGNS}])(?!\w)", _money, _SIGNS),
    rule(rf"\b(?P<code>{_CODES}) ?(?P<num>{_NUM}){_MAGNITUDE}", _money, _DIGIT),
    rule(rf"{_SPAN}{_MAGNITUDE} ?(?P<code>{_CODES})\b", _money, _DIGIT),
    rule(rf"{_SPAN} ?¢", _cents, "¢"),
    rule(
        r"\b(?P<noun>dollars?|euros?|pounds?|yen|rupees?|cents?|million|billion)"
        r" ?/ ?(?P<per>[A-Za-z]+)",
        _each,
        "/",
    ),
    rule(rf"{_SPAN} ?%(?: ?[-–] ?(?=[0-9]))?", _percent, "%"),
    rule(rf"{_SPAN} ?°(?: ?(?P<scale>[CFK])\b)?", _degrees, "°"),
    rule(
        r"(?<![\w.])(?P<feet>[0-9]{1,2})'(?: ?(?P<inches>[0-9]{1,2})(?:\"|''))?(?!\w)",
        _feet,
        "'",
    ),
    rule(rf"{_SPAN}\"(?!\w)", _inches, '"'),
    rule(rf"{_SPAN} ?in\.(?= [a-z]|[,)])", _inches, _DIGIT),
    rule(
        rf"{_SPAN} (?P<kind>sq|cu)\.? ?(?P<unit>ft|in|mi|yd|m|km)\b(?:\.(?= [a-z]))?",
        _area,
        _DIGIT,
    ),
    rule(
        r"(?<!\w)(?:'|(?<=the )|(?<=his )|(?<=her )|(?<=their )|(?<=my )|(?<=your )|(?<=our )"
        r"|(?<=early )|(?<=mid )|(?<=mid-)|(?<=late )|(?=[0-9]{4}))"
        r"(?P<num>[1-9]0|1[1-9][0-9]0|20[0-9]0)'?s\b",
        _decade,
        _DIGIT,
    ),
    rule(
        rf"{_SPAN}[ -]?(?P<unit>{_UNIT})(?![\w'])(?:\^(?P<power>[23]))?"
        rf"(?:/(?P<per>[A-Za-z]+)\b)?(?:(?<=[a-z])\.(?= [a-z]))?",
        _measure,
        _DIGIT,
    ),
)

NUMBERS = (
    rule(
        r"\b(?P<first>1[1-9][0-9]{2}|20[0-9]{2}) ?[-–] ?"
        r"(?P<last>1[1-9][0-9]{2}|20[0-9]{2}|[0-9]{2})(?![\w%])",
        _years,
        _DIGIT,
    ),
    rule(r"(?<!\w)'(?P<num>[0-9]{2})\b(?!')", _short_year, "'"),
    rule(rf"\b(?P<num>[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]{{1,15}}){_NTH}\b", _nth, _DIGIT),
    rule(r"(?<![\w.])(?P<v>[vV])\.? ?(?P<num>[0-9]+(?:\.[0-9]+)*)(?!\w)", _version, _DIGIT),
    rule(r"(?<![\w.,])(?P<v>(?!))?(?P<num>[0-9]+(?:\.[0-9]+){2,})(?!\w)", _version, _DIGIT),
    rule(rf"{_START}(?P<num>{_NUM}) ?x\b(?! ?[0-9])", lambda m: f"{number(m['num'])} times", "x"),
    rule(
        rf"{_START}[0-9]{{1,9}} [0-9]{{1,9}}/[0-9]{{1,9}}(?![\w/])", lambda m: _quantity(m[0]), "/"
    ),
    rule(r"(?<![\w./])(?P<a>[0-9]{1,9})/(?P<b>[0-9]{1,9})(?![\w/])", _slashed, "/"),
    rule(r"(?:\^-?[0-9]+)+", _power, r"\^"),
    rule(r"(?<=[0-9]) ?\* ?(?=[0-9])", " times ", "*"),
    rule(r"(?<![\w.])~ ?(?=[0-9])", "about ", "~"),
    rule(r"(?<![\w.,-])(?P<num>[12][0-9]{3})(?!\w|[.,:/][0-9]|-)", _four_digits, _DIGIT),
    rule(rf"{_SPAN}(?!\w|[.,][0-9])", _span, _DIGIT),
    rule(r"(?<=[A-Za-z])-?(?=[0-9])", _letter_digit, _DIGIT),
    rule(r"(?<![0-9.,])(?P<num>[0-9]{1,4})s\b", _several, _DIGIT),
    rule(r"(?<=[0-9])-?(?=[A-Za-z])", " ", _DIGIT),
    rule(_NUM, _leftover, _DIGIT),
)
