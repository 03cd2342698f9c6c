"""The instruction layer: a description in words → a `Style` → what a given model is told.

`understand` reads English and Chinese by `instruct_lexicon.toml`; the numbers it promises ("slowly"
is rate 0.80) stand there and nowhere else.  `render` turns a style into the instruction a hub model
was trained on and into exact numeric controls, and says what that model cannot do.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from voxkit import phrases
from voxkit.style import LIMITS, NEUTRAL, Emotion, Style, clip, tell
from voxkit.typography import is_control
from voxkit.wording import is_about_speaker

__all__ = [
    "FAMILIES",
    "NEUTRAL",
    "NUMERIC",
    "Controls",
    "Family",
    "Rendering",
    "Style",
    "is_about_speaker",
    "render",
    "understand",
]

Family = Literal["native", "cosyvoice2", "cosyvoice3"]
FAMILIES: tuple[Family, ...] = typing.get_args(Family)

# The numbers each family can be given exactly, by conditioning or by processing what it made.
NUMERIC: Mapping[Family, tuple[str, ...]] = {
    "native": ("rate", "pitch_st", "pitch_range", "energy_db", "pause", "whisper"),
    "cosyvoice2": ("rate", "energy_db", "pause"),
    "cosyvoice3": ("rate", "energy_db", "pause"),
}

# What an emotion or a way of voicing does to speech, for models that cannot be asked for it.  The
# directions follow the reviews of Murray & Arnott (JASA 93, 1993) and Juslin & Laukka (Psychol.
# Bulletin 129, 2003), the sizes are our own, at strength 1.  Used only for quantities left open.
EMOTION_NUMBERS: Mapping[Emotion, Mapping[str, float]] = {
    "happy": {"rate": 1.08, "pitch_st": 1.5, "pitch_range": 1.25, "energy_db": 2.0},
    "sad": {"rate": 0.88, "pitch_st": -1.0, "pitch_range": 0.75, "energy_db": -3.0, "pause": 1.2},
    "surprised": {"rate": 1.05, "pitch_st": 2.0, "pitch_range": 1.4, "energy_db": 2.0},
    "angry": {"rate": 1.1, "pitch_st": 1.0, "pitch_range": 1.2, "energy_db": 4.0, "pause": 0.85},
    "fearful": {"rate": 1.12, "pitch_st": 2.0, "pitch_range": 0.9, "energy_db": -1.0},
    "disgusted": {"rate": 0.9, "pitch_st": -1.0, "pitch_range": 0.85},
    "calm": {"rate": 0.92, "pitch_st": -0.5, "pitch_range": 0.85, "energy_db": -2.0, "pause": 1.15},
    "serious": {"rate": 0.95, "pitch_st": -1.0, "pitch_range": 0.85, "pause": 1.1},
}
VOICING_NUMBERS: Mapping[str, Mapping[str, float]] = {
    "whisper": {"rate": 0.92, "energy_db": -9.0},
    "soft": {"rate": 0.95, "energy_db": -5.0},
    "shout": {"rate": 0.95, "pitch_st": 3.0, "energy_db": 8.0},
}

_NAMES = {
    "rate": "rate",
    "pitch_st": "pitch",
    "pitch_range": "pitch range",
    "energy_db": "loudness",
    "pause": "pauses",
}

# The requests that the hub models were trained on, word for word: others are often read aloud.
_V2_EMOTIONS: Mapping[Emotion, str] = {
    "happy": "高兴",
    "sad": "悲伤",
    "surprised": "惊讶",
    "angry": "愤怒",
    "fearful": "恐惧",
    "disgusted": "厌恶",
    "calm": "冷静",
    "serious": "严肃",
}
_V2_DIALECTS = {
    "cantonese": "粤语",
    "sichuan": "四川话",
    "shanghai": "上海话",
    "henan": "郑州话",
    "hunan": "长沙话",
    "tianjin": "天津话",
}
_V2_ROLES = {
    "mysterious": "神秘",
    "fierce": "凶猛",
    "curious": "好奇",
    "elegant": "优雅",
    "lonely": "孤独",
    "robot": "机器人",
    "peppa": "小猪佩奇",
}
_V3_DIALECTS = {
    "cantonese": "广东",
    "dongbei": "东北",
    "gansu": "甘肃",
    "guizhou": "贵州",
    "henan": "河南",
    "hubei": "湖北",
    "hunan": "湖南",
    "jiangxi": "江西",
    "minnan": "闽南",
    "ningxia": "宁夏",
    "shaanxi": "陕西",
    "shandong": "山东",
    "shanghai": "上海",
    "shanxi": "山西",
    "sichuan": "四川",
    "tianjin": "天津",
    "yunnan": "云南",
}
_REQUESTS: Mapping[Family, Mapping[str, Mapping[str, str]]] = {
    "native": {},
    "cosyvoice2": {
        "dialect": {name: f"用{zh}说这句话" for name, zh in _V2_DIALECTS.items()},
        "role": {name: f"请用{zh}的声音说一下" for name, zh in _V2_ROLES.items()},
        "emotion": {name: f"你能用{zh}的情感说吗？" for name, zh in _V2_EMOTIONS.items()},
    },
    "cosyvoice3": {
        "dialect": {name: f"请用{zh}话表达。" for name, zh in _V3_DIALECTS.items()},
        "role": {
            "robot": "你可以尝试用机器人的方式解答吗？",
            "peppa": "我想体验一下小猪佩奇风格，可以吗？",
        },
        "emotion": {
            "happy": "请非常开心地说一句话。",
            "sad": "请非常伤心地说一句话。",
            "angry": "请非常生气地说一句话。",
        },
        "voicing": {
            "soft": "Please say a sentence in a very soft voice.",
            "shout": "Please say a sentence as loudly as possible.",
        },
    },
}
# (slowest rate, fastest rate, request) for a speed that is described rather than counted.
_SPEED_REQUESTS: Mapping[Family, tuple[tuple[float, float, str], ...]] = {
    "native": (),
    "cosyvoice2": (
        (0.0, 0.73, "请用非常慢速的语速说一下"),
        (0.73, 0.85, "请用慢速的语速说一下"),
        (1.18, 1.38, "请用快速的语速说一下"),
        (1.38, 9.0, "请用非常快速的语速说一下"),
    ),
    "cosyvoice3": (
        (0.0, 0.65, "请用尽可能慢地语速说一句话。"),
        (1.54, 9.0, "请用尽可能快地语速说一句话。"),
    ),
}


@dataclass(frozen=True)
class Controls:
    """Exact numbers for the engine; meanings and units as in `Style`."""

    rate: float = 1.0
    pitch_st: float = 0.0
    pitch_range: float = 1.0
    energy_db: float = 0.0
    pause: float = 1.0
    whisper: bool = False  # speech without voice, made of breath


@dataclass(frozen=True)
class Rendering:
    """What one family of models is told, what it is only brought near to, and what it cannot do."""

    family: Family
    instruction: (
        str | None
    )  # without the family's prefix and end mark, which are the reader's business
    controls: Controls
    approximated: tuple[str, ...]
    unsupported: tuple[str, ...]


def understand(description: str) -> Style:
    """Read a description of how to speak.  Never fails: what means nothing ends up in `ignored`."""
    claims, ignored = phrases.read(description)
    values: dict[str, Any] = {}
    winner: dict[str, int] = {}
    for colour in (True, False):
        for i, claim in enumerate(claims):
            for name, value in (claim.colours if colour else claim.sets).items():
                values[name], winner[name] = value, i
    understood = tuple(
        (claim.phrase, _effect(claims, i, values, winner)) for i, claim in enumerate(claims)
    )
    exact = tuple(sorted(name for name, i in winner.items() if claims[i].exact))
    return Style(
        **values,
        words="".join(c for c in description if not is_control(c)).strip(),
        understood=understood,
        ignored=tuple(phrase for _, phrase in ignored),
        said=tuple(sorted(values)),
        exact=exact,
    )


def _effect(
    claims: tuple[phrases.Claim, ...], i: int, values: Mapping[str, Any], winner: Mapping[str, int]
) -> str:
    """Say what claim `i` does, and which later words took something from it."""
    claim = claims[i]
    asked = {**claim.colours, **claim.sets}
    if asked.get("emotion", "") is None:
        asked.pop("emotion_strength", None)
    kept = {name: value for name, value in asked.items() if values[name] == value}
    if len(kept) > len(LIMITS):
        said = ["everything else as usual"]
    else:
        said = [
            f"{tell(name, value)} (normal)"
            if value == getattr(NEUTRAL, name) and name in LIMITS
            else tell(name, value)
            for name, value in kept.items()
            if name != "emotion_strength" or value != 1.0
        ]
    lost = {winner[name] for name in claim.sets if name in asked and name not in kept}
    said += [f"gives way to “{claims[j].phrase}”" for j in sorted(lost)]
    return ", ".join(said) or "nothing: other words say more"


def render(style: Style, family: Family) -> Rendering:
    """Work out what a model of `family` is told to speak in this style."""
    wanted = {name: float(getattr(style, name)) for name in _NAMES}
    open_fields = {name for name in wanted if name not in {*style.said, *style.settings()}}
    approximated: list[str] = []
    unsupported: list[str] = []

    asked, instruction = _request(style, family)
    if asked == "rate":
        approximated.append(f"{tell('rate', style.rate)}: asked for in words, so not exact")
        wanted["rate"] = 1.0
    if asked == "emotion" and style.emotion_strength != 1.0:
        approximated.append(f"emotion {style.emotion}: this model knows one strength of it")
    for name in ("dialect", "role"):
        if (value := getattr(style, name)) is not None and asked != name:
            known = value in _REQUESTS[family].get(name, {})
            why = f" beside the {asked}: this model follows one request at a time" if known else ""
            unsupported.append(f"{tell(name, value)}{why}")
    if style.emotion is not None and asked != "emotion":
        numbers, strength = EMOTION_NUMBERS[style.emotion], style.emotion_strength
        used = _approximate(wanted, numbers, strength, open_fields, family)
        _near(tell("emotion", style.emotion), used, approximated, unsupported)
    if style.voicing != "normal" and asked != "voicing":
        used = _approximate(wanted, VOICING_NUMBERS[style.voicing], 1.0, open_fields, family)
        if style.voicing != "whisper" or "whisper" not in NUMERIC[family]:
            _near(tell("voicing", style.voicing), used, approximated, unsupported)
    elif asked == "voicing" and style.voicing == "whisper":
        approximated.append("voicing whisper: asked for as a very soft voice")
    for name, value in wanted.items():
        if value != getattr(NEUTRAL, name) and name not in NUMERIC[family]:
            unsupported.append(tell(name, value))
            wanted[name] = getattr(NEUTRAL, name)
    whisper = style.voicing == "whisper" and "whisper" in NUMERIC[family]
    controls = Controls(**wanted, whisper=whisper)
    return Rendering(family, instruction, controls, tuple(approximated), tuple(unsupported))


def _request(style: Style, family: Family) -> tuple[str | None, str | None]:
    """Choose the one request to put in words, by what numbers can least replace: (field, words)."""
    for name in ("dialect", "role", "emotion", "voicing"):
        value = getattr(style, name)
        if name == "voicing" and value == "whisper":
            value = "soft"  # the nearest voicing that any hub model was trained on
        if (words := _REQUESTS[family].get(name, {}).get(value)) is not None:
            return name, words
    if "rate" not in style.exact:
        for low, high, words in _SPEED_REQUESTS[family]:
            if low <= style.rate < high:
                return "rate", words
    return None, None


def _approximate(
    wanted: dict[str, float],
    numbers: Mapping[str, float],
    strength: float,
    open_fields: set[str],
    family: Family,
) -> list[str]:
    """Fold the acoustic marks of a manner into the numbers that are still free; name those used."""
    used = [name for name in numbers if name in open_fields and name in NUMERIC[family]]
    for name in used:
        if name in ("rate", "pitch_range", "pause"):
            wanted[name] = clip(name, round(wanted[name] * numbers[name] ** strength, 4))
        else:
            wanted[name] = clip(name, round(wanted[name] + numbers[name] * strength, 4))
    return used


def _near(what: str, used: list[str], approximated: list[str], unsupported: list[str]) -> None:
    """Report a manner that no words can ask for: suggested by numbers, or not even that."""
    if used:
        means = ", ".join(_NAMES[name] for name in used)
        approximated.append(f"{what}: only suggested by {means}")
    else:
        unsupported.append(what)
