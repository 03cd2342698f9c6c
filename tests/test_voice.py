"""Voices survive the disk, strange files are refused, and the library finds what is meant."""

from __future__ import annotations

import dataclasses
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxkit.audio import Audio
from voxkit.errors import OutputError, VoiceError
from voxkit.voice import (
    About,
    Voice,
    load_voice,
    save_voice,
    voice_info,
)


def make_voice(name: str = "ada", **changes: Any) -> Voice:
    random = np.random.default_rng(0)
    voice = Voice(
        name=name,
        made_by="voxkit-en 0123abcd",
        transcript="Hello there.",
        attributes={"pitch_hz": 201.5, "energy_db": -20.0},
        language="en",
        description="bright",
        source="own recording",
        licence="CC0-1.0",
        consent="The speaker agreed.",
        creation={"how": "clone", "recordings": 2, "seconds": 4.5},
        pitch_factor=1.1,
        reading_pitch_factor=1.05,
        tokens=random.integers(0, 6561, 25),
        mel=random.standard_normal((80, 50), np.float32),
        speaker=random.standard_normal(64, np.float32),
        timbre=random.uniform(-1, 1, 80).astype(np.float32),
        reference=Audio(random.uniform(-0.9, 0.9, 24_000).astype(np.float32), 24_000),
    )
    return dataclasses.replace(voice, **changes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "ada.safetensors"
    save_voice(make_voice(), path)
    return path


# ---- files


def test_a_voice_comes_back_as_it_went(saved: Path) -> None:
    before, after = make_voice(), load_voice(saved)
    for entry in dataclasses.fields(About):
        assert getattr(after, entry.name) == getattr(before, entry.name)
    for name in ("tokens", "mel", "speaker", "timbre"):
        ours, theirs = getattr(after, name), getattr(before, name)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
        assert ours.flags.writeable
    assert after.reference is not None
    assert before.reference is not None
    assert after.reference.sample_rate == 24_000
    # half a step of 16 bits
    np.testing.assert_allclose(after.reference.samples, before.reference.samples, atol=0.51 / 32767)


def test_what_a_voice_lacks_it_lacks_after_the_disk_too(tmp_path: Path) -> None:
    bare = Voice(
        name="bare",
        made_by="x",
        tokens=np.zeros(0, np.int64),
        mel=np.zeros((80, 0), np.float32),
        speaker=np.ones(3, np.float32),
    )
    save_voice(bare, tmp_path / "a.safetensors")
    after = load_voice(tmp_path / "a.safetensors")
    assert after.transcript is after.consent is after.reference is after.timbre is None
    assert after.attributes == {}
    assert after.mel.shape == (80, 0)


def test_the_header_alone_tells_about_a_voice(saved: Path) -> None:
    info = voice_info(saved)
    assert (info.name, info.licence, info.token_count) == ("ada", "CC0-1.0", 25)
    assert info.reference_s == 1.0
    assert info.attributes["pitch_hz"] == 201.5
    assert not info.builtin
    assert info.problem is None


def test_an_existing_voice_is_kept_unless_forced(saved: Path) -> None:
    other = make_voice(description="another")
    with pytest.raises(OutputError, match="--force"):
        save_voice(other, saved)
    assert load_voice(saved).description == "bright"
    save_voice(other, saved, force=True)
    assert load_voice(saved).description == "another"
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokens": np.zeros(24, np.int64)}, "do not belong together"),
        ({"tokens": np.zeros(0, np.int64)}, "do not belong together"),
        ({"speaker": np.zeros(0, np.float32)}, "do not belong together"),
        ({"tokens": np.full(25, -1)}, "no speech tokens"),
        ({"tokens": np.full(25, 2**31)}, "no speech tokens"),
        ({"tokens": np.zeros((25, 1), np.int64)}, "tokens has shape"),
        ({"mel": np.full((80, 50), np.nan, np.float32)}, "not finite"),
        ({"mel": np.zeros((80, 50))}, "float64"),
        ({"attributes": {"pitch_hz": float("nan")}}, "not a number"),
        ({"attributes": {"pitch_hz": "high"}}, "not a number"),
        ({"attributes": {"pitch_hz": 10**400}}, "not a number"),
        ({"attributes": {"pitch_hz": 0}}, "pitch_hz must be between 20 and 2000"),
        ({"attributes": {"pitch_range_st": 1e308}}, "pitch_range_st must be between 0 and 60"),
        ({"attributes": {"rate_phones_s": -3}}, "rate_phones_s must be between"),
        ({"attributes": {"energy_db": 1e299}}, "energy_db must be between -200 and 60"),
        ({"name": ""}, "one line"),
        ({"name": "two\nlines"}, "one line"),
        ({"made_by": None}, "made_by must be text"),
        ({"description": "\x1b[2J"}, "control characters"),
        ({"description": "x" * 30_000}, "at most"),
        ({"transcript": 5}, "must be text"),
        ({"pitch_factor": 0.0}, "pitch_factor must be between"),
        ({"reading_pitch_factor": 5.0}, "reading_pitch_factor must be between"),
        ({"timbre": np.zeros(79, np.float32)}, "timbre has 79 bins and its mel 80"),
        ({"timbre": np.full(80, 9.0, np.float32)}, "timbre holds numbers that no model gives"),
        ({"timbre": np.zeros((80, 1), np.float32)}, "timbre has shape"),
        ({"rate_factor": float("nan")}, "rate_factor must be between"),
        ({"formant_factor": 1e9}, "formant_factor must be between"),
        ({"mel": np.full((80, 50), 1e6, np.float32)}, "no model gives"),
        ({"speaker": np.zeros(64, np.float32)}, "nothing but zeros"),
        ({"creation": {"how": ["a", "list"]}}, "neither text nor a number"),
        ({"creation": {"how": "\x1b[2J"}}, "control characters"),
        ({"creation": {"how": 10**400}}, "neither text nor a number"),
        ({"reference": Audio(np.zeros(24_000, np.float32), 24_000)}, "recording is silent"),
        ({"creation": {str(n): 1 for n in range(99)}}, "short table"),
        ({"attributes": {str(n): 1.0 for n in range(99)}}, "short table"),
    ],
)
def test_a_voice_that_does_not_fit_together_cannot_be_made(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        make_voice(**changes)


def _edit(path: Path, change: Callable[[dict[str, Any]], Any], data: bytes | None = None) -> None:
    """Rewrite the header of a safetensors file, and what follows it if `data` is given."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + (data or raw[8 + size :]))


def _edit_about(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    def edit(header: dict[str, Any]) -> None:
        about = json.loads(header["__metadata__"]["about"])
        change(about)
        header["__metadata__"]["about"] = json.dumps(about)

    _edit(path, edit)


def _overwrite_tensor(path: Path, name: str, value: bytes) -> None:
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    start, end = json.loads(raw[8 : 8 + size])[name]["data_offsets"]
    body = raw[8 + size :]
    filled = value * ((end - start) // len(value))
    path.write_bytes(raw[: 8 + size] + body[:start] + filled + body[end:])


def _deep(header: dict[str, Any]) -> None:
    header["__metadata__"]["about"] = "[" * 200_000


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda p: p.write_bytes(b""), "not a voice file"),
    "short": (lambda p: p.write_bytes(b"\0\0\0"), "not a voice file"),
    "text": (lambda p: p.write_text("I am a voice, honestly. " * 9), "not a voice file"),
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"a": [1] * 99})), "not a voice file"),
    "zip": (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(500)), "not a voice file"),
    "huge header": (lambda p: p.write_bytes(struct.pack("<Q", 2**40) + b"{}"), "not a voice file"),
    "list header": (lambda p: p.write_bytes(struct.pack("<Q", 2) + b"[]"), "not a voice file"),
    "deep header": (
        lambda p: p.write_bytes(struct.pack("<Q", 500_000) + b"[" * 500_000),
        "not a voice file",
    ),
    "no metadata": (lambda p: _edit(p, lambda h: h.pop("__metadata__")), "not a voice file"),
    "a model": (lambda p: _edit(p, lambda h: h["__metadata__"].clear()), "not a voice file"),
    "too large": (lambda p: p.write_bytes(bytes(33 * 2**20)), "too large"),
    "newer": (
        lambda p: _edit(p, lambda h: h["__metadata__"].update(voxkit_voice="2")),
        "another version",
    ),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "longer or shorter"),
    "extended": (lambda p: p.write_bytes(p.read_bytes() + bytes(100)), "longer or shorter"),
    "deep about": (lambda p: _edit(p, _deep), "damaged"),
    "about is a list": (
        lambda p: _edit(p, lambda h: h["__metadata__"].update(about=[])),
        "not a voice file",
    ),
    "about is no JSON": (
        lambda p: _edit(p, lambda h: h["__metadata__"].update(about="{")),
        "damaged",
    ),
    "no maker": (lambda p: _edit_about(p, lambda a: a.pop("made_by")), "maker is missing"),
    "unknown entry": (lambda p: _edit_about(p, lambda a: a.update(x=1)), "unknown entry 'x'"),
    "escape codes": (
        lambda p: _edit_about(p, lambda a: a.update(description="\x1b]0;x\7")),
        "control characters",
    ),
    "lone surrogate": (
        lambda p: _edit_about(p, lambda a: a.update(name="\ud800")),
        "control characters",
    ),
    "infinite pitch": (
        lambda p: _edit_about(p, lambda a: a["attributes"].update(pitch_hz=float("inf"))),
        "not a number",
    ),
    "huge pitch": (
        lambda p: _edit_about(p, lambda a: a["attributes"].update(pitch_hz=10**400)),
        "not a number",
    ),
    "huge fact": (
        lambda p: _edit_about(p, lambda a: a["creation"].update(x=10**400)),
        "neither text nor a number",
    ),
    "huge factor": (lambda p: _edit_about(p, lambda a: a.update(pitch_factor=10**400)), "between"),
    "one sample a second": (
        lambda p: _edit_about(p, lambda a: a.update(reference_rate=1)),
        "sample rate",
    ),
    "short recording": (
        lambda p: _edit_about(p, lambda a: a.update(reference_rate=500_000)),
        "lasts 0.048 s",
    ),
    "rate of nothing": (lambda p: _edit_about(p, lambda a: a.pop("reference_rate")), "reference"),
    "rate of zero": (lambda p: _edit_about(p, lambda a: a.update(reference_rate=0)), "sample rate"),
    "no mel": (lambda p: _edit(p, lambda h: h.pop("mel")), "mel is missing"),
    "another tensor": (lambda p: _edit(p, lambda h: h.update(x=h["mel"])), "no part of a voice"),
    "flat mel": (lambda p: _edit(p, lambda h: h["mel"].update(shape=[4_000])), "2 dimensions"),
    "negative shape": (lambda p: _edit(p, lambda h: h["mel"].update(shape=[-80, -50])), "no shape"),
    "half floats": (lambda p: _edit(p, lambda h: h["mel"].update(dtype="F16")), "must be F32"),
}
# Only the numbers themselves show these.
DEEP_DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "uneven mel": (lambda p: _edit(p, lambda h: h["mel"].update(shape=[50, 80])), "not belong"),
    "overlap": (
        lambda p: _edit(p, lambda h: h["mel"].update(data_offsets=h["tokens"]["data_offsets"])),
        "damaged",
    ),
    "nan mel": (lambda p: _overwrite_tensor(p, "mel", b"\0\0\xc0\x7f"), "not finite"),
    "infinite speaker": (
        lambda p: _overwrite_tensor(p, "speaker", b"\0\0\x80\x7f"),
        "not finite",
    ),
    "negative tokens": (lambda p: _overwrite_tensor(p, "tokens", b"\xff"), "no speech tokens"),
}


@pytest.mark.parametrize("damage", [*DAMAGES, *DEEP_DAMAGES])
def test_a_damaged_or_foreign_file_is_refused_in_one_sentence(saved: Path, damage: str) -> None:
    spoil, says = (DAMAGES | DEEP_DAMAGES)[damage]
    spoil(saved)
    for read in (load_voice, voice_info) if damage in DAMAGES else (load_voice,):
        with pytest.raises(VoiceError, match=says) as caught:
            read(saved)
        assert str(saved) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0.05, 61.0])
def test_a_recording_that_nobody_can_have_cloned_from_is_refused(
    tmp_path: Path, seconds: float
) -> None:
    path, kept = tmp_path / "ada.safetensors", np.full(round(8_000 * seconds), 0.5, np.float32)
    save_voice(make_voice(reference=Audio(kept, 8_000)), path)
    for read in (load_voice, voice_info):
        with pytest.raises(VoiceError, match="its recording lasts"):
            read(path)


@pytest.mark.parametrize("read", [load_voice, voice_info])
def test_a_missing_voice_file_and_a_folder_are_named(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    with pytest.raises(VoiceError, match="does not exist"):
        read(tmp_path / "no.safetensors")
    with pytest.raises(VoiceError, match="is not a file"):
        read(tmp_path)


def test_a_voice_of_another_model_names_both_and_the_way_out() -> None:
    voice = make_voice()
    voice.check_made_by("voxkit-en 0123abcd", "voxkit-en")
    with pytest.raises(VoiceError) as caught:
        voice.check_made_by("cosyvoice2 99", "cosyvoice2-0.5b")
    for part in (
        "'ada'",
        "voxkit-en 0123abcd",
        "cosyvoice2-0.5b (cosyvoice2 99)",
        "voxkit clone RECORDING --name ada --model cosyvoice2-0.5b",
    ):
        assert part in str(caught.value)
