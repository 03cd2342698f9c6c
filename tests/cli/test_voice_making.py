"""Clone with consent, check, mix, rename, export, import and convert, through the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import RATE

from voxkit.audio import Audio, read_audio, write_audio
from voxkit.voice import load_voice

Vox = Callable[..., Any]


def one_sentence(result: Any, says: str) -> None:
    assert result.status == 1
    assert says in result.err
    assert re.search(r"Error: [^\n]+\.\n\Z", result.err), result.err


# ---- consent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "made"), [(b"y\n", True), (b"n\n", False), (b"", False)])
def test_on_a_terminal_cloning_asks_for_the_right_to_it(
    vox: Vox, reference: Path, library: Path, checkpoint: Any, answer: bytes, made: bool
) -> None:
    result = vox("clone", str(reference), "--name", "ada", typed=answer)
    assert "May you clone this voice as 'ada'" in result.err
    assert (library / "ada.safetensors").exists() is made
    if made:
        assert "answered yes" in str(load_voice(library / "ada.safetensors").consent)
    else:
        assert not checkpoint.loads
        one_sentence(result, "Nothing was made")


def test_a_script_is_never_asked_and_the_record_says_so(
    vox: Vox, reference: Path, library: Path
) -> None:
    result = vox("clone", str(reference), "--name", "ada", stdin=b"")
    assert (result.status, "?" in result.err.splitlines()[-1]) == (0, False)
    assert load_voice(library / "ada.safetensors").consent == "not stated"


def test_who_states_the_right_is_not_asked(vox: Vox, reference: Path, library: Path) -> None:
    assert vox("clone", str(reference), "--name", "ada", "--i-have-rights").status == 0
    assert "--i-have-rights" in str(load_voice(library / "ada.safetensors").consent)


def test_a_consent_file_is_recorded_with_its_words(
    vox: Vox, reference: Path, library: Path
) -> None:
    Path("consent.txt").write_text("I, Ada, agree.\n", encoding="utf-8")
    assert vox("clone", str(reference), "--name", "ada", "--consent", "consent.txt").status == 0
    consent = str(load_voice(library / "ada.safetensors").consent)
    assert re.search(r"consent\.txt, sha256 [0-9a-f]{64}\nI, Ada, agree\.$", consent)
    Path("scan.pdf").write_bytes(b"%PDF \xff\xfe")
    assert vox("clone", str(reference), "--name", "eve", "--consent", "scan.pdf").status == 0
    assert "\n" not in str(load_voice(library / "eve.safetensors").consent)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("none.txt", "not a file"),
        ("empty.txt", "is empty"),
        ("nul.bin", "is empty"),
        ("unreadable.txt", "no words that can be read"),
        ("huge.bin", "larger than 10 MB"),
    ],
)
def test_a_consent_that_says_nothing_is_refused(
    vox: Vox, reference: Path, library: Path, checkpoint: Any, file: str, says: str
) -> None:
    Path("empty.txt").write_text(" \n", encoding="utf-8")
    Path("nul.bin").write_bytes(bytes(99))
    Path("unreadable.txt").write_text("\x01\x02\u200b", encoding="utf-8")
    Path("huge.bin").write_bytes(b"I agree. " * 1_200_000)
    one_sentence(vox("clone", str(reference), "--name", "ada", "--consent", file), says)
    assert not checkpoint.loads


# ---- recordings -------------------------------------------------------------------------------


def test_several_recordings_of_other_formats_and_rates_make_one_voice(
    vox: Vox, reference: Path, library: Path
) -> None:
    audio = read_audio(reference)
    write_audio(Path("a.mp3"), audio.resampled(22_050))
    write_audio(Path("b.ogg"), audio.resampled(16_000))
    result = vox("clone", "a.mp3", "b.ogg", "--name", "ada", "--i-have-rights", "--json", "-q")
    report = json.loads(result.out)
    assert [r["file"] for r in report["recordings"]] == ["a.mp3", "b.ogg"]
    voice = load_voice(library / "ada.safetensors")
    assert voice.creation["recordings"] == 2
    assert voice.source == "Cloned from a.mp3, b.ogg"


def test_transcripts_are_one_for_each_recording(vox: Vox, reference: Path) -> None:
    words = ("clone", str(reference), str(reference), "--name", "ada", "--i-have-rights")
    result = vox(*words, "--text", "Only one.")
    assert result.status == 2
    assert "once for each of the 2 recordings" in result.err
    assert vox(*words, "--text", "Author of the danger trail.", "--text", "And so on.").status == 0


def test_a_recording_in_which_nobody_speaks_is_refused(vox: Vox, checkpoint: Any) -> None:
    hiss = 0.1 * np.random.default_rng(0).standard_normal(32_000)
    write_audio(Path("sea.wav"), Audio(hiss.astype(np.float32), 16_000))
    one_sentence(vox("clone", "sea.wav", "--name", "ada"), "Nobody speaks in sea.wav")
    one_sentence(vox("voices", "check", "sea.wav"), "Nobody speaks in sea.wav")
    one_sentence(vox("speak", "Hi.", "--ref-audio", "sea.wav", "-o", "a.wav"), "Nobody speaks")
    assert not checkpoint.loads


def test_a_transcript_of_something_else_is_doubted_and_taken(vox: Vox, reference: Path) -> None:
    words = "And then he went on to speak of very many other things. " * 6
    result = vox("clone", str(reference), "--name", "ada", "--i-have-rights", "--text", words)
    assert result.status == 0
    assert "is it that of reference.wav?" in result.err


def test_without_a_transcript_it_is_said_that_one_helps(vox: Vox, reference: Path) -> None:
    result = vox("clone", str(reference), "--name", "ada", "--i-have-rights")
    assert "with --text" in result.err
    assert "voxkit[asr]" in result.err


def test_an_installed_recogniser_fills_the_transcript_in(
    vox: Vox, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("onnx_asr")
    module.__spec__ = ModuleSpec("onnx_asr", None)
    model = types.SimpleNamespace(recognize=lambda samples, sample_rate: "He turned sharply.")
    module.load_model = lambda name, providers: model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnx_asr", module)
    result = vox("clone", str(reference), "--name", "ada", "--i-have-rights")
    assert "reference.wav says: He turned sharply." in result.err
    model.recognize = lambda samples, sample_rate: 1 / 0
    result = vox("clone", str(reference), "--name", "eve", "--i-have-rights")
    assert result.status == 0
    assert "could not be transcribed" in result.err


def test_check_reports_in_words_and_as_json(vox: Vox, reference: Path, library: Path) -> None:
    said = vox("voices", "check", str(reference)).out.splitlines()
    assert re.match(r"reference\.wav: \d\.\d s of speech in .* SNR \d+ dB, no clipping", said[0])
    report = json.loads(vox("voices", "check", str(reference), "--json").out)
    assert report["speech_s"] > 3
    assert report["advice"] == []
    assert not library.exists()


def test_a_recording_that_was_copied_in_part_is_used_with_a_warning(
    vox: Vox, reference: Path
) -> None:
    data = reference.read_bytes()
    Path("cut.wav").write_bytes(data[: len(data) * 3 // 4])
    for words in (
        ("voices", "check", "cut.wav"),
        ("clone", "cut.wav", "--name", "ada", "--i-have-rights"),
        ("convert", "cut.wav", "-o", "b.wav"),
        ("speak", "Hi.", "--ref-audio", "cut.wav", "-o", "a.wav"),
    ):
        result = vox(*words)
        assert (result.status, "cut.wav breaks off before its end" in result.err) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        ("voices", "check", "REF"),
        ("voices", "describe", "REF"),
        ("clone", "REF", "--name", "ada", "--i-have-rights"),
        ("convert", "REF", "-o", "b.wav"),
        ("speak", "Hi.", "--ref-audio", "REF", "-o", "a.wav"),
    ],
)
def test_a_recording_at_a_rate_that_cannot_be_is_one_sentence(
    vox: Vox, reference: Path, checkpoint: Any, words: tuple[str, ...]
) -> None:
    data = bytearray(reference.read_bytes())
    data[24:28] = (1).to_bytes(4, "little")
    Path("slow.wav").write_bytes(data)
    result = vox(*("slow.wav" if word == "REF" else word for word in words))
    one_sentence(result, "slow.wav says that it has 1 Hz")
    assert not checkpoint.loads


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text there")
def test_a_file_name_that_is_no_text_is_taken(vox: Vox, reference: Path, library: Path) -> None:
    name = os.fsdecode(b"b\xffd.wav")
    shutil.copy(reference, name)
    assert vox("voices", "check", name).status == 0
    assert vox("clone", name, "--name", "ada", "--i-have-rights").status == 0
    assert vox("speak", "Hi.", "--ref-audio", name, "-o", "a.wav").status == 0
    assert vox("convert", name, "-o", os.fsdecode(b"o\xff.wav")).status == 0
    assert "b?d.wav converted" in vox("verify", os.fsdecode(b"o\xff.wav")).out


# ---- the library ------------------------------------------------------------------------------


def test_a_mix_speaks_by_its_name_and_can_be_kept(vox: Vox, library: Path) -> None:
    spoken = vox("speak", "Hi.", "-v", "anna(2) + bert(1)", "-o", "a.wav", "--json", "--seed", "1")
    assert json.loads(spoken.out)["voice"] == "anna(2)+bert(1)"
    assert vox("voices", "mix", "anna(2)+bert(1)", "--name", "berta").status == 0
    again = vox("speak", "Hi.", "-v", "berta", "-o", "b.wav", "--seed", "1")
    assert again.status == 0
    assert np.array_equal(read_audio(Path("a.wav")).samples, read_audio(Path("b.wav")).samples)


@pytest.mark.parametrize(
    ("name", "says"),
    [("anna(2)+", "is no mix"), ("anna+zoe", "no voice 'zoe'"), ("anna(0)+bert", "is no mix")],
)
def test_a_mix_that_cannot_be_made_is_one_sentence(
    vox: Vox, checkpoint: Any, name: str, says: str
) -> None:
    one_sentence(vox("speak", "Hi.", "-v", name, "-o", "a.wav"), says)
    one_sentence(vox("voices", "mix", name, "--name", "new"), says)
    assert not checkpoint.loads


def test_a_voice_travels_by_export_and_import(vox: Vox, library: Path) -> None:
    assert vox("voices", "export", "anna", "-o", "a.safetensors").status == 0
    one_sentence(vox("voices", "export", "anna", "-o", "a.safetensors"), "--force")
    assert vox("voices", "export", "anna", "-o", "a.wav").status == 2
    one_sentence(vox("voices", "import", "a.safetensors"), "built-in voice already")
    assert vox("voices", "import", "a.safetensors", "--name", "anna2").status == 0
    facts = dict(row.split("\t", 1) for row in vox("voices", "show", "anna2").out.splitlines())
    assert facts["name"] == "anna2"
    assert vox("voices", "export", "anna(2)+bert(1)").status == 0
    assert Path("anna-2-bert-1.safetensors").is_file()
    assert vox("voices", "import", "anna-2-bert-1.safetensors").status == 0
    assert (library / "anna-2-bert-1.safetensors").is_file()


@pytest.mark.parametrize("name", ["", "x\ny", "\udcff", "../x"])
def test_a_name_that_no_voice_can_have_is_one_sentence(vox: Vox, name: str) -> None:
    vox("voices", "export", "anna", "-o", "a.safetensors")
    one_sentence(vox("voices", "import", "a.safetensors", "--name", name), "cannot name a voice")


def test_a_mix_may_be_written_over_several_lines(vox: Vox) -> None:
    assert vox("voices", "mix", "anna(2) +\n bert", "--name", "both").status == 0
    assert vox("voices", "export", "anna(2)+\nbert", "-o", "b.safetensors").status == 0
    assert load_voice(Path("b.safetensors")).name == "anna(2)+bert"


@pytest.mark.parametrize("words", ["\x01", "\udcff", "a" * 20_001])
def test_a_description_that_no_voice_can_keep_is_refused_before_the_work(
    vox: Vox, reference: Path, checkpoint: Any, words: str
) -> None:
    words = ("clone", str(reference), "--name", "new", "--i-have-rights", "--description", words)
    result = vox(*words)
    assert (result.status, checkpoint.loads) == (2, [])
    assert "--description" in result.err


def test_a_file_that_is_no_whole_voice_is_not_imported(vox: Vox, library: Path) -> None:
    vox("voices", "export", "anna", "-o", "a.safetensors")
    whole = Path("a.safetensors").read_bytes()
    for data, says in (
        (b"", "not a voice"),
        (whole[:-4], "longer or shorter"),
        (b"x" * 99, "not a"),
    ):
        Path("b.safetensors").write_bytes(data)
        one_sentence(vox("voices", "import", "b.safetensors", "--name", "x"), says)
    one_sentence(vox("voices", "import", "none.safetensors"), "does not exist")
    assert not library.exists() or not list(library.iterdir())


def test_renaming_moves_a_voice(vox: Vox, library: Path) -> None:
    vox("voices", "mix", "anna+bert", "--name", "one")
    assert vox("voices", "rename", "one", "two").status == 0
    assert [path.name for path in library.iterdir()] == ["two.safetensors"]
    one_sentence(vox("voices", "rename", "one", "three"), "no voice 'one'")
    one_sentence(vox("voices", "rename", "anna", "three"), "built in and cannot be renamed")


# ---- conversion -------------------------------------------------------------------------------


def test_a_recording_is_converted_in_its_own_time(vox: Vox, reference: Path) -> None:
    result = vox("convert", str(reference), "-v", "bert", "-o", "b.flac", "--json", "--seed", "4")
    report = json.loads(result.out)
    assert (report["voice"], report["seed"]) == ("bert", 4)
    seconds = read_audio(reference).seconds
    assert read_audio(Path("b.flac")).seconds == pytest.approx(seconds, rel=0.01)
    piped = vox("convert", str(reference), "-v", "bert", "-o", "-", "--raw", "-q")
    assert len(piped.data) == pytest.approx(2 * RATE * seconds, rel=0.01)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("none.wav", "-o", "b.wav"), "none.wav does not exist"),
        (("text.wav", "-o", "b.wav"), "cannot be read as sound"),
        ((".", "-o", "b.wav"), "is a folder"),
        (("REF", "-o", "b.wav", "-v", "zoe"), "no voice 'zoe'"),
        (("REF", "-o", "b.xyz"), "cannot write 'xyz'"),
        (("REF", "-o", "no/b.wav"), "does not exist"),
    ],
)
def test_what_cannot_be_converted_is_said_before_the_model_is_loaded(
    vox: Vox, reference: Path, checkpoint: Any, words: tuple[str, ...], says: str
) -> None:
    Path("text.wav").write_text("no sound")
    result = vox("convert", *(str(reference) if word == "REF" else word for word in words))
    one_sentence(result, says)
    assert not checkpoint.loads
    assert not Path("b.wav").exists()


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_what_only_ffmpeg_reads_can_be_used(vox: Vox, reference: Path) -> None:
    import subprocess

    subprocess.run(["ffmpeg", "-v", "error", "-i", reference, "ref.m4a"], check=True)
    assert vox("voices", "check", "ref.m4a").status == 0


def test_without_ffmpeg_a_strange_file_is_told_what_helps(
    vox: Vox, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("ref.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + b"\0" * 200)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    one_sentence(vox("voices", "check", "ref.m4a"), "or install ffmpeg")


# ---- design -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("cheerful", "--name", "x"), "tells how a voice sounds"),
        (("", "--name", "x"), "Say in a few words"),
        (("an old man", "--name", "anna"), "built-in voice already"),
        (("an old man", "--name", "../x"), "cannot name a voice"),
    ],
)
def test_what_cannot_be_designed_is_said_before_the_model_is_loaded(
    vox: Vox, checkpoint: Any, words: tuple[str, ...], says: str
) -> None:
    one_sentence(vox("design", *words), says)
    assert not checkpoint.loads


def test_words_that_contradict_others_are_told(vox: Vox) -> None:
    err = vox("design", "an old man, a deep woman, high", "--name", "x").err
    assert "Warning: “man” gives way to “woman”.\n" in err
    assert "Warning: “deep” gives way to “high”.\n" in err


def test_a_space_of_another_model_is_refused(vox: Vox) -> None:
    one_sentence(vox("design", "an old man", "--name", "opa"), "voxkit train voices")
