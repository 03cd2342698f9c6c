"""Words that are spelt alike and said differently, told apart by the words beside them."""

from __future__ import annotations

_VOWEL_INITIALS = frozenset("AEIOU")  # every ARPAbet vowel begins with one, no consonant does

# After these a verb follows: "to record", "they use", "don't close".
_BEFORE_VERB = frozenset(
    "to will would can could may might must shall should do does did don't doesn't didn't won't "
    "can't cannot couldn't wouldn't shouldn't i you we they who let's please never always "
    "i'll you'll we'll they'll he'll she'll it'll i'd you'd we'd they'd not help".split()
)
# After these a noun or adjective follows: "a record", "in use", "his close friend".
_BEFORE_NOUN = frozenset(
    "a an the this that these those my your his her its our their no some any each every another "
    "of in for with by at on from into under about new old first last second third one two three "
    "world great good bad big small long heavy light is are was were be been being am it's "
    "very so too as much more most quite pretty".split()
)
_BE = frozenset("is are was were be been being am isn't aren't wasn't weren't".split())
_HAVE = frozenset("have has had having i've you've we've they've haven't hasn't hadn't".split())

_BEFORE_LETTER = frozenset(
    "vitamin plan grade type hepatitis letter group team class section point side level option "
    "exhibit appendix figure table model part category series room gate block unit an the straight "
    "capital big version answer slash dot".split()
)

# word: (as a noun or adjective, as a verb, which of the two when nothing beside it tells)
_NOUN_VERB: dict[str, tuple[str, str, int]] = {
    "abuse": ("AH0 B Y UW1 S", "AH0 B Y UW1 Z", 0),
    "advocate": ("AE1 D V AH0 K AH0 T", "AE1 D V AH0 K EY2 T", 0),
    "alternate": ("AO1 L T ER0 N AH0 T", "AO1 L T ER0 N EY2 T", 0),
    "appropriate": ("AH0 P R OW1 P R IY0 AH0 T", "AH0 P R OW1 P R IY0 EY2 T", 0),
    "associate": ("AH0 S OW1 S IY0 AH0 T", "AH0 S OW1 S IY0 EY2 T", 1),
    "conduct": ("K AA1 N D AH0 K T", "K AH0 N D AH1 K T", 0),
    "conflict": ("K AA1 N F L IH0 K T", "K AH0 N F L IH1 K T", 0),
    "contest": ("K AA1 N T EH0 S T", "K AH0 N T EH1 S T", 0),
    "contract": ("K AA1 N T R AE2 K T", "K AH0 N T R AE1 K T", 0),
    "contrast": ("K AA1 N T R AE0 S T", "K AH0 N T R AE1 S T", 0),
    "convert": ("K AA1 N V ER0 T", "K AH0 N V ER1 T", 1),
    "decrease": ("D IY1 K R IY2 S", "D IH0 K R IY1 S", 1),
    "deliberate": ("D IH0 L IH1 B ER0 AH0 T", "D IH0 L IH1 B ER0 EY2 T", 0),
    "duplicate": ("D UW1 P L AH0 K AH0 T", "D UW1 P L AH0 K EY2 T", 0),
    "estimate": ("EH1 S T AH0 M AH0 T", "EH1 S T AH0 M EY2 T", 0),
    "excuse": ("IH0 K S K Y UW1 S", "IH0 K S K Y UW1 Z", 1),
    "export": ("EH1 K S P AO2 R T", "IH0 K S P AO1 R T", 0),
    "extract": ("EH1 K S T R AE2 K T", "IH0 K S T R AE1 K T", 1),
    "graduate": ("G R AE1 JH AH0 W AH0 T", "G R AE1 JH AH0 W EY2 T", 0),
    "house": ("HH AW1 S", "HH AW1 Z", 0),
    "import": ("IH1 M P AO2 R T", "IH2 M P AO1 R T", 0),
    "increase": ("IH1 N K R IY2 S", "IH2 N K R IY1 S", 1),
    "insult": ("IH1 N S AH2 L T", "IH2 N S AH1 L T", 0),
    "moderate": ("M AA1 D ER0 AH0 T", "M AA1 D ER0 EY2 T", 0),
    "object": ("AA1 B JH EH0 K T", "AH0 B JH EH1 K T", 0),
    "perfect": ("P ER1 F IH2 K T", "P ER0 F EH1 K T", 0),
    "permit": ("P ER1 M IH2 T", "P ER0 M IH1 T", 1),
    "present": ("P R EH1 Z AH0 N T", "P R IY0 Z EH1 N T", 0),
    "produce": ("P R OW1 D UW0 S", "P R AH0 D UW1 S", 1),
    "progress": ("P R AA1 G R EH2 S", "P R AH0 G R EH1 S", 0),
    "project": ("P R AA1 JH EH0 K T", "P R AA0 JH EH1 K T", 0),
    "protest": ("P R OW1 T EH2 S T", "P R AH0 T EH1 S T", 0),
    "rebel": ("R EH1 B AH0 L", "R IH0 B EH1 L", 0),
    "record": ("R EH1 K ER0 D", "R IH0 K AO1 R D", 0),
    "refuse": ("R EH1 F Y UW2 Z", "R AH0 F Y UW1 Z", 1),
    "reject": ("R IY1 JH EH0 K T", "R IH0 JH EH1 K T", 1),
    "separate": ("S EH1 P ER0 IH0 T", "S EH1 P ER0 EY2 T", 0),
    "subject": ("S AH1 B JH IH0 K T", "S AH0 B JH EH1 K T", 0),
    "suspect": ("S AH1 S P EH2 K T", "S AH0 S P EH1 K T", 1),
    "tear": ("T IH1 R", "T EH1 R", 0),
    "transfer": ("T R AE1 N S F ER0", "T R AE0 N S F ER1", 0),
    "transport": ("T R AE1 N S P AO0 R T", "T R AE0 N S P AO1 R T", 0),
    "use": ("Y UW1 S", "Y UW1 Z", 1),
}

_LIVE_THINGS = frozenset(
    "music show shows performance performances concert concerts broadcast broadcasts stream "
    "streams streaming audience audiences tv television event events coverage album recording "
    "wire wires ammunition fire animals bait demo demos video videos version band chat".split()
)
_LEAD_METAL = frozenset(
    "pipe pipes paint paints poisoning pencil acid bullet bullets weight weights shot mine mines "
    "ore oxide levels free lined content crystal contamination based balloon".split()
)
_CLOSE_BY = frozenset(
    "to by call calls friend friends enough look range contact together quarters relationship "
    "relationships ties attention behind relative relatives family proximity at".split()
)
_NEAR = frozenset(
    "so very too as how come came comes coming get got gets stay stayed stand stood sit sat keep "
    "kept quite pretty extremely really that this a an my his her their our your "
    "remain remained draw drew".split()
)


def in_context(word: str, before: str, after: str, next_sound: str) -> str | None:
    """Return the phones of `word` where its neighbours decide them, else None.

    `before` and `after` are the words beside it in the same clause or "", `next_sound` is the
    first phone of the word after it or "".
    """
    key, left, right = (w.replace("’", "'").lower() for w in (word, before, after))
    if key == "the":
        return "DH IY0" if next_sound[:1] in _VOWEL_INITIALS and next_sound else "DH AH0"
    if key == "a":
        return "EY1" if _is_letter_name(word, before, after) else "AH0"
    if key in _NOUN_VERB:
        noun, verb, default = _NOUN_VERB[key]
        if left in _BEFORE_VERB:
            return verb
        return noun if left in _BEFORE_NOUN else (noun, verb)[default]
    special = _SPECIAL.get(key)
    return special(left, right) if special else None


def _is_letter_name(word: str, before: str, after: str) -> bool:
    """Tell the letter of "vitamin A" and "U S A" from the article of "A dog" and "a dog"."""
    if not before and not after:
        return True
    if word == "a":
        return False
    spelt_beside = any(len(w) == 1 and w.isupper() and w != "I" for w in (before, after))
    return spelt_beside or not after or before.lower() in _BEFORE_LETTER


def _read(left: str, right: str) -> str:
    past = left in _HAVE or left in _BE or left in ("he", "she", "it", "well", "widely", "who")
    return "R EH1 D" if past else "R IY1 D"


def _live(left: str, right: str) -> str:
    adjective = right in _LIVE_THINGS or left in ("a", "go", "goes", "going", "went", "streamed")
    return "L AY1 V" if adjective else "L IH1 V"


def _lead(left: str, right: str) -> str:
    return "L EH1 D" if right in _LEAD_METAL or left in ("of", "molten") else "L IY1 D"


def _wind(left: str, right: str) -> str:
    verb = right in ("up", "down", "back") or (left in _BEFORE_VERB and right not in ("",))
    return "W AY1 N D" if verb else "W IH1 N D"


def _wound(left: str, right: str) -> str:
    return "W AW1 N D" if right in ("up", "down", "around", "through") else "W UW1 N D"


def _close(left: str, right: str) -> str:
    if left in _BEFORE_VERB and right not in ("to", "by"):
        return "K L OW1 Z"
    near = right in _CLOSE_BY or left in _NEAR or left in _BE
    return "K L OW1 S" if near else "K L OW1 Z"


def _used(left: str, right: str) -> str | None:
    return "Y UW1 S T" if right == "to" and left not in _BE and left not in _HAVE else None


_SPECIAL = {
    "read": _read,
    "live": _live,
    "lead": _lead,
    "wind": _wind,
    "wound": _wound,
    "close": _close,
    "used": _used,
}
