"""Pronunciations and lexicon files: strict, with line numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxkit.errors import TextError
from voxkit.pronunciation import Pronunciation, read_lexicon, read_pronunciation


def _write(folder: Path, text: str) -> Path:
    path = folder / "words.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_slashes_mean_phones_and_anything_else_a_respelling() -> None:
    assert read_pronunciation("/HH AH0 L OW1/") == Pronunciation("phones", "HH AH0 L OW1")
    assert read_pronunciation(" win ") == Pronunciation("respelling", "win")
    assert read_pronunciation("and/or") == Pronunciation("respelling", "and/or")


def test_vowels_without_a_stress_get_one() -> None:
    assert read_pronunciation("/b ah n ae n ah/").phones == ("B", "AH1", "N", "AE0", "N", "AH0")
    assert read_pronunciation("/B AH N AE1 N AH/").value == "B AH0 N AE1 N AH0"


@pytest.mark.parametrize("text", ["/B Q/", "/B1/", "/AH3/", "//", "", "/ /", "/"])
def test_phones_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(TextError):
        read_pronunciation(text)


def test_a_lexicon_is_read_with_comments_and_empty_lines(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        "\ufeff# names\n\nNguyen\twin\nvoxkit\tV AA1 K S K IH0 T\n"
        "read\t/R EH1 D/\nNew York\tnoo york\n",
    )
    assert read_lexicon(path) == {
        "Nguyen": Pronunciation("respelling", "win"),
        "voxkit": Pronunciation("phones", "V AA1 K S K IH0 T"),
        "read": Pronunciation("phones", "R EH1 D"),
        "New York": Pronunciation("respelling", "noo york"),
    }


def test_a_respelling_in_capitals_is_not_taken_for_phones(tmp_path: Path) -> None:
    assert read_lexicon(_write(tmp_path, "okay\tOW K")) == {
        "okay": Pronunciation("respelling", "OW K")
    }


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("word so\n", 1, "one tab"),
        ("a\tb\n\tso\n", 2, "one tab"),
        ("a\tb\tc\n", 1, "one tab"),
        ("# x\n\na\t/Q/\n", 3, "ARPAbet"),
        ("a\t\n", 1, "empty"),
        ("a\tb\nc\td\na\te\n", 3, "already given in line 1"),
        ("!!\tb\n", 1, "no letter"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(TextError, match=f"line {line}: .*{what}"):
        read_lexicon(_write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="cannot be read"):
        read_lexicon(tmp_path / "none.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"caf\xe9\tkafay\n")
    with pytest.raises(TextError, match=r"not UTF-8 text \(byte 3\)"):
        read_lexicon(tmp_path / "latin.tsv")
