"""How Chinese says what is written in figures: units, money, dates, clock, counting words."""

from __future__ import annotations

import re

from voxkit.figures import Figures
from voxkit.myriads import CHINESE
from voxkit.quantities import Match, rule
from voxkit.tongue import Tongue

# Two is 两 before these and 二 elsewhere: 两个, but 二月, 二楼, 二号.
_COUNTED = (
    "个個只隻本张張位名条條件台辆輛次天周岁歲块塊元点點种種家间間所杯瓶碗盒袋包箱双雙对對把"
    "根支枝颗顆粒朵棵座栋棟艘架部首篇段句遍趟场場顿頓口匹头頭片层層米克吨升秒份套组組批排群类類"
)
_COUNTED_WORDS = re.compile(
    f"[{_COUNTED}]|小时|小時|分钟|分鐘|星期|礼拜|年(?![级級纪紀])|公[里斤]|千[克米]|厘米|毫[米升]"
    "|英[里尺]|平方|立方|美[元分]|欧元|英镑|[港日韩]元|人(?!民)|倍"
)


def _counted(value: int, behind: str) -> str:
    return "两" if value == 2 and _COUNTED_WORDS.match(behind) else CHINESE.cardinal(value)


def _year(value: int) -> str:
    return CHINESE.spell(str(value))


def _date(year: int | None, month: int, day: int | None) -> str:
    said = f"{CHINESE.cardinal(month)}月" + (f"{CHINESE.cardinal(day)}日" if day else "")
    return f"{_year(year)}年{said}" if year else said


def _clock(hour: int, minute: int, second: int | None) -> str:
    said = _counted(hour, "点") + "点"
    if minute or second:
        said += ("零" if minute < 10 else "") + (f"{CHINESE.cardinal(minute)}分" if minute else "")
    return said + (f"{_counted(second, '秒')}秒" if second is not None else "")


def _digits(m: Match) -> str:
    return CHINESE.spell(re.sub("[^0-9]", "", m[0]))


_CODE = tuple("零幺二三四五六七八九")


def _dialled(m: Match) -> str:
    return "".join(_CODE[int(c)] for c in m[0])


_OWN = (
    # 九一一, 三一五: days that are names.
    rule(r"(?<![0-9.])9[./]11(?=事件|恐)", "九一一"),
    rule(r"(?<![0-9])[0-9]{1,2}·[0-9]{1,2}(?![0-9])", _digits),
    rule(r"(?<![0-9])[0-9]{2}(?=年[0-9]{1,2}月)", _digits),
    rule(r"(?<![0-9.,])(?:19[5-9]|20[0-3])[0-9](?=[届春夏秋冬奥世赛财款版])", _digits),
    # 三零二室, 一零三路; models such as RTX 四零九零 and 七二零p.
    rule(r"(?<![0-9.,])[0-9]{3,4}(?=室|号房|房间|路(?!人|程))", _digits),
    rule(r"(?<=[A-Za-z])(?<!No) ?[0-9]{3,4}(?<!00)(?![0-9.,:%])(?! ?年)", _digits),
    rule(r"(?<![0-9.,])[0-9]{3,4}(?=[pP](?![A-Za-z]))", _digits),
    # 一米七五
    rule(
        r"(?<![0-9.])(?P<m>[12])(?:m|米)(?P<cm>[0-9]{2})(?![0-9])",
        lambda m: f"{CHINESE.cardinal(int(m['m']))}米{CHINESE.spell(m['cm'])}",
    ),
    rule(r"\b[Nn][Oo]\. ?(?=[0-9])|#(?=[0-9])", "第"),
    rule(r"第 ?2(?![0-9])", "第二"),
    rule(r"(?<![0-9.])[0-9]0(?=[后後](?![退来續续]))", _digits),
    rule(r"(?<=[0-9])w(?![A-Za-z])", "万"),
    # 幺幺零: numbers that are dialled.
    rule(
        r"(?:(?<=[打拨给电])|(?<=热线)|(?<=客服))(?:1[012][0-9]{3}|9[56][0-9]{3}|11[0-9]|12[02])(?![0-9.])",
        _dialled,
    ),
    rule(
        r"(?<![0-9.])(?:1[012][0-9]{3}|9[56][0-9]{3}|11[0-9]|12[02])(?=热线|客服|电话|报警|急救)",
        _dialled,
    ),
)

TONGUE = Tongue(
    counting=CHINESE,
    code=_CODE,
    joint="，",
    point="点",
    minus="负",
    plus="加",
    below_zero="零下",
    to="到",
    versus="比",
    fraction="{bottom}分之{top}",
    mixed="{whole}又{part}",
    percent="百分之{value}",
    permille="千分之{value}",
    degrees="{value}度",
    celsius="{value}摄氏度",
    fahrenheit="{value}华氏度",
    powers={"2": "平方", "3": "立方", "n": "的{value}次方"},
    space="",
    units={
        "km": "公里",
        "m": "米",
        "dm": "分米",
        "cm": "厘米",
        "mm": "毫米",
        "μm": "微米",
        "nm": "纳米",
        "kg": "公斤",
        "g": "克",
        "mg": "毫克",
        "μg": "微克",
        "L": "升",
        "l": "升",
        "ml": "毫升",
        "mL": "毫升",
        "ha": "公顷",
        "h": "小时",
        "min": "分钟",
        "s": "秒",
        "ms": "毫秒",
        "Hz": "赫兹",
        "kHz": "千赫兹",
        "MHz": "兆赫兹",
        "GHz": "吉赫兹",
        "W": "瓦",
        "kW": "千瓦",
        "MW": "兆瓦",
        "kWh": "千瓦时",
        "V": "伏",
        "kV": "千伏",
        "mA": "毫安",
        "mAh": "毫安时",
        "Pa": "帕",
        "kPa": "千帕",
        "hPa": "百帕",
        "dB": "分贝",
        "cal": "卡",
        "kcal": "千卡",
        "J": "焦耳",
        "kJ": "千焦",
        "mi": "英里",
        "ft": "英尺",
        "lb": "磅",
        "oz": "盎司",
        "rpm": "转每分钟",
        "fps": "帧每秒",
        "ppm": "百万分比浓度",
    },
    square="平方",
    cubic="立方",
    speeds={"km/h": ("时速", "公里"), "m/s": ("每秒", "米"), "mph": ("时速", "英里")},
    rate="{value}每{per}",
    per={
        "月": "月",
        "年": "年",
        "天": "天",
        "日": "天",
        "人": "人",
        "次": "次",
        "个": "个",
        "小时": "小时",
        "分钟": "分钟",
        "秒": "秒",
        "斤": "斤",
        "公斤": "公斤",
        "平米": "平米",
        "m²": "平方米",
        "m³": "立方米",
        "decade": "年代",
        "subtract": "减",
    },
    currencies={
        "¥": "元",
        "$": "美元",
        "US$": "美元",
        "HK$": "港元",
        "A$": "澳元",
        "C$": "加元",
        "S$": "新加坡元",
        "NT$": "新台币",
        "€": "欧元",
        "£": "英镑",
        "₩": "韩元",
        "₹": "卢比",
        "₽": "卢布",
        "฿": "泰铢",
        "CNY": "元",
        "RMB": "元",
        "USD": "美元",
        "HKD": "港元",
        "TWD": "新台币",
        "AUD": "澳元",
        "CAD": "加元",
        "CHF": "瑞士法郎",
        "EUR": "欧元",
        "GBP": "英镑",
        "JPY": "日元",
        "KRW": "韩元",
    },
    halves={"a": "上午", "p": "下午"},
    year=_year,
    date=_date,
    clock=_clock,
    counted=_counted,
    names="[A-Za-z歼轰运直苏图型弹]$|东风$|长征$|神舟$|嫦娥$|天宫$|米格$|系列$|新冠$",
    date_cue="(?<=[于在从自到至])|截至|截止",
    date_sequel="起|前|之前|后|之后|开始|截止|上线|发售|周[一二三四五六日]|星期",
    code_cue="(?:号码|电话|手机|账号|卡号|身份证号?|QQ号?|编号|单号|尾号|密码|验证码|代码|学号|房间号?)"
    "(?:[是为:：]|码是)? ?",
    score_cue="比分(?:是|为)? ?|[以] ?",
    own=_OWN,
)
FIGURES = Figures(TONGUE)
