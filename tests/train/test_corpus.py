"""Training shards from recordings and from a speaker program."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import tiny
import tiny_corpus
import torch

from voxkit.errors import TrainingError
from voxkit.modules.spectral import log_mel
from voxkit.phonemes import PHONES
from voxkit.train import corpus
from voxkit.train.corpus import (
    F0_PER_FRAME,
    PHONE_CLASSES,
    CorpusRecipe,
    SetRecipe,
    SyntheticRecipe,
    build,
    find_clip,
    phone_class,
    recorded_jobs,
    set_level,
    synthetic_jobs,
    track_pitch,
    trim_silence,
)
from voxkit.train.data import Utterance, load_corpus

ROWS = [
    ("ann-1", "ann", "Hello there, my friend."),
    ("ann-2", "ann", "Nobody knew what to do."),
    ("bob-1", "bob", "We can go home now."),
]
RECIPE = CorpusRecipe(seed=1, held_out_share=0.3, sets=(SetRecipe("real", "folder-of-real"),))


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this process, without the optional pitch tracker, and leave the threads alone."""
    monkeypatch.setattr(corpus, "ProcessPoolExecutor", tiny_corpus.InProcess)
    monkeypatch.setattr(corpus, "track_pitch", tiny_corpus.steady_pitch)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    tiny_corpus.recordings(tmp_path / "data" / "folder-of-real", ROWS)
    return tmp_path / "data"


def made(recipe: CorpusRecipe, data: Path, out: Path) -> list[Utterance]:
    for _ in build(recipe, data, out, tiny.MEL, 1):
        pass
    return load_corpus(out)


# ---- recordings -------------------------------------------------------------------------------


def test_recordings_become_shards(data: Path, tmp_path: Path) -> None:
    found = made(RECIPE, data, tmp_path / "out")
    assert [(u.id, u.speaker, u.text) for u in found] == ROWS
    for u in found:
        assert (u.shard, u.set) == ("real-0000", "real")
        assert u.frames % 2 == 0
        assert u.wav.shape == (u.frames * tiny.HOP,) and u.wav.dtype == np.int16
        assert u.mel.shape == (u.frames, tiny.MEL.bins) and u.mel.dtype == np.float16
        assert u.f0.shape == (F0_PER_FRAME * u.frames,) and (u.f0 == 120).all()
        assert (u.phones == -1).all()  # nobody knows what is said where
        wave = torch.from_numpy(u.wav.astype(np.float32) / 32767)[None]
        mel = log_mel(wave, tiny.MEL)[0].T.numpy()
        # 0.05: samples of 16 bits, mels of half precision; only where there is something to hear
        loud = mel > -6
        assert np.abs(u.mel - mel)[loud].max() < 0.05


def test_progress_counts_up_to_all_utterances(data: Path, tmp_path: Path) -> None:
    counts = list(build(RECIPE, data, tmp_path / "out", tiny.MEL, 1))
    assert counts[-1] == (3, 3)
    assert counts == sorted(counts)


def test_a_second_run_makes_only_what_is_missing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "SHARD_UTTERANCES", 2)
    out = tmp_path / "out"
    first = made(RECIPE, data, out)
    assert sorted(p.name for p in out.iterdir()) == ["real-0000", "real-0001", "sets.json"]
    (out / ".partial-left-over").mkdir()
    kept = (out / "real-0000" / "mel.npy").stat().st_mtime_ns
    lost = out / "real-0001"
    for file in lost.iterdir():
        file.unlink()
    lost.rmdir()
    counts = list(build(RECIPE, data, out, tiny.MEL, 1))
    assert counts == [(2, 3), (3, 3)]
    assert sorted(p.name for p in out.iterdir()) == ["real-0000", "real-0001", "sets.json"]
    assert (out / "real-0000" / "mel.npy").stat().st_mtime_ns == kept
    again = load_corpus(out)
    assert [u.id for u in again] == [u.id for u in first]
    assert all(np.array_equal(a.wav, b.wav) for a, b in zip(again, first, strict=True))


def test_stereo_clips_of_another_rate_are_read(tmp_path: Path) -> None:
    folder = tiny_corpus.recordings(tmp_path / "data" / "folder-of-real", ROWS)
    wave, _ = tiny_corpus.sound(ROWS[0][2], "ann")
    wide = soxr.resample(np.stack([wave, wave], axis=1), tiny.RATE, 22_050)
    (folder / "clips" / "ann-1.wav").unlink()
    soundfile.write(folder / "clips" / "ann-1.flac", wide, 22_050)
    plain = tiny_corpus.recordings(tmp_path / "plain" / "folder-of-real", ROWS)
    found = made(RECIPE, tmp_path / "data", tmp_path / "out")[0]
    wanted = made(RECIPE, plain.parent, tmp_path / "out-plain")[0]
    assert abs(found.frames - wanted.frames) <= 2
    frames = min(found.frames, wanted.frames)
    loud = wanted.mel[:frames].astype(np.float32) > -5
    # 0.5: the cut at the ends may fall a few milliseconds apart
    assert np.median(np.abs(found.mel[:frames] - wanted.mel[:frames])[loud]) < 0.5


def test_clips_too_short_or_too_long_are_left_out(tmp_path: Path) -> None:
    rows = [("short", "ann", "a"), ("silent", "ann", "a"), ("long", "ann", "a"), ROWS[0]]
    folder = tiny_corpus.recordings(tmp_path / "data" / "folder-of-real", rows)
    for name, seconds in (("short", 0.1), ("long", 41.0)):
        wave = tiny.tone(200, seconds).samples
        soundfile.write(folder / "clips" / f"{name}.wav", wave, tiny.RATE)
    soundfile.write(folder / "clips" / "silent.wav", np.zeros(tiny.RATE), tiny.RATE)
    assert [u.id for u in made(RECIPE, tmp_path / "data", tmp_path / "out")] == ["ann-1"]


def test_rows_without_a_clip_are_left_out(data: Path, tmp_path: Path) -> None:
    (data / "folder-of-real" / "clips" / "ann-2.wav").unlink()
    assert [u.id for u in made(RECIPE, data, tmp_path / "out")] == ["ann-1", "bob-1"]


def test_quotes_in_a_transcript_are_part_of_it(tmp_path: Path) -> None:
    rows = [("q", "ann", '"Hello," said "somebody')]
    tiny_corpus.recordings(tmp_path / "folder-of-real", rows)
    assert [job.text for job in recorded_jobs(RECIPE, tmp_path)] == [rows[0][2]]


def test_what_is_held_out_depends_on_the_id_alone(tmp_path: Path) -> None:
    rows = [(f"clip-{n}", "ann", "A.") for n in range(60)]
    tiny_corpus.recordings(tmp_path / "a" / "folder-of-real", rows)
    tiny_corpus.recordings(tmp_path / "b" / "folder-of-real", rows[::-2])
    first = {job.id: job.held_out for job in recorded_jobs(RECIPE, tmp_path / "a")}
    other = {job.id: job.held_out for job in recorded_jobs(RECIPE, tmp_path / "b")}
    assert 0.1 < sum(first.values()) / 60 < 0.5
    assert other == {name: first[name] for name in other}


def test_a_set_without_metadata_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"folder-of-real/metadata\.csv is missing"):
        list(build(RECIPE, tmp_path, tmp_path / "out", tiny.MEL, 1))


def test_a_set_without_clips_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder-of-real").mkdir()
    (tmp_path / "folder-of-real" / "metadata.csv").write_text("a|ann|A.\n")
    with pytest.raises(TrainingError, match="folder-of-real/clips is missing"):
        list(build(RECIPE, tmp_path, tmp_path / "out", tiny.MEL, 1))


def test_empty_lines_are_no_rows(data: Path) -> None:
    with (data / "folder-of-real" / "metadata.csv").open("a") as file:
        file.write("\n\n")
    assert len(list(recorded_jobs(RECIPE, data))) == len(ROWS)


@pytest.mark.parametrize("line", ["a", "a,ann,A.", "a|ann"])
def test_a_line_that_is_no_row_is_shown(data: Path, tmp_path: Path, line: str) -> None:
    with (data / "folder-of-real" / "metadata.csv").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(TrainingError, match=r"metadata\.csv: .* is not id\|speaker\|text"):
        list(build(RECIPE, data, tmp_path / "out", tiny.MEL, 1))


# ---- level and silence ------------------------------------------------------------------------


def test_silence_at_both_ends_is_cut_down() -> None:
    wave = np.zeros(3 * tiny.RATE, np.float32)
    wave[8_000:12_000] = tiny.tone(200, 0.5).samples
    trimmed = trim_silence(wave, tiny.RATE)
    hop = tiny.RATE // 50
    assert 4_000 + 1_600 <= len(trimmed) <= 4_000 + 1_600 + 2 * hop
    assert np.abs(trimmed[:800]).max() == 0
    assert np.abs(trimmed[800 : 800 + 2 * hop]).max() > 0.01


def test_silence_alone_leaves_nothing() -> None:
    assert len(trim_silence(np.zeros(tiny.RATE, np.float32), tiny.RATE)) == 0
    assert len(trim_silence(np.zeros(10, np.float32), tiny.RATE)) == 0


@pytest.mark.parametrize("gain", [0.01, 0.3, 1.0])
def test_all_clips_get_the_same_level(gain: float) -> None:
    wave = tiny.tone(150, 2).samples
    loud, soft = set_level(wave, tiny.RATE), set_level(wave * np.float32(gain), tiny.RATE)
    np.testing.assert_allclose(loud, soft, atol=1e-4)
    frames = (loud.reshape(-1, tiny.RATE // 50) ** 2).mean(1)
    louder = frames[frames >= np.median(frames)]
    assert np.sqrt(louder.mean()) == pytest.approx(0.08, rel=1e-3)


@pytest.mark.parametrize("rate", [8_000, 24_000])
def test_the_level_is_measured_over_20_ms_at_any_rate(rate: int) -> None:
    burst = np.zeros(rate, np.float32)
    for start in range(0, rate, rate // 25):  # every other 20 ms
        burst[start : start + rate // 50] = 0.3
    assert set_level(burst, rate).max() == pytest.approx(0.08, rel=1e-3)


def test_a_click_is_never_pushed_over_full_scale() -> None:
    wave = np.full(9_600, 1e-4, np.float32)
    wave[5_000] = 0.9
    assert np.abs(set_level(wave, tiny.RATE)).max() == pytest.approx(0.95, rel=1e-4)


# ---- pitch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [38, 40, 45])
def test_the_pitch_tracker_is_asked_for_four_values_a_frame(
    given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def dio(audio: np.ndarray, rate: int, **told: float) -> tuple[np.ndarray, np.ndarray]:
        asked.update(told, rate=rate, kind=audio.dtype)
        return np.full(given, 100.0), np.arange(given) * told["frame_period"] / 1000

    world = types.ModuleType("pyworld")
    world.dio = dio  # type: ignore[attr-defined]
    world.stonemask = lambda audio, f0, times, rate: f0 + 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyworld", world)
    f0 = track_pitch(np.zeros(10 * tiny.HOP, np.float32), tiny.MEL, 10)
    assert f0.shape == (40,)
    assert (f0[: min(given, 40)] == 101.0).all()
    assert (f0[given:] == 0).all()
    assert asked["frame_period"] == 5.0  # ms, a quarter of 20 ms
    assert (asked["rate"], asked["kind"]) == (tiny.RATE, np.float64)


def test_without_the_pitch_tracker_the_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(TrainingError, match=r"pip install 'voxkit\[train\]'"):
        track_pitch(np.zeros(10 * tiny.HOP, np.float32), tiny.MEL, 10)


# ---- the speaker program ----------------------------------------------------------------------

SYNTHETIC = SyntheticRecipe(
    program="flite", utterances=5, held_out=1, voices=("x", "y"), pseudo_speakers=3, prose=()
)
# pau, hello there, pau: the names that flite uses, and a sound that has another name there
SEGMENTS = (
    ("pau", 0.1),
    ("hh", 0.2),
    ("ax", 0.3),
    ("l", 0.4),
    ("ow", 0.5),
    ("dx", 0.6),
    ("axr", 0.75),
    ("pau", 0.9),
)


@pytest.fixture
def flite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `flite` that always says the same; returns the file with the commands it was given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    soundfile.write(folder / "said.wav", tiny.tone(120, 0.9, 16_000).samples, 16_000)
    (folder / "durations").write_text(" ".join(f"{name}:{end}" for name, end in SEGMENTS))
    script = folder / "flite"
    script.write_text(
        "#!/bin/sh\n"
        '[ "$1" = "-lv" ] && echo "Voices available: x y rms" && exit\n'
        f'printf "%s\\n" "$*" >> "{folder}/commands"\n'
        'while [ "$1" != "-o" ]; do shift; done\n'
        f'cp "{folder}/said.wav" "$2"\n'
        f'cat "{folder}/durations"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "commands"


def synthetic(data: Path, out: Path, recipe: SyntheticRecipe = SYNTHETIC) -> list[Utterance]:
    whole = CorpusRecipe(1, 0.0, RECIPE.sets, recipe)
    return [u for u in made(whole, data, out) if u.set == "synthetic"]


def test_synthetic_speech_is_added_with_its_sounds(data: Path, flite: Path, tmp_path: Path) -> None:
    found = synthetic(data, tmp_path / "out")
    assert [u.id for u in found] == [f"synthetic-{n:06d}" for n in range(5)]
    assert [u.held_out for u in found] == [True, False, False, False, False]
    assert all(u.speaker.startswith("flite-") for u in found)
    for u in found:
        names = [PHONE_CLASSES[c] for c in u.phones]
        runs = [n for n, before in zip(names, ["", *names[:-1]], strict=True) if n != before]
        assert runs == "PAU HH AX L OW T ER PAU".split()  # a flap is a T to us
    commands = flite.read_text().splitlines()
    assert len(commands) == 5
    for u, command in zip(found, commands, strict=True):
        assert command.startswith(f"-voice {u.speaker.split('-')[1]} ")
        assert f"-t {u.text} -psdur -o " in command


def test_sounds_lie_where_the_program_says(data: Path, flite: Path, tmp_path: Path) -> None:
    plain = SyntheticRecipe("flite", 2, 0, ("x",), 0, ())
    for u in synthetic(data, tmp_path / "out", plain):
        centres = (np.arange(u.frames) + 0.5) / 50
        ends = np.array([end for _, end in SEGMENTS])
        names = [SEGMENTS[n][0] for n in np.minimum(np.searchsorted(ends, centres), 7)]
        known = {"dx": "T", "axr": "ER"}
        wanted = [known.get(name, name.upper()) for name in names]
        assert [PHONE_CLASSES[c] for c in u.phones] == wanted
        assert u.frames == int(0.9 * 50) // 2 * 2


def test_the_band_that_the_program_leaves_empty_is_filled(
    data: Path, flite: Path, tmp_path: Path
) -> None:
    narrow = tiny.tone(120, 0.9, 16_000).samples
    soundfile.write(flite.parent / "said.wav", soxr.resample(narrow, 16_000, 4_000), 4_000)
    plain = SyntheticRecipe("flite", 1, 0, ("x",), 0, ())
    u = synthetic(data, tmp_path / "out", plain)[0]
    spectrum = np.abs(np.fft.rfft(u.wav.astype(np.float64)))
    hertz = np.fft.rfftfreq(len(u.wav), 1 / tiny.RATE)
    assert spectrum[hertz > 2_500].mean() > 0.01 * spectrum[hertz < 1_900].mean()


def test_a_sound_that_nobody_knows_leaves_the_utterance_out(
    data: Path, flite: Path, tmp_path: Path
) -> None:
    (flite.parent / "durations").write_text("pau:0.1 brr:0.5 pau:0.9")
    assert synthetic(data, tmp_path / "out") == []


def test_other_speakers_are_made_by_moving_formants(tmp_path: Path) -> None:
    recipe = SyntheticRecipe("flite", 300, 0, ("x", "rms"), 6, ())
    jobs = list(synthetic_jobs(recipe, 3, ["hello there my friend"], ["apple"], []))
    assert jobs == list(synthetic_jobs(recipe, 3, ["hello there my friend"], ["apple"], []))
    own = [job for job in jobs if job.formant == 1]
    assert 0.5 < len(own) / 300 < 0.9
    assert all((job.pitch_hz, job.stretch) == (0, 1) for job in own)
    others = [job for job in jobs if job.formant != 1]
    assert {job.speaker for job in jobs if job.voice == "x"} >= {"flite-x", "flite-x-0"}
    for job in others:
        assert 0.84 <= job.formant <= 1.25
        assert 0.87 <= job.stretch / job.formant <= 1.16
        assert (job.pitch_hz == 0) == (job.voice == "rms")
    by_speaker = {}
    for job in jobs:
        by_speaker.setdefault(job.speaker, set()).add((job.voice, job.formant, job.pitch_hz))
    assert all(len(ways) == 1 for ways in by_speaker.values())


def test_a_moved_voice_has_its_sounds_where_they_are_heard(
    data: Path, flite: Path, tmp_path: Path
) -> None:
    moved = SyntheticRecipe("flite", 12, 0, ("x",), 4, ())
    found = synthetic(data, tmp_path / "out", moved)
    commands = flite.read_text().splitlines()
    changed = 0
    for u, command in zip(found, commands, strict=True):
        words = command.split()
        changed += "--setf" in words
        last_sound = float(np.flatnonzero(u.phones != PHONE_CLASSES.index("PAU")).max())
        # 0.75 of 0.9 s, however much faster the whole goes by; the shard is whole frames
        assert last_sound / u.frames == pytest.approx(0.75 / 0.9, abs=0.06)
    assert 0 < changed < 12


def test_held_out_transcripts_are_not_spoken(
    data: Path, flite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    def listed(recipe: object, seed: int, transcripts: list[str], *rest: object) -> list:
        given.extend(transcripts)
        return []

    monkeypatch.setattr(corpus, "synthetic_jobs", listed)
    held_out = {job.text: job.held_out for job in recorded_jobs(RECIPE, data)}
    list(build(CorpusRecipe(1, 0.3, RECIPE.sets, SYNTHETIC), data, tmp_path / "o", tiny.MEL, 1))
    assert given == [text for text, held in held_out.items() if not held]


def test_the_program_of_the_recipe_is_the_one_that_speaks(
    data: Path, flite: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "my-flite"
    (flite.parent / "flite").rename(mine)
    found = synthetic(data, tmp_path / "out", dataclasses.replace(SYNTHETIC, program=str(mine)))
    assert len(found) == 5 == len(flite.read_text().splitlines())
    assert all(u.speaker.startswith("my-flite-") for u in found)


@pytest.mark.parametrize("script", ["echo no such voice >&2; exit 3", "echo pau:0.1"])
def test_a_program_that_fails_is_one_sentence_with_the_utterance(
    data: Path, flite: Path, tmp_path: Path, script: str
) -> None:
    voices = '[ "$1" = "-lv" ] && echo "Voices available: x y rms" && exit'
    (flite.parent / "flite").write_text(f"#!/bin/sh\n{voices}\n{script}\n")
    with pytest.raises(TrainingError, match=r"flite could not say synthetic-000000 \('") as caught:
        synthetic(data, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert ("no such voice" in str(caught.value)) == ("exit" in script)
    assert not list((tmp_path / "out").glob("synthetic-*"))


def test_a_clip_that_is_no_sound_is_named(data: Path, tmp_path: Path) -> None:
    (data / "folder-of-real" / "clips" / "ann-2.wav").write_bytes(b"hello")
    with pytest.raises(TrainingError, match=r"ann-2\.wav cannot be read"):
        made(RECIPE, data, tmp_path / "out")


def test_a_clip_is_found_in_the_folder_that_its_set_was_read_from(
    data: Path, tmp_path: Path
) -> None:
    made(RECIPE, data, tmp_path / "out")
    clips = data / "folder-of-real" / "clips"
    assert find_clip(data, tmp_path / "out", "real", "ann-1") == clips / "ann-1.wav"
    with pytest.raises(TrainingError, match="There is no recording ann-9 in .*folder-of-real"):
        find_clip(data, tmp_path / "out", "real", "ann-9")


def test_a_program_that_is_not_installed_is_one_sentence(data: Path, tmp_path: Path) -> None:
    absent = SyntheticRecipe("no-such-speaker", 1, 0, ("x",), 0, ())
    with pytest.raises(TrainingError, match=r"no-such-speaker is not installed.*\[synthetic\]"):
        synthetic(data, tmp_path / "out", absent)


def test_a_voice_that_the_program_has_not_is_one_sentence(
    data: Path, flite: Path, tmp_path: Path
) -> None:
    wanted = dataclasses.replace(SYNTHETIC, voices=("rms", "nosuch"))
    with pytest.raises(TrainingError, match="has no voice 'nosuch', only x, y, rms"):
        synthetic(data, tmp_path / "out", wanted)


# ---- classes ----------------------------------------------------------------------------------


def test_every_phone_of_the_front_end_has_a_class() -> None:
    found = {PHONE_CLASSES[phone_class(phone)] for phone in PHONES}
    assert found == set(PHONE_CLASSES) - {"PAU"}


def test_a_shard_is_described_line_by_line(data: Path, tmp_path: Path) -> None:
    made(RECIPE, data, tmp_path / "out")
    lines = (tmp_path / "out" / "real-0000" / "utterances.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    assert set(row) == {"id", "set", "speaker", "text", "held_out", "frames"}
