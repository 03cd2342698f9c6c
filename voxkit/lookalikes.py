"""Brings single characters to a plain form: full-width letters, look-alikes, signs of layout."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

_PLAIN = {
    **dict.fromkeys("‛′ʼ´ˈ＇", "'"),
    **dict.fromkeys("″＂", '"'),
    **dict.fromkeys("‐‑−﹣－", "-"),
    "⁄": "/",
    "º": "°",
    "µ": "μ",
    "№": "No. ",
    "™": "™",  # NFKC would make it the letters TM
    "⇒": "→",
}


class PlainSigns(dict[int, str]):
    """Table for `str.translate` that works out each character when it first comes.

    One character at a time, so that it does not matter where a text is cut.
    """

    def __init__(self, special: Mapping[str, str]) -> None:
        """Characters in `special` become what it says."""
        super().__init__()
        self._special = {**_PLAIN, **special}

    def __missing__(self, code: int) -> str:
        c = chr(code)
        self[code] = plain = self._special[c] if c in self._special else _plain(c)
        return plain


def _plain(c: str) -> str:
    """One character → how it is written in plain typography; "" for what only shapes the layout."""
    if c.isascii():
        return c
    category = unicodedata.category(c)
    if category in ("Cf", "Me") or c in "\ufe0e\ufe0f":
        return ""  # zero-width signs, soft hyphens, direction marks, variation selectors
    if category == "Zs":
        return " "
    if category == "Nd":
        return str(unicodedata.decimal(c))
    plain = unicodedata.normalize("NFKC", c)
    if plain[0] == " ":
        return c  # a free-standing accent
    kind = unicodedata.decomposition(c).partition(" ")[0]
    if kind == "<super>" and plain[0] in "0123456789n-−":
        return "^" + plain.replace("−", "-")
    if kind == "<fraction>":
        return " " + plain.replace("⁄", "/")
    return plain.replace("⁄", "/")


def visible(text: str) -> str:
    """Show what has no picture by its code point: U+0007."""
    return "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in text)
