"""Numbers as the languages say them that count in ten thousands: Chinese, Japanese and Korean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counting:
    """The number words of one language."""

    digits: tuple[str, ...]  # nought to nine
    scales: tuple[str, ...]  # ten, hundred, thousand
    myriads: tuple[str, ...]  # 10⁴, 10⁸, 10¹² …
    says_one: str  # scales that keep a one before them: 一百 in Chinese, but 百 in Japanese
    says_gaps: bool = False  # 一百零五 in Chinese, but 百五 in Japanese
    nests: bool = False  # beyond the last myriad count in it: 一万五千亿
    one_thousand: str = ""  # said for a thousand before a myriad: 一千万, but 千円
    two: str = ""  # said for two before a hundred, a thousand, and a myriad that it counts alone

    @property
    def largest(self) -> int:
        """The largest number that has a name."""
        groups = 2 * len(self.myriads) if self.nests else len(self.myriads) + 1
        return 10 ** (4 * groups) - 1

    def cardinal(self, value: int) -> str:
        """12345 → 一万二千三百四十五; beyond the largest name digit by digit."""
        if value == 0 or value > self.largest:
            return self.spell(str(value))
        return self._say(value, False)

    def spell(self, digits: str) -> str:
        """Say digit by digit: 2024 → 二零二四."""
        return "".join(self.digits[int(c)] for c in digits)

    def _say(self, value: int, follows: bool) -> str:
        """Say a number from 1; `follows` tells that larger parts of it were said before."""
        scale = 10 ** (4 * len(self.myriads))
        said = ""
        if value >= scale * 10_000:
            count, value = divmod(value, scale)
            said = self._say(count, follows) + self.myriads[-1]
        for place in range(len(self.myriads), -1, -1):
            group = value // 10_000**place % 10_000
            if group:
                said += self._group(group, place, follows or bool(said))
        return said

    def _group(self, group: int, place: int, follows: bool) -> str:
        """Say four digits and their myriad."""
        name = self.myriads[place - 1] if place else ""
        if group == 1 and place and not follows and name not in self.says_one:
            return name
        gap = self.digits[0] if self.says_gaps and follows and group < 1000 else ""
        if group == 2 and place and self.two:
            return gap + self.two + name
        said, skipped = "", False
        for power in (3, 2, 1, 0):
            digit = group // 10**power % 10
            if digit:
                gap += self.digits[0] if skipped and self.says_gaps else ""
                said += gap + self._digit(digit, power, not (said or follows), bool(place))
                gap = ""
            skipped = bool(said) and not digit
        return said + name

    def _digit(self, digit: int, power: int, leads: bool, counts_myriads: bool) -> str:
        if power == 0:
            return self.digits[digit]
        scale = self.scales[power - 1]
        if digit == 1:
            if power == 3 and counts_myriads and self.one_thousand:
                return self.one_thousand
            bare = power == 1 and leads  # 十五, but 一百一十五
            return scale if bare or scale not in self.says_one else self.digits[1] + scale
        if digit == 2 and power > 1 and leads and self.two:
            return self.two + scale
        return self.digits[digit] + scale


CHINESE = Counting(
    digits=tuple("零一二三四五六七八九"),
    scales=tuple("十百千"),
    myriads=tuple("万亿"),
    says_one="十百千万亿",
    says_gaps=True,
    nests=True,
    two="两",
)
JAPANESE = Counting(
    digits=tuple("零一二三四五六七八九"),
    scales=tuple("十百千"),
    myriads=tuple("万億兆京垓"),
    says_one="万億兆京垓",
    one_thousand="一千",
)
KOREAN = Counting(
    digits=tuple("영일이삼사오육칠팔구"),
    scales=tuple("십백천"),
    myriads=tuple("만억조경해"),
    says_one="억조경해",
)
