"""Files tell how they were made: `voxkit verify` reads it, `speak --replay` makes them again."""

from __future__ import annotations

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
    assert (result.status, "carries no record" in result.err) == (1, True)


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


def test_a_cloned_voice_is_given_again(vox: Vox, reference: Path) -> None:
    vox("speak", "Hello.", "-o", "a.wav", "--ref-audio", str(reference))
    assert vox("speak", "--replay", "a.wav", "-o", "b.wav", stdin=b"").status == 1
    vox("speak", "--replay", "a.wav", "-o", "b.wav", "--ref-audio", str(reference), stdin=b"")
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


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
    ):
        broken = json.dumps(record | {name: value})
        monkeypatch.setattr(voxkit.provenance, "read_comment", lambda _, text=broken: text)
        result = vox("verify", "a.wav")
        assert (result.status, result.err.count("\n")) == (1, 1), name
