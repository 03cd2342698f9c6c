"""Internet addresses, abbreviations, initials, Roman numerals and capitals as spoken words."""

from __future__ import annotations

import re

from voxkit import notation
from voxkit.numbers import cardinal, digits, number, ordinal, roman
from voxkit.quantities import Match, rule

# --- addresses ------------------------------------------------------------------------------------

_MARK_NAMES = {
    ".": "dot",
    "/": "slash",
    "-": "dash",
    "_": "underscore",
    "@": "at",
    ":": "colon",
    "?": "question mark",
    "=": "equals",
    "&": "and",
    "#": "hash",
    "%": "percent",
    "~": "tilde",
    "+": "plus",
}
_SPELT_PARTS = frozenset("www io ai uk us eu tv py js ui api id cgi".split())


def _said_address(text: str) -> str:
    """Read an internet address or a file name part by part, with the names of its marks."""
    words: list[str] = []
    for part in re.findall(r"[A-Za-z]+|[0-9]+|[^\W\d_]+|[^\w\s]|_", text):
        if part in _MARK_NAMES:
            words.append(_MARK_NAMES[part])
        elif part[0] in "0123456789":
            words.append(number(part) if len(part) < 5 else digits(part))
        elif _is_spelt_part(part):
            words.append(" ".join(part.upper()))
        else:
            words.append(part)
    return " ".join(words)


def _is_spelt_part(part: str) -> bool:
    if len(part) == 1 or part.lower() in _SPELT_PARTS:
        return True
    return part.isascii() and not re.search("(?i)[aeiouy]", part)


def _url(m: Match) -> str:
    body = m["address"].rstrip(".,;:!?)'\"")
    return _said_address(body.rstrip("/")) + m["address"][len(body) :]


def _domain(m: Match) -> str:
    known = m["last"].lower() in notation.DOMAINS or m["path"] or m[0].islower()
    if not known and m[0].count(".") == 1 and m["last"].istitle():
        return m[0].replace(".", ". ")  # a missing space: "the end.Then"
    body = m[0].rstrip(".:!?'\"")
    return _said_address(body.rstrip("/")) + m[0][len(body) :]


def _handle(m: Match) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", m["name"]).replace("_", " ")
    return ("hashtag " if m["mark"] == "#" else "at ") + name


ADDRESSES = (
    rule(r"(?:https?|ftp)://(?P<address>[^\s<>\"]+)", _url, ":"),
    rule(r"(?<![\w.])(?P<address>www\.[^\s<>\"]+)", _url, "."),
    rule(
        r"(?<![\w.+@-])[\w.+-]+@[A-Za-z0-9][\w-]*(?:\.[\w-]+)*\.[A-Za-z]{2,}",
        lambda m: _said_address(m[0]),
        "@",
    ),
    rule(
        r"(?<![\w.@/-])[A-Za-z0-9](?:[\w-]*[A-Za-z])?[\w-]*(?:\.[A-Za-z0-9][\w-]+)*"
        r"\.(?P<last>[A-Za-z]{2,5}|mp[34])(?![\w@]|\.\w)(?P<path>/[^\s<>\",;]*)?",
        _domain,
        ".",
    ),
    rule(r"(?<![\S])~?(?:/[\w.-]+){2,}/?", lambda m: _said_address(m[0]), "/"),
    rule(r"(?<![\w&])(?P<mark>[#@])(?P<name>[A-Za-z]\w*)", _handle, "#@"),
)

# --- abbreviations --------------------------------------------------------------------------------


def _ends(m: Match) -> str:
    """Return the full stop of an abbreviation that is the last word of its sentence."""
    return "" if m.string[m.end() :].strip(" \"')") else "."


def _abbreviation(m: Match) -> str:
    word, before, after = m["word"], m.string[: m.start()], m.string[m.end() :]
    if word in notation.BEFORE_NUMBERS and not re.match(r" ?[0-9IVX]", after):
        return m[0]
    if word in notation.PLAIN_WORDS and (
        _ends(m) or (word == "al" and not before.endswith("et ")) or re.match(" [A-Z]", after)
    ):
        return m[0]
    return notation.ABBREVIATIONS[word] + _ends(m)


def _saint_or_street(m: Match) -> str:
    """Main St. is a street, St. John a saint, and St. John St. both."""
    before, after = m.string[: m.start()].split(), m.string[m.end() :]
    previous = before[-1] if before else ""
    place = previous[:1].isupper() or bool(re.search(r"(?:[0-9]|st|nd|rd|th)$", previous))
    opens = len(before) <= 1 and previous not in ("Main", "Wall", "High")
    if re.match(" [A-Z][a-z]", after) and (not place or opens):
        return "Saint"
    return "Street" + _ends(m)


def _doctor_or_drive(m: Match) -> str:
    before, after = m.string[: m.start()], m.string[m.end() :]
    address = re.search(r"[0-9][\w-]* (?:[A-Z]\w+ )+$", before)
    if address or (re.search(r"[A-Z]\w+ $", before) and not re.match(" [A-Z]", after)):
        return "Drive" + _ends(m)
    return "Doctor"


def _latin(m: Match) -> str:
    said = notation.LATIN[m["word"].lower()]
    comma = "" if said == "also known as" or m.string[m.end() : m.end() + 1] in (",", ":") else ","
    return said + comma


def _initials(m: Match) -> str:
    return " ".join(re.findall("[A-Za-z]", m["letters"])).upper() + (
        _ends(m) if m[0][-1] == "." else ""
    )


def _days(m: Match) -> str:
    return f"{notation.ABBREVIATIONS[m['a']]} to {notation.ABBREVIATIONS[m['b']]}"


_DAYS = "Mon|Tue|Tues|Wed|Thu|Thurs|Fri|Sat|Sun"
_MONTHS = "|".join(sorted(notation.SHORT_MONTHS, key=len, reverse=True))
_ABBREVIATED = "|".join(sorted(notation.ABBREVIATIONS, key=len, reverse=True))

ABBREVIATIONS = (
    rule(r"\bNo\.? *(?=[0-9])", "Number ", "0-9"),
    rule(r"\bno\. *(?=[0-9])", "number ", "0-9"),
    rule(rf"\b(?P<a>{_DAYS})(?P<gap> ?[-–] ?)(?P<b>{_DAYS})\b", _days, "-–"),
    rule(rf"\b(?P<a>{_MONTHS})(?P<gap> ?[-–] ?)(?P<b>{_MONTHS})\b", _days, "-–"),
    rule(r"\bSt\.(?!\w)", _saint_or_street, "."),
    rule(r"\bSt(?= [A-Z][a-z])", "Saint", "S"),
    rule(r"\bDr\.(?!\w)", _doctor_or_drive, "."),
    rule(r"\bFt\.(?= [A-Z])", "Fort", "."),
    rule(r"\b(?P<word>e\.g|i\.e|a\.k\.a|n\.b|E\.g|I\.e|viz)\.", _latin, "."),
    rule(r"(?<=\()(?P<word>eg|ie)\b", _latin, "("),
    rule(r"\bPh\.? ?D\b(?:\.(?=\W))?", "P H D", "P"),
    rule(rf"\b(?P<word>{_ABBREVIATED})\.(?!\w)", _abbreviation, "."),
    rule(r"\b(?P<word>Mrs|Mr|Dr|Prof)(?= [A-Z])", lambda m: notation.BARE[m["word"]]),
    rule(r"\bvs\b", "versus"),
    rule(r"\bw/o\b", "without", "/"),
    rule(r"\bc/o\b", "care of", "/"),
    rule(r"\bw/ ?(?=\w)", "with ", "/"),
    rule(r"\b[nN]/[aA]\b", "N A", "/"),
    rule(r"\b(?P<letters>(?:[A-Za-z]\.){2,})(?!\w)", _initials, "."),
    rule(r"\b(?P<letters>(?:[A-Z]\.)+[A-Z])\b", _initials, "."),
    rule(r"\b(?P<letters>[A-Z])\.(?=[\"')]* \S)", _initials, "."),
    rule(r"(?<![\w.])\.(?=[A-Za-z]{2,})", "dot ", "."),
)

# --- Roman numerals and capitals ------------------------------------------------------------------


def _regnal(m: Match) -> str:
    value = roman(m["roman"])
    return m[0] if value is None or value > 40 else f"{m['name']} the {ordinal(value)}"


def _numbered(m: Match) -> str:
    value = roman(m["roman"])
    if value is None or m["name"].lower() not in notation.NUMBERED:
        return m[0]
    if len(m["roman"]) == 1 and not m["name"][0].isupper():
        return m[0]
    return f"{m['name']} {cardinal(value)}"


def _lone_roman(m: Match) -> str:
    value = roman(m[0])
    return m[0] if value is None else cardinal(value)


def is_spelt(word: str) -> bool:
    """Tell FBI, which is spelt, from NASA and from a stressed NOT."""
    if word in notation.INITIALISMS or not re.search("[AEIOUY]", word):
        return True
    if len(word) > 3:
        return False
    return word not in notation.SHORT_ACRONYMS and word not in notation.SHORT_WORDS


def _pair(m: Match) -> str:
    return f"{' '.join(m['a'])} and {' '.join(m['b'])}"


def _capitals(m: Match) -> str:
    """Spell initials; CEOs and the FBI's keep their ending."""
    word = m["caps"]
    return " ".join(word) + ("'s" if m["ending"] else "") if is_spelt(word) else m[0]


CAPITALS = (
    rule(r"\b(?P<a>[A-Z]{1,3})&(?P<b>[A-Z]{1,3})\b", _pair, "&"),
    rule(
        rf"\b(?P<name>{'|'.join(sorted(notation.REGNAL))}) (?P<roman>[IVX]{{2,}}|V|X"
        r"|I(?= (?:of|was|had|died|ruled|reigned|became)\b|'s|[,.;:)]|$))(?!\w)",
        _regnal,
        "IVX",
    ),
    rule(r"\b(?P<name>[A-Za-z]{3,}) (?P<roman>[IVXLC]+)\b(?!')", _numbered, "IVXLC"),
    rule(
        r"\b(?:I{2,3}|VI{1,3}|IX|XI{1,3}|XIV|XV|XVI{1,3}|XIX|XXI{1,3}|XXIV)\b", _lone_roman, "IVX"
    ),
    rule(r"(?<![A-Za-z'])(?P<caps>[A-Z]{2,})(?P<ending>'?s)?(?![A-Za-z])", _capitals),
)
