"""`--instruct`, `--style`, `--ssml`, `--lexicon` and markup: understood, told once, remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from voxkit.audio import read_audio

Vox = Callable[..., Any]
SAY = ("speak", "Hello there.", "-o", "a.wav", "--force", "--seed", "1")


def style_of(vox: Vox, *flags: str) -> dict[str, Any]:
    """The style that a command line comes to."""
    found: dict[str, Any] = json.loads(vox(*SAY, "--json", *flags).out)["style"]
    return found


def test_words_become_a_style(vox: Vox) -> None:
    assert style_of(vox, "--instruct", "slowly, a bit sad")["settings"] == {
        "rate": 0.8,
        "emotion": "sad",
        "emotion_strength": 0.5,
    }
    slow = read_audio(Path("a.wav")).seconds
    vox(*SAY)
    assert slow == pytest.approx(read_audio(Path("a.wav")).seconds / 0.8, abs=0.1)


def test_what_a_style_comes_to_is_told_once(vox: Vox) -> None:
    result = vox(*SAY, "--instruct", "slowly, a bit sad, like a pirate")
    assert result.err.count("rate ×0.80") == 1
    assert result.err.count("emotion sad (strength 0.5)") == 1
    assert "“pirate”: not understood" in result.err
    assert "Brought near by voxkit-en: emotion sad" in result.err
    assert result.data == b""


def test_quiet_tells_only_what_goes_wrong(vox: Vox) -> None:
    assert vox(*SAY, "--instruct", "slowly", "-q").err == ""
    assert "pirate" in vox(*SAY, "--instruct", "a pirate", "-q").err


def test_chinese_words_are_understood(vox: Vox) -> None:
    assert style_of(vox, "--instruct", "慢一点，悲伤地")["settings"]["emotion"] == "sad"


def test_the_later_of_contradicting_words_wins(vox: Vox) -> None:
    found = style_of(vox, "--instruct", "slowly, no, fast")
    assert found["settings"]["rate"] > 1
    assert "gives way" in json.dumps(found["understood"])


def test_styles_merge_in_their_order_and_words_come_last(vox: Vox) -> None:
    both = style_of(vox, "--style", "slow", "--style", "fast")["settings"]
    assert both["rate"] > 1
    words = style_of(vox, "--style", "fast", "--instruct", "slowly")["settings"]
    assert words["rate"] == 0.8


def test_a_style_of_ones_own_shadows_the_packaged_one(vox: Vox, library: Path) -> None:
    own = library.parent / "presets" / "styles"
    own.mkdir(parents=True)
    (own / "calm.toml").write_text(
        'name = "calm"\ndescription = "Mine"\n[style]\nrate = 1.5\n', encoding="utf-8"
    )
    assert style_of(vox, "--style", "calm")["settings"] == {"rate": 1.5}


def test_a_voice_speaks_in_the_style_of_its_preset_unless_asked_otherwise(
    vox: Vox, library: Path
) -> None:
    own = library.parent / "presets" / "voices"
    own.mkdir(parents=True)
    (own / "bert.toml").write_text(
        "\n".join(
            f'{key} = "{value}"'
            for key, value in {
                **{"name": "bert", "description": "Calm", "language": "en", "gender": "male"},
                **{"age": "adult", "accent": "none", "source": "me", "licence": "CC0"},
                **{"credit": "me", "style": "slow"},
            }.items()
        ),
        encoding="utf-8",
    )
    assert style_of(vox, "-v", "bert")["settings"]["rate"] < 1
    assert style_of(vox, "-v", "bert", "--instruct", "cheerful")["settings"]["emotion"] == "happy"
    assert style_of(vox, "-v", "anna")["settings"] == {}


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        (("--instruct", ""), 2, "is empty"),
        (("--instruct", " \n"), 2, "is empty"),
        (("--style", "calme"), 1, "did you mean calm"),
        (("--lexicon", "none.tsv"), 1, "none.tsv cannot be read"),
        (("--ssml",), 1, "line 1, column"),
    ],
)
def test_what_cannot_be_a_style_is_one_sentence(
    vox: Vox, flags: tuple[str, ...], status: int, says: str
) -> None:
    result = vox(*SAY, *flags)
    assert result.status == status
    assert says in result.err
    assert result.err.count("\n") == 1
    assert not Path("a.wav").exists()


# ---- markup ------------------------------------------------------------------------------------


def test_tags_are_never_spoken_and_unknown_ones_are_reported(vox: Vox) -> None:
    result = vox("speak", "Hello [explode]there[breath].", "-o", "a.wav")
    assert "[explode] is not spoken" in result.err
    assert "[breath] is silent" in result.err
    vox("speak", "Hello there.", "-o", "b.wav")
    assert read_audio(Path("a.wav")).seconds == read_audio(Path("b.wav")).seconds


@pytest.mark.parametrize("tag", ["[pause:99999s]", "[pause]", "[rate:900]", "[voice:]"])
def test_impossible_tags_are_reported_and_change_nothing(vox: Vox, tag: str) -> None:
    result = vox("speak", f"Hello {tag}there.", "-o", "a.wav", "--seed", "1")
    assert result.status == 0
    assert f"{tag} is not spoken" in result.err


def test_a_thousand_nested_tags_are_read(vox: Vox) -> None:
    deep = "[rate:2]" * 3000 + "Hello." + "[/rate]" * 3000
    assert vox("speak", deep, "-o", "a.wav").status == 0


def test_ssml_is_read_and_its_mistakes_have_a_place(vox: Vox) -> None:
    good = '<speak>Hello <prosody rate="200%">there, you</prosody>.</speak>'
    assert vox("speak", good, "--ssml", "-o", "a.wav").status == 0
    bad = "<speak>Hello\n  <blink>there</blink></speak>"
    result = vox("speak", bad, "--ssml", "-o", "b.wav")
    assert (result.status, Path("b.wav").exists()) == (1, False)
    assert "SSML, line 2, column 3: <blink> is not supported" in result.err
    deep = "<speak>" + "<prosody rate='fast'>" * 3000 + "x" + "</prosody>" * 3000 + "</speak>"
    assert vox("speak", deep, "--ssml", "-o", "c.wav").status == 0


def test_an_unknown_voice_in_a_text_is_refused_before_a_file_is_made(vox: Vox) -> None:
    result = vox("speak", "Hello. [voice:nobody]Hi.", "-o", "a.wav")
    assert result.status == 1
    assert "There is no voice 'nobody'" in result.err
    assert not Path("a.wav").exists()


def test_a_lexicon_says_words_its_own_way(vox: Vox) -> None:
    Path("words.tsv").write_text("voxkit\tvox kit is a long thing to say\n", encoding="utf-8")
    vox("speak", "voxkit.", "-o", "a.wav", "--lexicon", "words.tsv")
    vox("speak", "voxkit.", "-o", "b.wav")
    assert read_audio(Path("a.wav")).seconds > 3 * read_audio(Path("b.wav")).seconds


# ---- batch -------------------------------------------------------------------------------------


def batch(vox: Vox, *flags: str) -> tuple[int, int, int]:
    """Run a batch and return how many lines were made, kept and failed."""
    done = json.loads(vox("batch", "lines.txt", "-o", "out", "--json", "-q", *flags).out)
    return done["made"], done["kept"], done["failed"]


def test_a_changed_style_speaks_the_lines_again(vox: Vox) -> None:
    Path("lines.txt").write_text("One.\nTwo [voice:bert]three.\n")
    assert batch(vox) == (2, 0, 0)
    assert batch(vox, "--style", "slow") == (2, 0, 0)
    assert batch(vox, "--style", "slow") == (0, 2, 0)
    assert batch(vox, "--instruct", "slowly, cheerful") == (2, 0, 0)


def test_a_changed_lexicon_speaks_the_lines_again(vox: Vox) -> None:
    Path("lines.txt").write_text("One.\n")
    Path("words.tsv").write_text("one\twon\n")
    assert batch(vox, "--lexicon", "words.tsv") == (1, 0, 0)
    Path("words.tsv").write_text("one\twan\n")
    assert batch(vox, "--lexicon", "words.tsv") == (1, 0, 0)


def test_one_line_with_a_mistake_stops_no_other(vox: Vox) -> None:
    Path("lines.txt").write_text("<speak>One.</speak>\n<speak>Two\n[voice:nobody] no\n")
    assert batch(vox, "--ssml") == (1, 0, 2)
    Path("lines.txt").write_text("One.\n[voice:nobody] no\n")
    assert batch(vox) == (1, 0, 1)
