"""Files tell how they were made: `voxkit verify` reads it, `speak --replay` makes them again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, voice

import voxkit.provenance
from voxkit.voice import save_voice

Vox = Callable[..., Any]
FORMATS = ("wav", "flac", "mp3", "ogg", "opus")
TEXT = "Hello [pause:100ms]there, Grüße 你好. [voice:bert]Hi."


def verified(vox: Vox, path: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(vox("verify", path, "--json").out)
    return record


@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_tells_how_it_was_made_and_can_be_made_again(vox: Vox, extension: str) -> None:
    first, again = f"a.{extension}", f"b.{extension}"
    vox("speak", TEXT, "-o", first, "--seed", "7", "--speed", "1.5", "--style", "calm")
    record = verified(vox, first)
    assert record["about"] == "synthetic speech"
    assert (record["text"], record["voice"]) == (TEXT, "anna")
    assert (record["options"]["seed"], record["options"]["speed"]) == (7, 1.5)
    assert set(record["voices"]) == {"anna", "bert"}
    assert record["model"] == "voxkit-en"
    assert vox("speak", "--replay", first, "-o", again, stdin=b"").status == 0
    made, other = Path(first).read_bytes(), Path(again).read_bytes()
    if extension in ("ogg", "opus"):  # each Ogg stream has a serial number of its own
        assert len(made) == len(other)
        assert verified(vox, again) == record
    else:
        assert made == other


def test_verify_tells_in_words(vox: Vox) -> None:
    vox("speak", "Hello.", "-o", "a.wav", "--seed", "7", "--instruct", "slowly")
    out = vox("verify", "a.wav").out
    for part in ("synthetic speech", "voxkit-en", "anna (", "seed      7", "rate ×0.80", "Hello."):
        assert part in out
    assert "voxkit speak --replay a.wav" in out


def test_a_replay_repeats_markup_lexicon_style_and_rate(vox: Vox) -> None:
    Path("words.tsv").write_text("hello\t/HH AH0 L OW1/\n")
    ssml = '<speak>Hello <break time="1s"/> there.</speak>'
    flags = ("--ssml", "--lexicon", "words.tsv", "--instruct", "fast, sad", "--pause", "50")
    vox("speak", ssml, *flags, "-o", "a.wav", "--sample-rate", "16000", "-v", "bert")
    Path("words.tsv").unlink()
    vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_without_its_text_a_file_asks_for_it(vox: Vox) -> None:
    vox("speak", "Hello.", "-o", "a.wav", "--provenance", "facts")
    assert b"Hello" not in Path("a.wav").read_bytes()
    missing = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (missing.status, "does not hold its text" in missing.err) == (1, True)
    wrong = vox("speak", "Hello!", "--replay", "a.wav", "-o", "b.wav")
    assert (wrong.status, "not the text that is spoken" in wrong.err) == (1, True)
    vox("speak", "Hello.", "--replay", "a.wav", "-o", "b.wav")
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_a_file_may_tell_nothing_but_that_it_is_synthetic(vox: Vox) -> None:
    vox("speak", "Hello.", "-o", "a.wav", "--provenance", "none", "--seed", "77")
    data = Path("a.wav").read_bytes()
    assert b"synthetic speech" in data
    assert b"anna" not in data
    result = vox("verify", "a.wav")
    assert (result.status, result.out) == (0, "a.wav: synthetic speech\n")
    assert verified(vox, "a.wav") == {"about": "synthetic speech", "comment": "synthetic speech"}
    again = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (again.status, "a.wav holds no record to replay" in again.err) == (1, True)


def test_a_conversion_tells_what_it_was_made_of_and_cannot_be_replayed(
    vox: Vox, reference: Path
) -> None:
    vox("convert", str(reference), "-v", "bert", "-o", "a.wav", "--seed", "7")
    out = vox("verify", "a.wav").out
    for part in ("Synthetic speech: reference.wav", "voxkit-en, revision 1", "bert (", "seed 7"):
        assert part in out
    again = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (again.status, "`voxkit convert` needs again" in again.err) == (1, True)
    assert not Path("b.wav").exists()


def test_a_record_takes_no_hold_of_the_terminal(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    vox("speak", "Hello.", "-o", "a.wav")
    record = json.loads(voxkit.provenance.read_comment(Path("a.wav")) or "")
    for comment in (
        json.dumps(record | {"text": "a\x1b[31mb\x9b2J"}),
        "Synthetic speech: a\x1b[31mb\x9b2J",
    ):
        monkeypatch.setattr(voxkit.provenance, "read_comment", lambda _, text=comment: text)
        result = vox("verify", "a.wav")
        assert (result.status, "a?[31mb?2J" in result.out) == (0, True)


def test_a_long_text_is_told_by_its_digest_alone(vox: Vox) -> None:
    vox("speak", "word " * 4000 + ".", "-o", "a.wav", "--speed", "4")
    assert verified(vox, "a.wav")["text"] is None


def test_another_revision_of_the_model_is_refused(
    vox: Vox, monkeypatch: pytest.MonkeyPatch
) -> None:
    vox("speak", "Hello.", "-o", "a.wav")
    spec = type(FakeEngine.spec)(**vars(FakeEngine.spec) | {"revision": "2"})
    monkeypatch.setattr(FakeEngine, "spec", spec)
    result = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert result.status == 1
    assert "revision 1, and not by voxkit-en, revision 2" in result.err
    assert not Path("b.wav").exists()


def test_a_voice_that_changed_or_is_gone_is_refused(vox: Vox, library: Path) -> None:
    library.mkdir(parents=True)
    save_voice(voice("carl", 200.0), library / "carl.safetensors")
    vox("speak", "Hello.", "-o", "a.wav", "-v", "carl")
    save_voice(voice("carl", 201.0), library / "carl.safetensors", force=True)
    changed = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (changed.status, "'carl' is not the one that speaks" in changed.err) == (1, True)
    (library / "carl.safetensors").unlink()
    gone = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (gone.status, "spoken by 'carl', who is not here" in gone.err) == (1, True)


def test_a_voice_with_other_resonances_is_another(vox: Vox, library: Path) -> None:
    library.mkdir(parents=True)
    carl = voice("carl", 200.0)
    save_voice(carl, library / "carl.safetensors")
    vox("speak", "Hello.", "-o", "a.wav", "-v", "carl")
    changed = dataclasses.replace(carl, formant_factor=1.2)
    save_voice(changed, library / "carl.safetensors", force=True)
    result = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (result.status, "'carl' is not the one that speaks" in result.err) == (1, True)


@pytest.mark.parametrize("model", ["evil/repo", "/tmp", "work", ".."])
def test_a_record_has_no_unknown_model_fetched_and_no_folder_read(
    vox: Vox, checkpoint: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    vox("speak", "Hello.", "-o", "a.wav")
    Path("work").mkdir()
    record = json.loads(voxkit.provenance.read_comment(Path("a.wav")) or "")
    told = json.dumps(record | {"model": model})
    monkeypatch.setattr(voxkit.provenance, "read_comment", lambda _: told)
    checkpoint.loads.clear()
    result = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert f"give --model {model} to fetch it" in result.err
    assert not checkpoint.loads
    vox("speak", "--replay", "a.wav", "-o", "b.wav", "--model", "my/own", stdin=b"")
    assert [loaded[0] for loaded in checkpoint.loads] == ["my/own"]


def test_a_record_may_name_a_model_that_voxkit_knows(
    vox: Vox, checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vox("speak", "Hello.", "-o", "a.wav")
    record = json.loads(voxkit.provenance.read_comment(Path("a.wav")) or "")
    told = json.dumps(record | {"model": "cosyvoice2"})
    monkeypatch.setattr(voxkit.provenance, "read_comment", lambda _: told)
    vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert checkpoint.loads[-1][0] == "cosyvoice2"


def test_a_record_opens_no_voice_files(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    vox("speak", "Hello.", "-o", "a.wav", "-v", "bert")
    vox("voices", "export", "bert", "-o", "x.safetensors")
    record = json.loads(voxkit.provenance.read_comment(Path("a.wav")) or "")
    name = "./x.safetensors"
    told = json.dumps(record | {"voice": name, "voices": {name: record["voices"]["bert"]}})
    monkeypatch.setattr(voxkit.provenance, "read_comment", lambda _: told)
    result = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (result.status, "who is not here" in result.err) == (1, True)


def test_a_cloned_voice_is_given_again(vox: Vox, reference: Path) -> None:
    vox("speak", "Hello.", "-o", "a.wav", "--ref-audio", str(reference))
    assert vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"").status == 1
    vox("speak", "--replay", "a.wav", "-o", "b.wav", "--ref-audio", str(reference), stdin=b"")
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_verify_tells_that_a_replay_needs_the_recording(vox: Vox, reference: Path) -> None:
    vox("speak", "Hello.", "-o", "a.wav", "--ref-audio", str(reference))
    vox("speak", "Hello.", "-o", "b.wav")
    assert "--ref-audio RECORDING [--ref-text WORDS]" in vox("verify", "a.wav").out
    assert "--ref-audio" not in vox("verify", "b.wav").out


@pytest.mark.parametrize(
    "flags",
    [("--seed", "1"), ("--speed", "2"), ("--instruct", "sad"), ("--ssml",), ("--top-k", "3")],
)
def test_flags_that_a_replay_settles_are_wrong_usage(vox: Vox, flags: tuple[str, ...]) -> None:
    vox("speak", "Hello.", "-o", "a.wav")
    result = vox("speak", "--replay", "a.wav", "-o", "b.wav", *flags, stdin=b"")
    assert result.status == 2
    assert f"{flags[0]}: cannot go with --replay" in result.err


def test_another_version_is_pointed_out(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    vox("speak", "Hello.", "-o", "a.wav")
    monkeypatch.setattr("voxkit.cli.order.__version__", "9.9")
    result = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (result.status, "this is 9.9: the sound may differ" in result.err) == (0, True)


@pytest.mark.parametrize("name", ["none.wav", "text.txt", "empty.wav"])
def test_verify_of_no_sound_is_one_sentence(vox: Vox, name: str) -> None:
    Path("text.txt").write_text("Hello.")
    Path("empty.wav").write_bytes(b"")
    result = vox("verify", name)
    assert (result.status, result.data, result.err.count("\n")) == (1, b"", 1)


def test_a_line_of_a_batch_tells_how_to_say_it_alone(vox: Vox) -> None:
    Path("lines.txt").write_text("Hello.\nHow are you?\n")
    vox("batch", "lines.txt", "-o", "out", "--style", "calm")
    file = "out/0002_how-are-you.wav"
    assert verified(vox, file)["text"] == "How are you?"
    vox("speak", "--replay", file, "-o", "b.wav", stdin=b"")
    assert Path(file).read_bytes() == Path("b.wav").read_bytes()


def test_control_characters_in_a_description_do_not_spoil_the_record(vox: Vox) -> None:
    vox("speak", "Hello.", "--instruct", "slowly\x07, \udcffand low", "-o", "a.wav")
    assert verified(vox, "a.wav")["style"]["words"] == "slowly, and low"
    assert vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"").status == 0


@pytest.mark.parametrize("model", ["a" * 300, "~nobody-at-all/x", "a/b\0"])
def test_a_record_may_name_a_model_that_can_be_no_path(
    vox: Vox, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    vox("speak", "Hello.", "-o", "a.wav")
    record = json.loads(voxkit.provenance.read_comment(Path("a.wav")) or "")
    words = json.dumps(record | {"model": model})
    monkeypatch.setattr("voxkit.provenance.read_comment", lambda path: words)
    result = vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"")
    assert (result.status, result.err.count("\n")) == (1, 1)


def test_a_damaged_record_is_named(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    vox("speak", "Hello.", "-o", "a.wav")
    whole = voxkit.provenance.read_comment(Path("a.wav")) or ""
    record = json.loads(whole)
    for name, value in (
        ("options", {"seed": -1}),
        ("options", {"tone": 1}),
        ("style", {"rate": 99.0}),
        ("style", {"said": ["nonsense"]}),
        ("voices", {}),
        ("text", 5),
        ("format", 99),
        ("lexicon", {"a": "/QQ/"}),
        ("lexicon", {"a": 5}),
        ("lexicon", {"": "x"}),
        ("voices", record["voices"] | {"bert": 5}),
        ("voices", record["voices"] | {"../../x": "y"}),
        ("options", record["options"] | {"seed": None}),
        ("options", record["options"] | {"seed": True}),
        ("options", record["options"] | {"speed": 10**400}),
        ("options", record["options"] | {"steps": 2.5}),
        ("style", {"rate": 10**400}),
        ("style", {"nonsense": 1}),
        ("style", {"said": [["rate"]]}),
        ("style", {"words": "\x1b[2J"}),
        ("loading", {"dtype": "zzz"}),
        ("loading", {"compat": 1}),
        ("sample_rate", -5),
        ("sample_rate", True),
        ("sample_rate", 10**30),
        ("format", True),
        ("model", "voxkit-en\x1b[31m"),
        ("voxkit", "0\x1b[31m"),
        ("text", "\ud800"),
        ("text_sha256", "x"),
    ):
        broken = json.dumps(record | {name: value})
        monkeypatch.setattr(voxkit.provenance, "read_comment", lambda _, text=broken: text)
        for words in (("verify", "a.wav"), ("speak", "--replay", "a.wav", "-o", "b.wav")):
            result = vox(*words, stdin=b"")
            assert (result.status, result.err.count("\n")) == (1, 1), (name, value)
    for broken in ('{"about":"synthetic speech","x":' + "[" * 9999, whole[:-5]):
        monkeypatch.setattr(voxkit.provenance, "read_comment", lambda _, text=broken: text)
        assert "is damaged" in vox("verify", "a.wav").err
