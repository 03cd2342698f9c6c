"""How Japanese says what is written in figures: its units, money, dates and clock."""

from __future__ import annotations

from voxkit.figures import Figures
from voxkit.myriads import JAPANESE
from voxkit.quantities import rule
from voxkit.tongue import Tongue


def _counted(value: int, behind: str) -> str:
    if value == 1000 and behind[:1] in JAPANESE.myriads:
        return JAPANESE.one_thousand  # 一千万, but 千円
    return JAPANESE.cardinal(value)


def _year(value: int) -> str:
    return JAPANESE.cardinal(value)


def _date(year: int | None, month: int, day: int | None) -> str:
    said = f"{JAPANESE.cardinal(month)}月" + (f"{JAPANESE.cardinal(day)}日" if day else "")
    return f"{_year(year)}年{said}" if year else said


def _clock(hour: int, minute: int, second: int | None) -> str:
    said = f"{JAPANESE.cardinal(hour)}時"
    if minute or second:
        said += f"{JAPANESE.cardinal(minute)}分"
    return said + (f"{JAPANESE.cardinal(second)}秒" if second is not None else "")


_CODE = ("ゼロ", *"一二三四五六七八九")


def _spell(digits: str) -> str:
    return "".join(_CODE[int(c)] for c in digits)


_OWN = (
    # Addresses: 一丁目二の三の四.
    rule(r"(?<=丁目)(?P<a>[0-9]+)[-–](?=[0-9])", lambda m: f"{JAPANESE.cardinal(int(m['a']))}の"),
    rule(
        r"〒 ?(?P<a>[0-9]{3})-?(?P<b>[0-9]{4})(?![0-9])",
        lambda m: "郵便番号" + "の".join(_spell(m[part]) for part in ("a", "b")),
    ),
    rule(r"\b[Nn][Oo]\. ?(?=[0-9])|#(?=[0-9])", "ナンバー"),
)


TONGUE = Tongue(
    counting=JAPANESE,
    code=_CODE,
    joint="の",
    point="点",
    minus="マイナス",
    plus="プラス",
    below_zero="マイナス",
    to="から",
    versus="対",
    fraction="{bottom}分の{top}",
    mixed="{whole}と{part}",
    percent="{value}パーセント",
    permille="{value}パーミル",
    degrees="{value}度",
    celsius="{value}度",
    fahrenheit="華氏{value}度",
    powers={"2": "の二乗", "3": "の三乗", "n": "の{value}乗"},
    space="",
    units={
        "km": "キロメートル",
        "m": "メートル",
        "cm": "センチメートル",
        "mm": "ミリメートル",
        "μm": "マイクロメートル",
        "nm": "ナノメートル",
        "kg": "キログラム",
        "g": "グラム",
        "mg": "ミリグラム",
        "μg": "マイクログラム",
        "t": "トン",
        "L": "リットル",
        "l": "リットル",
        "dl": "デシリットル",
        "ml": "ミリリットル",
        "mL": "ミリリットル",
        "ha": "ヘクタール",
        "h": "時間",
        "min": "分",
        "s": "秒",
        "ms": "ミリ秒",
        "Hz": "ヘルツ",
        "kHz": "キロヘルツ",
        "MHz": "メガヘルツ",
        "GHz": "ギガヘルツ",
        "W": "ワット",
        "kW": "キロワット",
        "MW": "メガワット",
        "kWh": "キロワット時",
        "V": "ボルト",
        "kV": "キロボルト",
        "mA": "ミリアンペア",
        "mAh": "ミリアンペア時",
        "Pa": "パスカル",
        "kPa": "キロパスカル",
        "hPa": "ヘクトパスカル",
        "dB": "デシベル",
        "cal": "カロリー",
        "kcal": "キロカロリー",
        "J": "ジュール",
        "kJ": "キロジュール",
        "KB": "キロバイト",
        "MB": "メガバイト",
        "GB": "ギガバイト",
        "TB": "テラバイト",
        "Mbps": "メガビーピーエス",
        "Gbps": "ギガビーピーエス",
        "mi": "マイル",
        "ft": "フィート",
        "lb": "ポンド",
        "oz": "オンス",
        "fps": "フレーム毎秒",
        "rpm": "回転毎分",
        "ppm": "ピーピーエム",
    },
    square="平方",
    cubic="立方",
    speeds={
        "km/h": ("時速", "キロメートル"),
        "m/s": ("秒速", "メートル"),
        "mph": ("時速", "マイル"),
    },
    rate="{per}あたり{value}",
    per={
        "月": "一ヶ月",
        "年": "一年",
        "日": "一日",
        "人": "一人",
        "回": "一回",
        "個": "一個",
        "本": "一本",
        "時間": "一時間",
        "分": "一分",
        "秒": "一秒",
        "m²": "一平方メートル",
        "m³": "一立方メートル",
        "decade": "年代",
        "subtract": "引く",
    },
    currencies={
        "¥": "円",
        "$": "ドル",
        "US$": "米ドル",
        "HK$": "香港ドル",
        "A$": "豪ドル",
        "C$": "カナダドル",
        "€": "ユーロ",
        "£": "ポンド",
        "₩": "ウォン",
        "₹": "ルピー",
        "₽": "ルーブル",
        "฿": "バーツ",
        "JPY": "円",
        "USD": "米ドル",
        "EUR": "ユーロ",
        "GBP": "ポンド",
        "CNY": "人民元",
        "HKD": "香港ドル",
        "AUD": "豪ドル",
        "CAD": "カナダドル",
        "CHF": "スイスフラン",
        "KRW": "ウォン",
    },
    halves={"a": "午前", "p": "午後"},
    year=_year,
    date=_date,
    clock=_clock,
    counted=_counted,
    names="[A-Za-zァ-ヺー]$",
    date_cue="(?<=から)|(?<=まで)",
    date_sequel="から|まで|以降|以前|\\([月火水木金土日]\\)|[月火水木金土日]曜",
    code_cue="(?:電話番号|口座番号|番号|暗証番号|パスワード|コード)(?:は|:)? ?",
    score_cue="スコア(?:は)? ?",
    own=_OWN,
)
FIGURES = Figures(TONGUE)
