"""Brings text typed in several scripts to plain signs, and sets the marks of text to be spoken."""

from __future__ import annotations

import re
import unicodedata

from voxkit.languages import HAN, HANGUL, KANA
from voxkit.lookalikes import PlainSigns

# --- plain signs, one character at a time ---------------------------------------------------------

_CIRCLED = map(
    chr, (0x24EA, *range(0x2460, 0x2474), *range(0x3251, 0x3260), *range(0x32B1, 0x32C0))
)
_KEPT = map(chr, (*range(0x2160, 0x217C), *range(0x3131, 0x318F)))  # Ⅰ to ⅻ, single Korean letters
_PLAIN = PlainSigns(
    {
        **dict.fromkeys("\n\t\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029", " "),
        **dict.fromkeys("„«", "“"),
        **dict.fromkeys("‟»", "”"),
        **dict.fromkeys("―─━⸺﹘", "—"),
        **dict.fromkeys("～〜∼˜﹏", "~"),
        **dict.fromkeys("‥⋯︙", "…"),
        "｡": "。",
        **dict.fromkeys("､﹑", "、"),
        "，": ", ",
        "；": "; ",
        "℃": "°C",
        "℉": "°F",
        "㎡": "m²",
        "㎥": "m³",
        "㎢": "km²",
        "￥": "¥",
        "￦": "₩",
        "･": "・",
        **dict.fromkeys("•‧∙⋅", "·"),
        **{c: c for c in "²³"},
        **{c: c for c in _KEPT},  # which Chinese says as figures and English as letters
        **{c: f", {unicodedata.normalize('NFKC', c)}, " for c in _CIRCLED},
    }
)
_APOSTROPHE = re.compile(r"(?<=[A-Za-zÀ-ɏ])’|’(?=[A-Za-zÀ-ɏ]|[0-9]0?s)")


def plain_signs(text: str) -> str:
    """Return text with full-width forms, look-alikes and layout characters made plain."""
    text = _APOSTROPHE.sub("'", text).translate(_PLAIN)
    return unicodedata.normalize("NFC", text)


# --- what no text should hold ---------------------------------------------------------------------


def is_control(character: str) -> bool:
    """Tell control characters and halves of characters, except for line breaks and tabs."""
    return unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"


def printable(text: str) -> str:
    """Return a text with a mark in place of what could take over the terminal it is shown on."""
    return "".join("?" if is_control(c) else c for c in text)


# --- layout that is not spoken --------------------------------------------------------------------

_BULLET = re.compile(r"^\s*(?:[-*•‣◦·+●■◆○□◇▪★☆※►▶→>]+|#{1,6})\s+|^\s*[●■◆○□◇▪★☆※►▶•]+\s*")
_NUMBERED = re.compile(r"^\s*\(?([0-9]{1,3})(?:[.)] ?|、)(?=\D)")
_LINK = re.compile(r"\[([^\[\]]+)\]\((?:https?:|mailto:|/)[^\s()]*\)")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*]*[^\s*])\1(?![0-9A-Za-z*])")
_UNDERLINE = re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])([^_]*[^\s_])\1(?!\w)")
_RULER = re.compile(r"([-*=_~#])\1{2,}")


def without_layout(text: str) -> str:
    """Take away list bullets, heading marks, emphasis, rulers, and the addresses behind links."""
    text = _NUMBERED.sub(r"\1, ", _BULLET.sub("", text))
    text = _UNDERLINE.sub(r"\2", _EMPHASIS.sub(r"\2", _LINK.sub(r"\1", text)))
    return _RULER.sub(" — ", text.replace("`", ""))


# --- marks of text to be spoken -------------------------------------------------------------------

MARKS = ",.!?;:…、，。！？；："
OPENING, CLOSING = "“‘「『《〈", "”’」』》〉"
HELD = "\ue000-\uf8ff"  # stand for what is not to be touched
_EASTERN = f"{HAN}{KANA}，。！？；：、「」『』《》〈〉"
_WIDE = re.compile(f"[{_EASTERN}]")
_ORDER = "、，,：:；;….。!！?？"  # the later is the stronger
_TO_WIDE = dict(zip(",.!?;:…", ["，", "。", "！", "？", "；", "：", "……"], strict=True))
_TO_NARROW = dict(zip("，。！？；：、…", [",", ".", "!", "?", ";", ":", ",", "..."], strict=True))
# A run of marks; a full stop inside a name and any mark inside a figure are none.
_RUN = re.compile(
    rf" *(?:(?<![0-9])(?!\.)[{MARKS}]|(?!\.)[{MARKS}](?![0-9])"
    rf"|(?<![A-Za-z0-9])\.|\.(?![A-Za-z0-9]))[ {MARKS}]*"
)
_BRACKETS = re.compile(r"[()\[\]{}【】〔〕|–—]+|(?<!\S)-+(?!\S)|--+|~+")
_BEFORE_PARTICLE = re.compile(rf"[)\]}}】〕](?=[{KANA}{HANGUL}])")
_ENDS = "。.！!？?…；;"


def set_marks(text: str, comma: str | None, *, ended: bool = True) -> str:
    """Return text with one mark between clauses, as wide as the letters around it.

    `comma` is the wide one of a Chinese or a Japanese sentence; what is `ended` ends in a mark.
    """
    text = _BEFORE_PARTICLE.sub("", text)
    text = re.sub(r"\.{2,}|。{2,}", "…", _BRACKETS.sub(",", text))
    text = re.sub(f"([{OPENING}])[ {MARKS}]+", r"\1", text)
    text = re.sub(f'[{OPENING}] *[{CLOSING}]|" *"', "", text)
    text = _RUN.sub(lambda m: _set_one(m, comma), " ".join(text.split()))
    text = re.sub(rf"^([{HELD}\"{OPENING}]*)[{MARKS}{CLOSING}\s]+", r"\1", text)
    text = re.sub(f" *(?<=[{_EASTERN}]) *| +(?=[{_EASTERN}])", "", text)
    return _ended(text.strip(), bool(comma)) if ended else text.strip()


def _set_one(m: re.Match[str], comma: str | None) -> str:
    """Choose the mark of a run of marks, and its width."""
    mark = max(m[0].replace(" ", ""), key=_ORDER.index)
    before = re.sub(f"[{HELD}\\s]+$", "", m.string[: m.start()])[-1:]
    after = re.sub(f"^[{HELD}\\s]+", "", m.string[m.end() :])[:1]
    sides = [bool(c) and _WIDE.match(c) is not None for c in (before, after)]
    if (
        all(sides)
        or (sides[0] and not after.isalnum())
        or (comma and (any(sides) or mark in "。、"))
    ):
        return (comma or "，") if mark in ",，" else _TO_WIDE.get(mark, mark)
    closed = not after or after in CLOSING or (after == '"' and _is_open(m.string[: m.end()]))
    return _TO_NARROW.get(mark, mark) + ("" if closed else " ")


def _is_open(text: str) -> bool:
    """Tell whether the last straight quotation mark of a text still waits for its partner."""
    return text.count('"') % 2 == 1


def _ended(text: str, wide: bool) -> str:
    """End a sentence with a mark that ends it."""
    bare = re.sub(f'[{HELD}{CLOSING}"]+$', "", text)
    tail = text[len(bare) :]
    bare = bare.rstrip(",:、，： ")
    if bare and bare[-1] in _ENDS:
        return bare + tail
    if not bare:
        return tail
    return bare + tail + ("。" if wide or _WIDE.match(bare[-1:]) else ".")
