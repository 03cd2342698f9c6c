"""Raw text in Chinese, English, Japanese and Korean becomes sentences that models can speak."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from voxkit.errors import TextError
from voxkit.languages import stretches
from voxkit.multilingual import INLINE_MARKS, prepare
from voxkit.myriads import CHINESE, JAPANESE, KOREAN
from voxkit.text import MAX_CHARACTERS

SPECS = Path(__file__).resolve().parents[1] / "voxkit" / "specs"
TOKEN = re.compile(r"\[[a-z_-]+\]|</?[a-z]+>|[A-Za-z]{1,6}|[^\sA-Za-z]")


def count(text: str) -> int:
    """Stand in for byte pairs: marks, short runs of Latin letters, single characters."""
    return len(TOKEN.findall(text))


def said(raw: str, most: int = 80, least: int = 60) -> list[str]:
    return [s.text for s in prepare(raw, length=count, most=most, least=least).sentences]


CHINESE_TEXT = {
    # numbers
    "全国共有34个省，人口约14.1亿。": "全国共有三十四个省，人口约十四点一亿。",
    "1,234,567人和12345人": "一百二十三万四千五百六十七人和一万二千三百四十五人。",
    "他2岁，有2本书和22元。": "他两岁，有两本书和二十二元。",
    "买2送1，第2件半价。": "买二送一，第二件半价。",
    "我住在2楼，2号线。": "我住在二楼，二号线。",
    "3/4的人；2又1/2": "四分之三的人；二又二分之一。",
    "3~5天，5-8人": "三到五天，五到八人。",
    "500多人，3000余名": "五百多人，三千余名。",
    "圆周率π≈3.14159。": "圆周率派约等于三点一四一五九。",
    "结果是3+5=8，2×3=6。": "结果是三加五等于八，二乘以三等于六。",
    "温度是-7度": "温度是负七度。",
    "第Ⅱ期，①号": "第二期，一，号。",
    "面积是x²，体积是5m³": "面积是x平方，体积是五立方米。",
    "吃了½杯": "吃了二分之一杯。",
    "全角３．５元，１２个": "全角三点五元，十二个。",
    # dates and times
    "今天是2024年3月15日。": "今天是二零二四年三月十五日。",
    "截至2023-12-31，始于2020/1/5。": "截至二零二三年十二月三十一日，始于二零二零年一月五日。",
    "今天是2月2日。": "今天是二月二日。",
    "3月15日-20日，3月-5月": "三月十五日到二十日，三月到五月。",
    "1000年前，2000年，20世纪90年代": "一千年前，二零零零年，二十世纪九十年代。",
    "会议在下午3:30开始，14:05结束。": "会议在下午三点三十分开始，十四点零五分结束。",
    "周六2:00-11:30营业": "周六两点到十一点三十分营业。",
    "用时1:30:05": "用时一点三十分五秒。",
    # money and measures
    "他花了￥3.50买了2个苹果。": "他花了三点五零元买了两个苹果。",
    "价格是$1,299.99，约HK$50。": "价格是一千二百九十九点九九美元，约五十港元。",
    "100元/月，5元/kg": "一百元每月，五元每公斤。",
    "3.5亿美元和€20": "三点五亿美元和二十欧元。",
    "速度是120km/h，时速350km/h": "速度是时速一百二十公里，时速三百五十公里。",
    "身高1.75m，体重65kg，100mL": "身高一点七五米，体重六十五公斤，一百毫升。",
    "气温－5℃，湿度60%。": "气温零下五摄氏度，湿度百分之六十。",
    "在-10℃~5℃之间，涨了20%-30%": "在零下十摄氏度到五摄氏度之间，涨了百分之二十到三十。",
    # codes
    "电话：010-12345678，手机13812345678。": "电话："
    "零幺零，幺二三四五六七八，手机幺三八幺二三四五六七八。",
    "版本2.0.1发布了。": "版本二点零点一发布了。",
    "新冠病毒COVID-19和歼-20": "新冠病毒COVID十九和歼二十。",
    "身份证号110101199003071234": "身份证号幺幺零幺零幺幺九九零零三零七幺二三四。",
    "比分是3:2，比分2-1。": "比分是三比二，比分二比一。",
    "我用的是 iPhone 15 Pro Max": "我用的是iPhone十五Pro Max。",
    "请看example.com，写信给a@b.cn": "请看example点com，写信给a艾特b点cn。",
    # marks
    "你好,世界!真的吗?": "你好，世界！真的吗？",
    "（注意）【新闻】今天——很好……": "注意，新闻，今天，很好……",
    "他来了!!!真的？！": "他来了！真的？",
    "我用 Visual Studio Code 写 Python": "我用Visual Studio Code写Python。",
    "和/或，男/女，Q&A": "和、或，男、女，Q和A。",
    "**重点**和`代码`": "重点和代码。",
    "他说“3.5%的增长”。": "他说“百分之三点五的增长”。",
    "這是我的書，共2本。": "這是我的書，共两本。",
    "北 京 上海": "北京上海。",
}
JAPANESE_TEXT = {
    "今日は2024年3月15日です。": "今日は二千二十四年三月十五日です。",
    "りんごを2個、3つ買いました。": "りんごを二個、三つ買いました。",
    "価格は¥12,800（税込）です。": "価格は一万二千八百円、税込です。",
    "1000万円と1億円と600円です": "一千万円と一億円と六百円です。",
    "電話番号は03-1234-5678です。": "電話番号はゼロ三の一二三四の五六七八です。",
    "会議は午後3:30から。": "会議は午後三時三十分から。",
    "気温は-3℃から8℃です。": "気温はマイナス三度から八度です。",
    "時速120km/h、65kgです": "時速百二十キロメートル、六十五キログラムです。",
    "勝率は52.3％、得点は3-2。": "勝率は五十二点三パーセント、得点は三対二。",
    "10〜20人、1/2の確率です": "十から二十人、二分の一の確率です。",
    "東京の1丁目2-3です。": "東京の一丁目二の三です。",
    "$5.50と€20を払う": "五点五零ドルと二十ユーロを払う。",
    "iPhone 15 ProとAI・ロボットを買った。": "iPhone十五ProとAI・ロボットを買った。",
    "ﾊﾝｶｸ ｶﾞﾝﾊﾞﾚ": "ハンカクガンバレ。",
    "「すみません、1,000円です」と言った。": "「すみません、千円です」と言った。",
    "バージョン2.0.1とCOVID-19は": "バージョン二点零点一とCOVID十九は。",
    "5GとMP3を10GB使う": "五GとMP三を十ギガバイト使う。",
    "今日は晴れ。大阪府は3度。": "今日は晴れ。大阪府は三度。",
}
KOREAN_TEXT = {
    "사과 3개와 책 2권, 5마리": "사과 세 개와 책 두 권, 다섯 마리.",
    "저는 20살, 형은 21살입니다.": "저는 스무 살, 형은 스물한 살입니다.",
    "100명 중 1,234명과 101마리": "백 명 중 천이백서른네 명과 백한 마리.",
    "2024년 6월 10일, 10월 6일": "이천이십사년 유월 십일, 시월 육일.",
    "2024. 3. 15. 오후에 만나요.": "이천이십사년 삼월 십오일 오후에 만나요.",
    "오후 3:30에, 14시 5분에": "오후 세 시 삼십 분에, 십사 시 오 분에.",
    "회의는 9:00-11:30입니다.": "회의는 아홉 시에서 열한 시 삼십 분입니다.",
    "가격은 12,500원이고 ₩3,000입니다.": "가격은 만이천오백 원이고 삼천 원입니다.",
    "$5와 €20와 1억 원": "오 달러와 이십 유로와 일억 원.",
    "전화번호는 010-9876-5432예요.": "전화번호는 공일공, 구팔칠육, 오사삼이예요.",
    "기온은 -5℃, 습도는 3.5%입니다.": "기온은 영하 오 도, 습도는 삼점오 퍼센트입니다.",
    "시속 120km/h로 65kg을": "시속 백이십 킬로미터로 육십오 킬로그램을.",
    "3번 출구에서 3번 했다": "삼 번 출구에서 세 번 했다.",
    "20대 청년 30%가 2대를": "이십대 청년 삼십 퍼센트가 두 대를.",
    "제3장, 3층 302호, 1/2": "제삼 장, 삼 층 삼백이 호, 이분의 일.",
    "2:1로 이겼다": "이 대 일로 이겼다.",
    "3개월, 5개국, 1주일, 2시간": "삼 개월, 오 개국, 일 주일, 두 시간.",
    "iPhone 15를 샀다, 숫자 3은": "iPhone 십오를 샀다, 숫자 삼은.",
    "코로나(COVID-19)는 0.5초": "코로나, COVID 십구는 영점오 초.",
    "“네，３시예요。” 그가 말했다.": "“네, 세 시예요.” 그가 말했다.",
    "ㅋㅋ 정말요?": "ㅋㅋ 정말요?",
}
ENGLISH_TEXT = {
    "Dr. Smith paid $3.50.": "Doctor Smith paid three dollars and fifty cents.",
    "It is 3.5% of 1,299 (in 2021).": "It is three point five percent of one thousand two hundred "
    "ninety-nine, in twenty twenty-one.",
    "At 3:30 on May 4, 2020, we met.": "At three thirty on May fourth, twenty twenty, we met.",
    "visit example.com.": "visit example dot com.",
    "100 m² and 5 km/h": "one hundred square meters and five kilometers per hour.",
    "the FBI and NASA's “CEO”": "the FBI and NASA's “CEO”.",
    "naïve Zürich has 3 cafés": "naïve Zürich has three cafés.",
    "x² + y³ ≥ 4": "x squared plus y cubed greater than or equal to four.",
    "yes/no and/or A/B": "yes or no and or A B.",
    "Really?! No... well": "Really? No... well.",
    "Call 010-12345678.": "Call zero one zero, one two three four five six seven eight.",
    "Ｆｕｌｌ　ｗｉｄｔｈ，１２！": "Full width, twelve!",
    "World War Ⅱ — the end": "World War two, the end.",
}
MIXED_TEXT = {
    "他说：“I paid $3.50 for 2 books.”然后走了。": "他说："
    "“I paid three dollars and fifty cents for two books.”然后走了。",
    "我学了 there are 3 apples 这句话，共3个": "我学了there are three apples这句话，共三个。",
    "你好，3个。안녕하세요, 3개. こんにちは、3個。": "你好，三个。"
    "안녕하세요, 세 개.こんにちは、三個。",
    "日语的「さくら」是3个假名。": "日语的「さくら」是三个假名。",
    "Ich habe 3 Äpfel für 2,50 €.": "Ich habe 3 Äpfel für 2,50 €.",
    "I love 北京烤鸭 and drank 2 beers": "I love北京烤鸭and drank two beers。",
}
TABLE = CHINESE_TEXT | JAPANESE_TEXT | KOREAN_TEXT | ENGLISH_TEXT | MIXED_TEXT


@pytest.mark.parametrize("raw", TABLE)
def test_text_is_read_as_a_reader_of_its_language_would(raw: str) -> None:
    assert "".join(said(raw)) == TABLE[raw]


@pytest.mark.parametrize(
    ("counting", "value", "words"),
    [
        (CHINESE, 0, "零"),
        (CHINESE, 10_010, "一万零一十"),
        (CHINESE, 22_022, "两万二千零二十二"),
        (CHINESE, 1_500_000_000_000, "一万五千亿"),
        (CHINESE, 10**16, "一" + "零" * 16),
        (JAPANESE, 11_111, "一万千百十一"),
        (JAPANESE, 10_000_000, "一千万"),
        (KOREAN, 10_000, "만"),
        (KOREAN, 123_456_789, "일억이천삼백사십오만육천칠백팔십구"),
    ],
)
def test_numbers_are_counted_in_ten_thousands(counting, value, words) -> None:
    assert counting.cardinal(value) == words


@pytest.mark.parametrize(
    ("sentence", "home", "languages"),
    [
        ("我用的是iPhone 15 Pro", None, ["zh"]),
        ("東京都は3時", None, ["ja"]),
        ("大阪府3番", "ja", ["ja"]),
        ("大阪駅3番", None, ["ja"]),
        ("鲜の每日牛奶", None, ["zh"]),
        ("저는 iPhone 15를", None, ["ko"]),
        ("他说“there are 3 apples”了", None, ["zh", "en", "zh"]),
        ("2024", "ko", ["ko"]),
        ("У меня 3 яблока", None, ["other"]),
    ],
)
def test_a_stretch_is_in_the_language_of_its_letters(sentence, home, languages) -> None:
    assert [s.language for s in stretches(sentence, home)] == languages


LONG = (
    "我们昨天在公园里看见了一只非常漂亮的小鸟，它的羽毛是蓝色的，尾巴长长的，叫声也很好听，"
    "妈妈说它可能是从很远的地方飞来的，我想拍一张照片，但是它一下子就飞走了，我觉得有点可惜。"
)


def test_a_long_sentence_is_cut_at_its_commas() -> None:
    pieces = said(LONG, most=40, least=20)
    assert "".join(pieces) == LONG
    assert all(20 <= count(piece) <= 40 and piece[-1] in "，。" for piece in pieces)


@pytest.mark.parametrize(
    ("raw", "pieces"),
    [
        ("It costs 3.5. Dr. Wu left. He ran.", ["It costs three point five.", "Doctor Wu left."]),
        ("他说v2.0好。真的！", ["他说v二点零好。", "真的！"]),
        ("2024. 3. 15. 만나요. 네.", ["이천이십사년 삼월 십오일 만나요.", "네."]),
    ],
)
def test_decimals_abbreviations_and_dates_end_no_sentence(raw: str, pieces: list[str]) -> None:
    longest = max(map(count, pieces))
    assert said(raw, most=longest, least=1)[: len(pieces)] == pieces


def test_a_closing_quotation_mark_stays_with_its_sentence() -> None:
    pieces = ["“你好！”", "他说。", '"真的？"', "对。"]
    assert said("".join(pieces), most=6, least=4) == pieces


def test_short_sentences_are_joined_up_to_the_limit() -> None:
    pieces = said("你好。" * 20, most=20, least=12)
    assert all(12 <= count(piece) <= 20 for piece in pieces)


def test_a_short_tail_is_joined_to_what_comes_before() -> None:
    assert said("今天天气非常好。好。", most=30, least=8) == ["今天天气非常好。好。"]


def test_a_heading_is_joined_to_its_text_and_paragraphs_are_kept_apart() -> None:
    raw = "第一章\n\n他走进了房间，里面没有人。他坐下来。\n\n天亮了，她还在睡觉，窗外有鸟在唱歌。"
    script = prepare(raw, length=count, most=40, least=15)
    assert [(s.text, s.paragraph_end) for s in script.sentences] == [
        ("第一章。他走进了房间，里面没有人。他坐下来。", True),
        ("天亮了，她还在睡觉，窗外有鸟在唱歌。", True),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        "这是一段没有任何标点符号的很长很长的文字因为模型都不能一次说太长的话所以必须要把它切开",
        "This is a rather long English sentence without any commas that goes on and on because the "
        "author never learned where to put a full stop and so the reader must breathe somewhere",
        "그는 어제 서울에서 친구를 만나서 함께 점심을 먹고 영화를 본 다음 커피를 마셨다",
        "昨日は友達と一緒に東京へ行って美味しいラーメンを食べたり買い物をしたりして楽しく過ごした",
        "a" * 500,
        "가" * 300,
        "12345678901234567890123456789012345678901234567890",
    ],
)
def test_text_without_marks_is_cut_where_it_comes_apart(raw: str) -> None:
    script = prepare(raw, length=count, most=30, least=20)
    assert len(script.sentences) > 1
    assert all(count(s.text) <= 30 for s in script.sentences)
    assert bare("".join(s.source for s in script.sentences)) == bare(raw)


def test_words_are_cut_before_conjunctions_and_not_after_articles() -> None:
    raw = "the cat sat on the mat in the hall because the dog slept on a chair in the sun"
    first, second = said(raw, most=14, least=8)
    assert first == "the cat sat on the mat in the hall,"
    assert second.startswith("because")


@pytest.mark.parametrize(
    "length",
    [
        lambda text: len(text.encode()),
        lambda text: len(text) + 5,
        lambda text: len(text) + len(text) ** 2 // 100,  # the whole is more than its parts
        lambda text: (len(text) + 1) // 2,  # and less
    ],
    ids=["bytes", "overhead", "more", "less"],
)
def test_no_piece_is_longer_than_the_model_takes(length) -> None:
    script = prepare(LONG * 4, length=length, most=60, least=40)
    assert all(length(s.text) <= 60 for s in script.sentences)


def test_marks_of_the_model_pass_through_untouched() -> None:
    raw = "你好[laughter]我有<strong>3个</strong>苹果[breath]和<laughter>2本书</laughter>"
    script = prepare(raw, length=count, most=80, least=60)
    assert [s.text for s in script.sentences] == [
        "你好[laughter]我有<strong>三个</strong>苹果[breath]和<laughter>两本书</laughter>。"
    ]
    assert script.unsaid == ()


def test_a_pair_of_marks_goes_around_every_piece_of_a_long_sentence() -> None:
    pieces = said(f"<strong>{LONG}</strong>", most=40, least=20)
    assert len(pieces) > 2
    assert all(re.fullmatch("<strong>[^<>]+</strong>", piece) for piece in pieces)
    assert re.sub("</?strong>", "", "".join(pieces)) == LONG


def test_pairs_of_marks_nest_and_go_around_every_sentence() -> None:
    raw = "<strong>我们<laughter>3个</laughter>人。</strong>"
    assert said(raw) == ["<strong>我们<laughter>三个</laughter>人。</strong>"]
    raw = f"<strong>{LONG * 4}</strong>好。"
    script = prepare(raw, length=count, most=100, least=60)
    assert "".join(s.text for s in script.sentences) == f"<strong>{LONG}</strong>" * 4 + "好。"
    assert script.unsaid == ()


def test_half_a_pair_and_marks_the_model_lacks_are_reported() -> None:
    script = prepare("你<strong>好<b>吗</b>", length=count, most=80, least=60)
    assert (script.sentences[0].text, script.unsaid) == ("你好吗。", ("<strong>", "<b>", "</b>"))
    script = prepare("hi <strong>you</strong>", length=count, most=80, least=60, marks=())
    assert script.unsaid == ("<strong>", "</strong>")


@pytest.mark.parametrize("raw", ["<|endofprompt|>今天3点。", "今天<|im_start|>3点。<|zh|>"])
def test_steering_tokens_never_reach_the_model_and_stop_no_reading(raw: str) -> None:
    marks = (*INLINE_MARKS, "<|endofprompt|>", "<|im_start|>")
    script = prepare(raw, length=count, most=80, least=60, marks=marks)
    assert [s.text for s in script.sentences] == ["今天三点。"]
    assert script.unsaid == tuple(re.findall(r"<\|\w+\|>", raw))


@pytest.mark.parametrize("name", ["cosyvoice2", "cosyvoice3"])
def test_the_marks_are_those_of_the_released_models(name: str) -> None:
    spec = json.loads((SPECS / f"{name}.json").read_text(encoding="utf-8"))
    assert set(INLINE_MARKS) <= set(spec["text"]["special_tokens"])


def test_what_no_model_can_say_is_reported_once() -> None:
    script = prepare("你好😀，שלום。世界\x07！😀", length=count, most=80, least=60)
    assert script.unsaid == ("😀", "שלום", "U+0007")
    assert script.sentences[0].text == "你好。世界！"


@pytest.mark.parametrize("raw", ["", "   ", "\n", "!!!", "。”", "“”", "😀", "<|zh|>", "…", "()"])
def test_nothing_to_say_is_one_clear_sentence(raw: str) -> None:
    with pytest.raises(TextError, match="nothing to say"):
        prepare(raw, length=count, most=80, least=60)


def test_too_much_text_is_refused() -> None:
    with pytest.raises(TextError, match="split it"):
        prepare("我" * (MAX_CHARACTERS + 1), length=count, most=80, least=60)


@pytest.mark.parametrize("raw", ["。”你好", "”你好", "你好 ", " 你好", "!你好", "。。。你好。。。"])
def test_odd_edges_are_read(raw: str) -> None:
    assert said(raw)[0].startswith("你好")


BITS = (
    "你好 ， 。 “ ” \" ' 3.5% 2024年3月15日 $1,299.99 -5℃ Hello world 안녕하세요 3개 오후 "
    "3:30 を 3つ こんにちは [laughter] <strong> </strong> <|endofprompt|> 😀 ！ ? ... …… "
    "—— ( ) 1. · ü ñ ² ½ ① Ⅲ 100m² 10-20 a/b http://a.com/x?y=1 foo@bar.com 123456789012 "
    "~ 1:2 12:30 ３ \u200b שלום dog cat The Dr. e.g. 我们 的 公园 了 、 ： ； 「 」 * _ # "
    "| \\ \x07 |> <| [ ] < & + = 01 km/h 5kg 1/2 ¥"
).split(" ")
GAPS = ["", "", " ", "\n"]


def bare(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("seed", range(8))
def test_nothing_written_is_lost_from_the_sources(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(15):
        raw = "".join(
            rng.choice(BITS) + rng.choice(["", "", " ", "\n"])
            for _ in range(rng.choice([3, 20, 90]))
        )
        raw = "好" + raw
        script = prepare(raw, length=count, most=40, least=25)
        assert bare("".join(s.source for s in script.sentences)) == bare(raw)
        for sentence in script.sentences:
            assert count(sentence.text) <= 40
            assert "<|" not in sentence.text
            assert not re.search("[\ue000-\uf8ff\x07]", sentence.text)
        assert script.sentences[-1].paragraph_end


@pytest.mark.parametrize("seed", range(4))
def test_every_letter_written_is_said(seed: int) -> None:
    words = {
        "zh": "我们 今天 去 公园 看见 了 一只 小鸟 漂亮 因为 所以 他们 吃饭".split(),
        "en": "the small bird sang while nobody was listening to it today".split(),
        "ja": "今日 は 公園 で 小鳥 を 見 ました とても きれい でした".split(),
        "ko": "오늘 우리는 공원에서 작은 새를 보고 정말 기뻤다".split(),
    }
    rng = random.Random(seed)
    for language, vocabulary in words.items():
        gap = " " if language in ("en", "ko") else ""
        marks = ". ! ? , ;".split() if gap else "。 ！ ？ ， ；".split()
        raw = "".join(
            rng.choice(vocabulary) + (rng.choice(marks) if rng.random() < 0.1 else "") + gap
            for _ in range(200)
        )
        text = "".join(said(raw, most=40, least=25))
        assert re.findall(r"\w", text) == re.findall(r"\w", raw)
