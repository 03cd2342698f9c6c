"""How Korean says what is written in figures: two sets of numbers, units, money, dates, clock."""

from __future__ import annotations

import re

from voxkit.figures import Figures
from voxkit.myriads import KOREAN
from voxkit.quantities import Match, rule
from voxkit.tongue import Tongue

_ONES = " 한 두 세 네 다섯 여섯 일곱 여덟 아홉".split(" ")
_TENS = " 열 스물 서른 마흔 쉰 예순 일흔 여든 아흔".split(" ")
# Counting words that take the Korean numbers: 세 개, 스무 살.  The others take the Chinese ones.
_NATIVE = re.compile(
    "(?:개(?!월|국|년)|명(?!품)|살|마리|권|병(?!원)|잔|대(?![가-힣]*[학화])|장(?![가-힣]*년)|그루|송이|켤레|벌"
    "|채|척|곳|가지|달(?!러)|사람|번째|번|군데|마디|통|쌍|줄|판|배(?!럴)|시간|시(?![가-힣]*민)|끼|모금|접시"
    "|그릇|봉지|상자|조각|자루|다발|걸음|차례|포기|알|방울|칸|건|편|곡|문제|팀|종류|스푼|컵|바퀴|갑절|군데)"
)
# 삼 번 출구: here the word numbers and does not count.
_NUMBERED = re.compile(
    "번 ?(?:출구|문제|버스|선수|방|홀|트랙|노선|국도|타자|채널|승강장|게이트|테이블|지)"
)
_SPACED = re.compile(
    "(?:분|초|원|층|번|호|회|차|등|위|세|인|개월|개국|도|점|주|학년|반|급|단계|쪽|페이지|퍼센트|달러|유로|엔|위안"
    "|파운드|킬로|미터|그램|리터|센티|밀리|평|톤|배|단|박|석|자리|시|교시|국)"
)


def native(value: int) -> str:
    """Say a number from 1 as it stands before a counting word: 21 → 스물한, 20 → 스무."""
    head, rest = divmod(value, 100)
    said = KOREAN.cardinal(head * 100) if head else ""
    if rest == 20:
        return said + "스무"
    return said + _TENS[rest // 10] + _ONES[rest % 10]


def _counted(value: int, behind: str) -> str:
    if value in (6, 10) and re.match("월(?!드|급|세|요)", behind):
        return {6: "유", 10: "시"}[value]
    by_age = value % 10 == 0 and value < 100 and behind.startswith("대")  # 삼십대
    afternoon = value > 12 and re.match("시(?!간)", behind)
    numbers = _NUMBERED.match(behind) or by_age or afternoon
    if value and value < 10_000 and _NATIVE.match(behind) and not numbers:
        return native(value) + " "
    return KOREAN.cardinal(value) + ("" if by_age or not _SPACED.match(behind) else " ")


def _year(value: int) -> str:
    return KOREAN.cardinal(value)


def _date(year: int | None, month: int, day: int | None) -> str:
    said = f"{_counted(month, '월')}월" + (f" {KOREAN.cardinal(day)}일" if day else "")
    return f"{_year(year)}년 {said}" if year else said


def _clock(hour: int, minute: int, second: int | None) -> str:
    said = f"{_counted(hour, '시').rstrip()} 시"
    if minute or second:
        said += f" {KOREAN.cardinal(minute)} 분"
    return said + (f" {KOREAN.cardinal(second)} 초" if second is not None else "")


def _ordinal(m: Match) -> str:
    return f"제{KOREAN.cardinal(int(m['n']))}" + ("" if m.string[m.end() :][:1] == " " else " ")


_OWN = (
    rule(r"제 ?(?P<n>[0-9]{1,4})(?= ?(?:장|편|권|과|회|조|부|차|대|호|항|절|번))", _ordinal),
    rule(r"(?P<q>[1-4])/4 ?분기", lambda m: f"{KOREAN.cardinal(int(m['q']))}사분기"),
    rule(r"(?P<n>[0-9]+)박 ?(?P<d>[0-9]+)일", lambda m: _nights(m)),
    rule(r"\b[Nn][Oo]\. ?(?=[0-9])|#(?=[0-9])", "넘버 "),
)


def _nights(m: Match) -> str:
    return f"{KOREAN.cardinal(int(m['n']))}박 {KOREAN.cardinal(int(m['d']))}일"


TONGUE = Tongue(
    counting=KOREAN,
    code=tuple("공일이삼사오육칠팔구"),
    joint=", ",
    point="점",
    minus="마이너스 ",
    plus="플러스 ",
    below_zero="영하 ",
    to="에서 ",
    versus=" 대 ",
    fraction="{bottom}분의 {top}",
    mixed="{whole}과 {part}",
    percent="{value} 퍼센트",
    permille="{value} 퍼밀",
    degrees="{value} 도",
    celsius="{value} 도",
    fahrenheit="화씨 {value} 도",
    powers={"2": " 제곱", "3": " 세제곱", "n": "의 {value} 제곱"},
    space=" ",
    units={
        "km": "킬로미터",
        "m": "미터",
        "cm": "센티미터",
        "mm": "밀리미터",
        "μm": "마이크로미터",
        "nm": "나노미터",
        "kg": "킬로그램",
        "g": "그램",
        "mg": "밀리그램",
        "t": "톤",
        "L": "리터",
        "l": "리터",
        "ml": "밀리리터",
        "mL": "밀리리터",
        "ha": "헥타르",
        "h": "시간",
        "min": "분",
        "s": "초",
        "ms": "밀리초",
        "Hz": "헤르츠",
        "kHz": "킬로헤르츠",
        "MHz": "메가헤르츠",
        "GHz": "기가헤르츠",
        "W": "와트",
        "kW": "킬로와트",
        "MW": "메가와트",
        "kWh": "킬로와트시",
        "V": "볼트",
        "mA": "밀리암페어",
        "mAh": "밀리암페어시",
        "hPa": "헥토파스칼",
        "dB": "데시벨",
        "cal": "칼로리",
        "kcal": "킬로칼로리",
        "KB": "킬로바이트",
        "MB": "메가바이트",
        "GB": "기가바이트",
        "TB": "테라바이트",
        "Mbps": "메가비피에스",
        "Gbps": "기가비피에스",
        "mi": "마일",
        "ft": "피트",
        "lb": "파운드",
        "oz": "온스",
        "fps": "에프피에스",
        "ppm": "피피엠",
    },
    square="제곱",
    cubic="세제곱",
    speeds={"km/h": ("시속 ", "킬로미터"), "m/s": ("초속 ", "미터"), "mph": ("시속 ", "마일")},
    rate="{per}당 {value}",
    per={
        "월": "월",
        "년": "연",
        "일": "하루",
        "인": "인",
        "명": "명",
        "회": "회",
        "개": "개",
        "시간": "시간",
        "분": "분",
        "초": "초",
        "m²": "제곱미터",
        "m³": "세제곱미터",
        "decade": "년대",
        "subtract": " 빼기 ",
    },
    currencies={
        "₩": "원",
        "$": "달러",
        "US$": "미국 달러",
        "HK$": "홍콩 달러",
        "A$": "호주 달러",
        "C$": "캐나다 달러",
        "€": "유로",
        "£": "파운드",
        "¥": "엔",
        "₹": "루피",
        "₽": "루블",
        "฿": "바트",
        "KRW": "원",
        "USD": "달러",
        "EUR": "유로",
        "GBP": "파운드",
        "JPY": "엔",
        "CNY": "위안",
        "HKD": "홍콩 달러",
        "AUD": "호주 달러",
        "CAD": "캐나다 달러",
        "CHF": "스위스 프랑",
    },
    halves={"a": "오전 ", "p": "오후 "},
    year=_year,
    date=_date,
    clock=_clock,
    counted=_counted,
    names="[A-Za-z가-힣](?<![은는이가을를도의에])$",
    date_cue="(?<=부터)|(?<=까지)",
    date_sequel="부터|까지|\\([월화수목금토일]\\)|[월화수목금토일]요일",
    code_cue="(?:전화번호|계좌번호|비밀번호|우편번호|코드)(?:는|은|:)? ?",
    score_cue="(?:점수|스코어)(?:는|가)? ?",
    own=_OWN,
)
FIGURES = Figures(TONGUE)
