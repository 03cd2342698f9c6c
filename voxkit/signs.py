"""Names signs, Greek letters and internet addresses in Chinese, Japanese, Korean and English."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from voxkit import chinese, japanese, korean, notation
from voxkit.languages import Language
from voxkit.numbers import digits
from voxkit.quantities import GROUPS, MEASURES, NUMBERS, Match, apply, rule
from voxkit.spellings import ABBREVIATIONS, ADDRESSES, CAPITALS

_GREEK = list(notation.GREEK)
_IN_ADDRESSES = ".@/-_:?=&#%~+"


def _names(greek: str, *tables: str) -> dict[str, str]:
    """Read pairs such as &=和; a name that is a mark makes the sign a pause."""
    pairs = [pair.partition("=") for table in tables for pair in table.split()]
    named = {sign or "=": name.removeprefix("=") for sign, _, name in pairs}
    return named | dict(zip(_GREEK, greek.split(), strict=True))


def _address_marks(names: str) -> dict[str, str]:
    return dict(zip(_IN_ADDRESSES, names.split(), strict=True))


_CHINESE = _names(
    "阿尔法 贝塔 伽马 德尔塔 艾普西隆 泽塔 伊塔 西塔 约塔 卡帕 拉姆达 缪 纽 克西 奥密克戎 派 柔 "
    "西格玛 陶 宇普西龙 斐 希 普西 欧米伽",
    "&=和 +=加 ==等于 ≠=不等于 <=小于 >=大于 ≤=小于等于 ≥=大于等于 ≈=约等于 ±=正负 ×=乘以 ÷=除以",
    "√=根号 ∞=无穷大 %=百分号 ‰=千分号 °=度 @=艾特 #=, /=、 →=到 ←=, ↑=, ↓=, \\=, ©=版权 §=, ^=的",
    "$=美元 €=欧元 £=英镑 ¥=元 ₩=韩元 ₹=卢比 ₽=卢布 ฿=泰铢 ₿=比特币 ¢=美分",
)
_JAPANESE = _names(
    "アルファ ベータ ガンマ デルタ イプシロン ゼータ イータ シータ イオタ カッパ ラムダ ミュー "
    "ニュー クサイ オミクロン パイ ロー シグマ タウ ユプシロン ファイ カイ プサイ オメガ",
    "&=アンド +=プラス ==イコール ≠=ノットイコール <=小なり >=大なり ≤=小なりイコール",
    "≥=大なりイコール ≈=ニアリーイコール ±=プラスマイナス ×=かける ÷=割る √=ルート ∞=無限大",
    "%=パーセント ‰=パーミル °=度 @=アット #=, /=、 →=, ←=, ↑=, ↓=, \\=, ©=コピーライト §=, ^=の",
    "$=ドル €=ユーロ £=ポンド ¥=円 ₩=ウォン ₹=ルピー ₽=ルーブル ฿=バーツ ₿=ビットコイン ¢=セント",
)
_KOREAN = _names(
    "알파 베타 감마 델타 엡실론 제타 에타 세타 이오타 카파 람다 뮤 뉴 크시 오미크론 파이 로 시그마 "
    "타우 입실론 피 키 프시 오메가",
    "&=앤드 +=더하기 ==이퀄 ≠=같지않음 <=작다 >=크다 ≤=이하 ≥=이상 ≈=약 ±=플러스마이너스 ×=곱하기",
    "÷=나누기 √=루트 ∞=무한대 %=퍼센트 ‰=퍼밀 °=도 @=앳 #=, /=, →=, ←=, ↑=, ↓=, \\=, ©=저작권",
    "§=, ^=의 $=달러 €=유로 £=파운드 ¥=엔 ₩=원 ₹=루피 ₽=루블 ฿=바트 ₿=비트코인 ¢=센트",
)
_ADDRESS_MARKS = {
    "zh": _address_marks("点 艾特 斜杠 杠 下划线 冒号 问号 等于 和 井号 百分号 波浪号 加"),
    "ja": _address_marks(
        "ドット アット スラッシュ ハイフン アンダーバー コロン はてな イコール アンド シャープ "
        "パーセント チルダ プラス"
    ),
    "ko": _address_marks(
        "닷 골뱅이 슬래시 하이픈 언더바 콜론 물음표 이퀄 앤드 샵 퍼센트 물결 플러스"
    ),
}
_READERS = {
    "zh": (chinese.FIGURES, _CHINESE),
    "ja": (japanese.FIGURES, _JAPANESE),
    "ko": (korean.FIGURES, _KOREAN),
}

# Letters, marks and Latin shorthand that read alike in every language.
_SHORTHAND = (
    rule(r"(?<![A-Za-z])(?![AaPp]\.[Mm]\.)(?:[A-Za-z]\.){2,}", lambda m: m[0].replace(".", "")),
    rule(r"(?<![A-Za-z])(?P<title>Dr|Mr|Mrs|Ms|Prof|St|vs)\.", lambda m: m["title"] + " "),
    rule(r"(?<=[A-Za-z])#(?![A-Za-z])", " sharp"),
    rule(r"(?<![A-Za-z])([BCDGOP])2([BCGOP])(?![A-Za-z])", lambda m: f"{m[1]} to {m[2]}"),
)
_ADDRESS = re.compile(
    r"(?:https?|ftp)://[!-~]+|(?<![A-Za-z0-9.@])(?:www\.[!-~]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|[A-Za-z0-9](?:[A-Za-z0-9-]*\.)+[A-Za-z]{2,}(?:/[!-~]*)?)",
    re.ASCII,
)
_SIGN = re.compile(f"[{re.escape(''.join(_CHINESE))}]|(?<![Α-Ωα-ω])[Α-Ω](?![Α-Ωα-ω])")
_ROMAN = re.compile("[Ⅰ-Ⅻⅰ-ⅻ]")
_CHOICE = re.compile(r"(?<![A-Za-z/])(?P<a>[a-z]{2,}) ?/ ?(?P<b>[a-z]{2,})(?![A-Za-z/])")


def _greek(m: Match) -> str:
    return f" {notation.GREEK[m[0].lower()]} "


def _choice(m: Match) -> str:
    either = {"and", "or"} & {m["a"], m["b"]}
    return f"{m['a']} {'' if either else 'or '}{m['b']}"


_ENGLISH = (
    rule(
        r"(?<![0-9A-Za-z.,-])0[0-9]{1,3}-[0-9]{3,8}(?:-[0-9]{3,4})?(?![0-9-])",
        lambda m: ", ".join(map(digits, m[0].split("-"))),
        "0",
    ),
    *(*ADDRESSES, *GROUPS, *MEASURES, *ABBREVIATIONS, *NUMBERS),
    # Capitals stay as they are written, but Henry VIII is the eighth.
    *(r for r in CAPITALS if "caps" not in r.pattern.groupindex),
    rule(r"-->?|->|=>", " → "),
    rule(r"(?<=[A-Za-z])#(?![A-Za-z])", " sharp"),
    rule(_CHOICE.pattern, _choice),
    rule("/", " "),
    rule("(?<![Α-Ωα-ω])[Α-Ωα-ω](?![Α-Ωα-ω])", _greek),
    rule(f"[{re.escape(''.join(notation.SYMBOLS))}]", lambda m: f" {notation.SYMBOLS[m[0]]} "),
)


def read_signs(text: str, language: Language) -> str:
    """Turn figures and signs of a text in one language into its words.  The text is plain."""
    if language == "other":
        return unicodedata.normalize("NFKC", text)
    if language == "en":
        return apply(_ENGLISH, unicodedata.normalize("NFKC", re.sub("(?=[²³])", "^", text)))
    figures, names = _READERS[language]
    space = figures.space
    marks = _ADDRESS_MARKS[language]
    text = apply(_SHORTHAND, text)
    text = _ADDRESS.sub(lambda m: _said_address(m[0], marks, space, figures.spell), text)
    text = _ROMAN.sub(lambda m: f"{unicodedata.numeric(m[0]):.0f}", text)
    text = re.sub(r"-->?|->|=>|⇒", "→", figures.read(text))
    return _SIGN.sub(lambda m: f"{space}{names.get(m[0].lower(), m[0])}{space}", text)


def _said_address(
    address: str, marks: dict[str, str], space: str, spell: Callable[[str], str]
) -> str:
    """Read an internet address or a file name part by part, with the names of its marks."""
    body = address.rstrip(".,;:!?)'\"")
    said = re.sub(r"^(?:https?|ftp)://", "", body).rstrip("/")
    said = re.sub("[0-9]+", lambda m: spell(m[0]), said)
    said = re.sub(r"[!-/:-@\[-`{-~]", lambda m: f"{space}{marks.get(m[0], '')}{space}", said)
    return said + address[len(body) :]
