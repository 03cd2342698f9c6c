"""Reads numbers, dates, times, money and measures in Chinese, Japanese and Korean sentences."""

from __future__ import annotations

import re
from decimal import Decimal
from types import MappingProxyType

from voxkit.quantities import Match, Rule, apply, rule
from voxkit.tongue import Tongue

CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_NUM = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?)"
_START = r"(?<![0-9A-Za-z.,])"
_TO = r" ?[-–—~] ?"
_YEAR = r"(?:1[0-9]|20)[0-9]{2}"
# The minus of a quantity, and not a hyphen between two things.
_NEGATIVE = r"(?P<neg>(?<![0-9A-Za-z%°)])-)?"
_SPAN = rf"{_START}{_NEGATIVE}(?:(?P<low>{_NUM}){_TO})?(?P<num>{_NUM})"
_LATIN_SCALES = MappingProxyType(
    {"k": 3, "K": 3, "m": 6, "M": 6, "mn": 6, "b": 9, "B": 9, "bn": 9, "tn": 12, "T": 12}
    | {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
)
_SCALE = (
    r"(?: ?(?P<named>[百千]?[万萬][亿億]?|[亿億兆]|[十百千]?만|[억조])"
    r"| ?(?P<latin>thousand|million|billion|trillion|mn|bn|tn|[kKmMbBT])(?![A-Za-z]))?"
)
_QUANTITY_BEHIND = re.compile(r"-[0-9.,]+ ?(?:°C|%)?(?:[-–~]-?[0-9.,]+ ?)?[%°]")
_COUNTED_BEFORE = re.compile(
    "[0-9](?:[年月日号號时時点點分秒岁歲天元円块人个個度级次回层層米章页]|公里|小时|分钟|時間|年度|[년월일시분초원명개살도층회]"
    "|시간|개월)$"
)
_LONGEST = 10  # digits; longer numbers that are not round are codes


class Figures:
    """The rules of one language."""

    def __init__(self, tongue: Tongue) -> None:
        self._tongue = tongue
        names = sorted((*tongue.units, *tongue.speeds), key=len, reverse=True)
        self._units = "|".join(map(re.escape, names))
        self._rules = (*tongue.own, *self._groups(), *self._measures(), *self._numbers())

    @property
    def space(self) -> str:
        """What stands between two words of the language."""
        return self._tongue.space

    def read(self, text: str) -> str:
        """Return `text` with words for its figures.  It is clean: ASCII digits and plain signs."""
        return apply(self._rules, text) if re.search("[0-9²³]", text) else text

    # --- groups of digits -------------------------------------------------------------------------

    def _groups(self) -> tuple[Rule, ...]:
        t = self._tongue
        return (
            rule(
                rf"(?<![0-9A-Za-z])(?P<y>{_YEAR})(?P<sep>[-/.]|\. )(?P<m>1[0-2]|0?[1-9])(?P=sep)"
                r"(?P<d>3[01]|[12][0-9]|0?[1-9])(?![0-9])(?:\.(?![0-9])|T(?=[0-9]))?"
                rf"(?P<to>{_TO}(?={_YEAR}[-/.]))?",
                lambda m: t.date(int(m["y"]), int(m["m"]), int(m["d"])) + (t.to if m["to"] else ""),
            ),
            rule(
                r"(?<![0-9A-Za-z])(?P<a>[0-9]{1,2})(?P<sep>[-/.])(?P<b>[0-9]{1,2})(?P=sep)"
                rf"(?P<y>{_YEAR})(?![0-9])",
                self._day_first,
            ),
            rule(
                rf"(?<![0-9A-Za-z.,-])(?P<y>{_YEAR})[-/.](?P<m>0[1-9]|1[0-2])(?![0-9%]|[.-][0-9]"
                r"| ?[万億亿만억元円원个個倍])",
                lambda m: t.date(int(m["y"]), int(m["m"]), None),
            ),
            rule(
                rf"(?<![0-9A-Za-z.,-])(?P<m>0[1-9]|1[0-2])[-/.](?P<y>{_YEAR})(?![0-9-])",
                lambda m: t.date(int(m["y"]), int(m["m"]), None),
            ),
            rule(
                r"(?<![0-9A-Za-z.,:/-])(?:(?P<m>0[1-9])[-/.](?P<d>[0-2][0-9]|3[01])"
                r"|(?P<m2>1[0-2])[-/](?P<d2>0[1-9]))(?![0-9%/-]|\.[0-9])",
                lambda m: t.date(None, int(m["m"] or m["m2"]), int(m["d"] or m["d2"])),
            ),
            rule(
                rf"(?P<cue>{t.date_cue}) ?(?P<m>1[0-2]|[1-9])[-/](?P<d>3[01]|[12][0-9]|[1-9])"
                r"(?![0-9/-]|\.[0-9])",
                lambda m: m["cue"] + t.date(None, int(m["m"]), int(m["d"])),
            ),
            rule(
                r"(?<![0-9A-Za-z./-])(?P<m>1[0-2]|[1-9])[-/](?P<d>3[01]|[12][0-9]|[1-9])"
                rf"(?= ?(?:{t.date_sequel}))",
                lambda m: t.date(None, int(m["m"]), int(m["d"])),
            ),
            rule(rf"(?<!\w){_YEAR}0?s(?!\w)", lambda m: t.year(int(m[0][:4])) + t.per["decade"]),
            rule(
                rf"(?<![0-9A-Za-z.,-])(?P<a>{_YEAR}){_TO}(?P<b>{_YEAR})(?![0-9A-Za-z.,])",
                lambda m: f"{t.year(int(m['a']))}{t.to}{t.year(int(m['b']))}",
            ),
            rule(rf"(?<![0-9.,]){_YEAR}(?= ?[年년](?![前后]))", lambda m: t.year(int(m[0]))),
            rule(rf"(?<![0-9.,]){_YEAR}(?=Q[1-4])", lambda m: t.year(int(m[0]))),
            rule(
                r"(?<![0-9])24/7(?![0-9])",
                lambda m: t.space.join((self._cardinal("24"), self._cardinal("7"))),
            ),
            rule(
                r"(?<![0-9A-Za-z.,-])(?:\+[0-9]{1,3}[ -]?)?\(?0[0-9]{1,3}\)?[ -]"
                r"[0-9]{3,8}(?:[ -][0-9]{3,4})?(?![0-9-])",
                self._telephone,
            ),
            rule(
                r"(?<![0-9A-Za-z.,-])(?:\+[0-9]{1,3}[ -]?)?1[3-9][0-9](?P<s>[ -]?)[0-9]{4}"
                r"(?P=s)[0-9]{4}(?![0-9])",
                self._telephone,
            ),
            rule(
                r"\+[0-9]{1,3}(?:(?:[ -][0-9]{2,4}){2,5}|[ -][0-9]{9,11})(?![0-9])", self._telephone
            ),
            rule(
                r"(?<![0-9A-Za-z.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9.])",
                lambda m: t.point.join(map(self.spell, m[0].split("."))),
            ),
            rule(r"(?<![0-9A-Za-z.,-])[0-9]+(?:-[0-9]+){2,}(?![0-9])", self._telephone),
            rule(
                r"(?<![0-9A-Za-z.,-])[2-9][0-9]{2}-[0-9]{4}(?![0-9,-])",
                lambda m: m[0] if m[0].endswith("00") else self._telephone(m),
            ),
            rule(
                rf"(?P<a>[0-9] ?(?P<u>{self._units}))[-–—~](?=[0-9.]+ ?(?P=u)(?![A-Za-z]))",
                lambda m: m["a"] + t.to,
            ),
            rule(rf"(?:(?<=[A-Za-z])|(?<=[{CJK}]))-(?=[0-9])", self._hyphen),
            rule(
                r"(?<=[A-Za-z][0-9])-(?P<n>[0-9]{3,})",
                lambda m: t.space + t.counting.spell(m["n"]),
            ),
            rule(
                rf"(?P<cue>{t.code_cue})(?P<code>[0-9]{{3,}})(?![0-9.,])",
                lambda m: m["cue"] + self.spell(m["code"]),
            ),
            rule(
                r"(?<![0-9:.])(?P<h>2[0-4]|[01]?[0-9])(?::(?P<m>[0-5][0-9])(?::(?P<s>[0-5][0-9]))?"
                r" ?(?P<half>[AaPp]\.?[Mm]\b\.?)?| ?(?P<bare>[AaPp]\.?[Mm]\b\.?))"
                r"(?![0-9:])(?P<to> ?[-–—~] ?(?=[0-9]))?",
                self._time,
            ),
            rule(
                rf"{_START}(?P<a>[0-9]+)(?::(?P<b>[0-9]+))+(?![0-9:])",
                lambda m: t.versus.join(self._cardinal(part) for part in m[0].split(":")),
            ),
            rule(
                rf"(?P<cue>{t.score_cue})(?P<a>[0-9]{{1,3}})[-–](?P<b>[0-9]{{1,3}})(?![0-9])",
                lambda m: m["cue"] + self._cardinal(m["a"]) + t.versus + self._cardinal(m["b"]),
            ),
        )

    def _day_first(self, m: Match) -> str:
        month, day = int(m["a"]), int(m["b"])
        if month > 12:
            month, day = day, month
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return self.spell(m[0])
        return self._tongue.date(int(m["y"]), month, day)

    def _telephone(self, m: Match) -> str:
        groups = re.findall("[0-9]+", m[0])
        said = self._tongue.joint.join(self.spell(group) for group in groups)
        return (self._tongue.plus if m[0].startswith("+") else "") + said

    def _hyphen(self, m: Match) -> str:
        """Part a name from its number: COVID-19; keep the minus of 气温-5."""
        before = m.string[m.start() - 1]
        if not before.isascii() and _QUANTITY_BEHIND.match(m.string[m.start() :]):
            return "-"
        if _COUNTED_BEFORE.search(m.string, max(0, m.start() - 3), m.start()):
            return self._tongue.to  # 3月-5月
        return self._tongue.space if re.search(self._tongue.names, m.string[: m.start()]) else "-"

    def _time(self, m: Match) -> str:
        t = self._tongue
        half = m["half"] or m["bare"]
        cue = re.search(rf"(?:{t.score_cue})$", m.string[: m.start()])
        if not half and cue and not m["s"]:
            return m[0]  # a score
        said = t.clock(int(m["h"]), int(m["m"] or 0), int(m["s"]) if m["s"] else None)
        return (t.halves[half[0].lower()] if half else "") + said + (t.to if m["to"] else "")

    # --- money and measures -----------------------------------------------------------------------

    def _measures(self) -> tuple[Rule, ...]:
        t = self._tongue
        unit = f"(?P<unit>{self._units})(?P<power>[²³])?"
        money = sorted(t.currencies, key=len, reverse=True)
        signs = "|".join(re.escape(c) for c in money if not c.isalpha())
        codes = "|".join(c for c in money if c.isalpha())
        per = "|".join(map(re.escape, sorted({*t.per, *t.units}, key=len, reverse=True)))
        behind = rf"(?: ?/ ?(?P<per>{per})(?![A-Za-z]))?"
        return (
            rule(r"(?<=[0-9 /kcd]m)(?P<n>[23])(?![0-9A-Za-z])", lambda m: "²³"[int(m["n"]) - 2]),
            rule(
                rf"(?P<neg>-)?(?P<sign>{signs}|(?<![A-Za-z])(?:{codes})) ?"
                rf"(?:(?P<low>{_NUM}){_TO}(?:{signs})?)?(?P<num>{_NUM}){_SCALE}{behind}",
                self._money,
            ),
            rule(
                rf"{_SPAN}{_SCALE} ?(?P<sign>{signs}|(?:{codes})(?![A-Za-z])){behind}", self._money
            ),
            rule(
                rf"{_START}{_NEGATIVE}(?:(?P<low>{_NUM})%?{_TO})?(?P<num>{_NUM}) ?(?P<mark>[%‰])",
                lambda m: self._signed(
                    m, (t.percent if m["mark"] == "%" else t.permille).format(value=self._span(m))
                ),
            ),
            rule(
                rf"{_START}{_NEGATIVE}(?:(?P<low>{_NUM})(?:°[CF]?)?{_TO}(?P<neg2>-)?)?(?P<num>{_NUM})"
                r" ?°(?: ?(?P<scale>[CF])(?![A-Za-z]))?",
                self._temperature,
            ),
            rule(rf"{_SPAN} ?{unit}(?![A-Za-z]){behind}", self._measure),
            rule(
                rf"(?P<num>{_NUM})(?P<word>[{CJK}]{{1,3}}?)/(?P<per>{per})(?![A-Za-z])",
                self._priced,
            ),
        )

    def _money(self, m: Match) -> str:
        t, name = self._tongue, self._tongue.currencies[m["sign"]]
        scale = m["named"] or ""
        number = self._span(m)
        if m["latin"] and not m["low"]:
            value = Decimal(m["num"].replace(",", "")).scaleb(_LATIN_SCALES[m["latin"]])
            number = self._cardinal(f"{value:f}".removesuffix(".0"))
        elif m["latin"]:
            scale = m["latin"]
        elif not scale and not m["low"]:
            number = self._counted(m["num"], name, keep_space=False)
        said = f"{number}{scale}{t.space}{'' if m.string.startswith(name, m.end()) else name}"
        return self._rated(m, self._signed(m, said.rstrip()))

    def _temperature(self, m: Match) -> str:
        t = self._tongue
        form = {"C": t.celsius, "F": t.fahrenheit, None: t.degrees}[m["scale"]]
        below = t.below_zero if m["scale"] else t.minus

        def said(number: str, negative: str | None) -> str:
            return (below if negative else "") + form.format(value=self._cardinal(number))

        if m["low"] and (m["neg"] or m["neg2"]):
            return said(m["low"], m["neg"]) + t.to + said(m["num"], m["neg2"])
        return (below if m["neg"] else "") + form.format(value=self._span(m))

    def _measure(self, m: Match) -> str:
        t = self._tongue
        before, name = t.speeds.get(m["unit"], ("", ""))
        said = m.string[: m.start()].rstrip().replace("時速", "时速")
        if before and said.endswith((before.strip().replace("時速", "时速"), t.to.strip())):
            before = ""
        power = {"²": t.square, "³": t.cubic, None: ""}[m["power"]]
        name = power + (name or t.units[m["unit"]])
        number = self._span(m) if m["low"] else self._counted(m["num"], name, keep_space=False)
        return self._rated(m, self._signed(m, f"{before}{number}{t.space}{name}"))

    def _priced(self, m: Match) -> str:
        """5元/kg: the unit behind the slash is said, the word before it stays."""
        return self._rated(m, self._counted(m["num"], m["word"]) + m["word"])

    def _rated(self, m: Match, value: str) -> str:
        if not m["per"]:
            return value
        per = self._tongue.per.get(m["per"]) or self._tongue.units[m["per"]]
        return self._tongue.rate.format(value=value, per=per)

    def _signed(self, m: Match, said: str) -> str:
        return (self._tongue.minus if m["neg"] else "") + said

    # --- numbers ----------------------------------------------------------------------------------

    def _numbers(self) -> tuple[Rule, ...]:
        t = self._tongue
        return (
            rule(
                rf"{_START}(?P<w>[0-9]{{1,9}}) (?P<a>[0-9]{{1,9}})/(?P<b>[0-9]{{1,9}})(?![0-9/])",
                lambda m: t.mixed.format(whole=self._cardinal(m["w"]), part=self._fraction(m)),
            ),
            rule(
                rf"(?<![0-9A-Za-z/.,]){_NEGATIVE}(?P<a>[0-9]{{1,9}}) ?/ ?(?P<b>[0-9]{{1,9}})"
                r"(?![0-9/])",
                lambda m: self._signed(m, self._fraction(m)),
            ),
            rule(r"(?P<sup>[²³])|\^(?P<n>-?[0-9]+)", self._power),
            rule(r"(?<=[0-9]) ?- ?(?=[0-9.]+ ?[=≥≤<>])", t.per["subtract"]),
            rule(r"(?<=[0-9]) ?[x*×] ?(?=[0-9])", "×"),
            rule(rf"(?<![0-9A-Za-z.,])(?P<low>{_NUM}){_TO}(?P<num>{_NUM})(?![0-9.])", self._range),
            rule(rf"(?<=[0-9])[-–—~](?=[0-9])|(?<=[0-9][{CJK}])~(?=[0-9])", t.to),
            rule(r"(?<![0-9A-Za-z.,)])[-−] ?(?=[0-9])", t.minus),
            rule(r"(?<![0-9A-Za-z.,) ])\+(?=[0-9])", t.plus),
            rule(
                r"(?<![0-9.,])[0-9]+(?:\.[0-9]+){2,}",
                lambda m: t.point.join(self._cardinal(part) for part in m[0].split(".")),
            ),
            rule(rf"(?P<num>{_NUM})", lambda m: self._counted(m["num"], m.string[m.end() :])),
        )

    def _fraction(self, m: Match) -> str:
        said = {"top": self._cardinal(m["a"]), "bottom": self._cardinal(m["b"])}
        return self._tongue.fraction.format(**said)

    def _power(self, m: Match) -> str:
        t = self._tongue
        exponent = m["n"] or {"²": "2", "³": "3"}[m["sup"]]
        if exponent in ("2", "3"):
            return t.powers[exponent]
        sign = t.minus if exponent.startswith("-") else ""
        return t.powers["n"].format(value=sign + self._cardinal(exponent.lstrip("-")))

    def _range(self, m: Match) -> str:
        """Tell 3-5 from a score of 3-2."""
        low, high = (float(m[part].replace(",", "")) for part in ("low", "num"))
        behind = m.string[m.end() :]
        if low > high and "-" in m[0] and "." not in m[0]:
            return self._cardinal(m["low"]) + self._tongue.versus + self._cardinal(m["num"])
        return self._cardinal(m["low"]) + self._tongue.to + self._counted(m["num"], behind)

    def _counted(self, text: str, behind: str, *, keep_space: bool = True) -> str:
        """Say a number as it is said before `behind`."""
        if re.fullmatch(r"[0-9]{1,3}(?:,[0-9]{3})*|[1-9][0-9]*", text) and not self._is_code(text):
            said = self._tongue.counted(int(text.replace(",", "")), behind.lstrip(" "))
        else:
            said = self._cardinal(text)
            said += " " if self._tongue.counted(1, behind).endswith(" ") else ""
        return said if keep_space and not behind.startswith(" ") else said.rstrip()

    def _span(self, m: Match) -> str:
        low = f"{self._cardinal(m['low'])}{self._tongue.to}" if m["low"] else ""
        return low + self._cardinal(m["num"])

    def _is_code(self, text: str) -> bool:
        leading = text.startswith("0") and len(text) > 1
        return leading or (len(text) >= _LONGEST and "," not in text and text[-3:] != "000")

    def _cardinal(self, text: str) -> str:
        """Say digits with optional thousands commas and decimal point."""
        whole, point, part = text.replace(",", "").partition(".")
        counting = self._tongue.counting
        code = not point and self._is_code(text)
        said = self.spell(whole) if code else counting.cardinal(int(whole))
        return said + (self._tongue.point + counting.spell(part) if point else "")

    def spell(self, text: str) -> str:
        """Say the figures of `text` one by one."""
        return "".join(self._tongue.code[int(c)] for c in re.findall("[0-9]", text))
