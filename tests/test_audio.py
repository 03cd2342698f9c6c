"""Sound is read from anything, written whole or not at all, and refused in one sentence."""

from __future__ import annotations

import errno
import io
import os
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxkit.audio import (
    FORMATS,
    Audio,
    AudioWriter,
    breaks_off,
    output_format,
    pcm16,
    read_audio,
    wav_stream_header,
    write_audio,
)
from voxkit.errors import AudioError, OutputError
from voxkit.files import output_error
from voxkit.tags import read_comment


def tone(seconds: float = 1.0, rate: int = 24_000, hz: float = 440.0) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    return Audio((0.5 * np.sin(2 * np.pi * hz * time)).astype(np.float32), rate)


def noise(seconds: float, rate: int = 24_000) -> Audio:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate))
    return Audio(samples.astype(np.float32), rate)


def loudest_hz(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio.samples))
    return float(np.argmax(spectrum) / audio.seconds)


# ---- the value


def test_audio_is_one_channel_of_float32_at_a_rate() -> None:
    assert tone(0.5).seconds == 0.5
    for samples, rate in [
        (np.zeros((2, 3), np.float32), 24_000),
        (np.zeros(3, np.float64), 24_000),
        (np.zeros(3, np.float32), 0),
    ]:
        with pytest.raises(ValueError, match="samples|sample_rate"):
            Audio(samples, rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_pitch_level_and_duration(rate: int) -> None:
    audio = tone().resampled(rate)
    assert audio.sample_rate == rate
    assert len(audio.samples) == rate
    assert loudest_hz(audio) == pytest.approx(440, abs=1)
    assert np.abs(audio.samples[rate // 4 : rate // 2]).max() == pytest.approx(0.5, abs=0.005)


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    audio = tone()
    assert audio.resampled(24_000) is audio


# ---- reading


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(hz=300).samples, tone(hz=500).samples
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], 1), 24_000, subtype="FLOAT")
    audio = read_audio(tmp_path / "two.wav")
    np.testing.assert_allclose(audio.samples, (left + right) / 2, atol=1e-7)


def test_of_channels_that_cancel_each_other_the_loudest_is_taken(tmp_path: Path) -> None:
    left = tone().samples
    both = np.stack([left, -0.95 * left], 1)
    soundfile.write(tmp_path / "two.wav", both, 24_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "two.wav").samples, left, atol=1e-7)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_sample_type_is_read(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone().samples, 24_000, subtype=subtype)
    # 1/128: the step of 8-bit samples
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").samples, tone().samples, atol=1 / 128)


def test_a_file_longer_than_one_block_is_read_to_its_end(tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 600_000, dtype=np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 48_000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "long.wav").samples, samples)


def test_an_mp3_is_decoded_without_seams(tmp_path: Path) -> None:
    write_audio(tmp_path / "long.mp3", tone(13.0))
    audio = read_audio(tmp_path / "long.mp3")
    smooth = np.abs(np.diff(audio.samples[2_400:-2_400]))
    assert smooth.max() < 0.065  # a 440 Hz tone of 0.5 rises by at most 0.058 a sample


def test_samples_above_full_scale_are_scaled_down(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", tone().samples * 6, 24_000, subtype="FLOAT")
    audio = read_audio(tmp_path / "loud.wav")
    np.testing.assert_allclose(audio.samples, tone().samples * 2, atol=1e-3)


def _bad_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("This is no sound at all. " * 50)
    elif kind == "zero-length":
        soundfile.write(path, np.zeros(0, np.float32), 24_000)
    elif kind in {"nan", "inf", "opposite-inf"}:
        samples = np.stack([tone().samples] * 2, 1)
        samples[100] = {"nan": np.nan, "inf": np.inf, "opposite-inf": [np.inf, -np.inf]}[kind]
        soundfile.write(path, samples, 24_000, subtype="FLOAT")
    elif kind == "headerless":
        path = path.with_suffix(".raw")
        path.write_bytes(b"\1\2" * 500)
    elif kind in {"slow", "hasty"}:
        soundfile.write(path, tone().samples, 1 if kind == "slow" else 768_001)
    elif kind == "cut-header":
        soundfile.write(path, tone().samples, 24_000)
        path.write_bytes(path.read_bytes()[:30])
    elif kind == "pipe":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "cannot be read as sound"),
        ("zero-length", "no sound"),
        ("nan", "not numbers"),
        ("inf", "not numbers"),
        ("opposite-inf", "not numbers"),
        ("headerless", "no header"),
        ("slow", "1 Hz, which no recording has"),
        ("hasty", "768001 Hz, which no recording has"),
        ("cut-header", "cannot be read as sound"),
        pytest.param(
            "pipe",
            "not an ordinary file",
            marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here"),
        ),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, kind: str, says: str) -> None:
    path = _bad_file(tmp_path, kind)
    with pytest.raises(AudioError, match=says) as caught:
        read_audio(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extension", ["wav", "ogg", "opus", "mp3"])
def test_a_recording_that_breaks_off_gives_what_was_recorded(
    tmp_path: Path, extension: str
) -> None:
    path = tmp_path / f"cut.{extension}"
    write_audio(path, noise(5.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    audio = read_audio(path)
    assert 1.0 < audio.seconds < 4.0
    assert 0.2 < np.abs(audio.samples).max() <= 1.0


def test_a_wav_that_is_shorter_than_it_says_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, noise(2.0))
    assert not breaks_off(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert breaks_off(path)
    path.write_bytes(wav_stream_header(24_000) + whole[44:])  # a stream tells no length
    assert not breaks_off(path)
    path.write_bytes(b"RIFF")
    assert not breaks_off(path)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text there")
def test_a_file_name_that_is_no_text_is_read_and_written(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"f\xff")
    folder.mkdir()
    write_audio(folder / os.fsdecode(b"b\xffd.wav"), tone(), comment="a test")
    assert read_audio(folder / os.fsdecode(b"b\xffd.wav")).seconds == 1.0
    assert read_comment(folder / os.fsdecode(b"b\xffd.wav")) == "a test"


def test_a_flac_that_breaks_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    write_audio(path, tone(4.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="damaged"):
        read_audio(path)


# ---- writing


@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_comes_back_as_it_went(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"hello.{extension}"
    write_audio(path, tone(2.0), title="Grüße", comment="a test")
    audio = read_audio(path)
    assert audio.sample_rate == 24_000
    assert audio.seconds == pytest.approx(2.0, abs=0.001)
    assert loudest_hz(audio) == pytest.approx(440, abs=1)
    middle = slice(4_800, -4_800)
    error = audio.samples[middle] - tone(2.0).samples[middle]
    # 16-bit steps where nothing is lost; a hundredth of the tone's power where a codec is lossy
    assert np.sqrt((error**2).mean()) < (2**-15 if extension in {"wav", "flac"} else 0.035)
    with soundfile.SoundFile(path) as file:
        assert (file.title, file.comment) == ("Grüße", "a test")
        assert file.format == FORMATS[extension].container


@pytest.mark.parametrize(
    ("extension", "asked", "stored"),
    [
        ("wav", 44_100, 44_100),
        ("flac", 16_000, 16_000),
        ("ogg", 8_000, 8_000),
        ("mp3", 96_000, 48_000),
        ("opus", 22_050, 24_000),
        ("opus", 44_100, 48_000),
        ("opus", 192_000, 48_000),
    ],
)
def test_a_rate_that_a_format_cannot_store_becomes_the_next_that_it_can(
    tmp_path: Path, extension: str, asked: int, stored: int
) -> None:
    path = tmp_path / f"a.{extension}"
    write_audio(path, tone(), output_rate=asked)
    assert soundfile.info(path).samplerate == stored
    assert read_audio(path).seconds == pytest.approx(1.0, abs=0.001)


def test_chunks_make_the_same_file_as_the_whole(tmp_path: Path) -> None:
    audio = tone(1.0)
    for rate in (24_000, 44_100):
        write_audio(tmp_path / f"whole{rate}.wav", audio, output_rate=rate)
        with AudioWriter(tmp_path / f"parts{rate}.wav", 24_000, output_rate=rate) as writer:
            for start in range(0, 24_000, 1_777):
                writer.write(Audio(audio.samples[start : start + 1_777], 24_000))
        assert writer.seconds == pytest.approx(1.0, abs=1e-4)
        whole, parts = (read_audio(tmp_path / f"{n}{rate}.wav") for n in ("whole", "parts"))
        # one step of 16 bits: the resampler may round differently at the seams
        np.testing.assert_allclose(parts.samples, whole.samples, atol=1.5 * 2**-15)


def test_a_long_chunk_written_as_vorbis_does_not_crash(tmp_path: Path) -> None:
    samples = np.zeros(2_200_000, np.float32)  # more than an 8 MB stack holds
    write_audio(tmp_path / "long.ogg", Audio(samples, 8_000))
    assert soundfile.info(tmp_path / "long.ogg").frames == 2_200_000


def test_the_format_can_be_named_instead_of_the_extension(tmp_path: Path) -> None:
    write_audio(tmp_path / "noext", tone(), format="FLAC")
    assert soundfile.info(tmp_path / "noext").format == "FLAC"


@pytest.mark.parametrize(
    ("name", "format", "says"),
    [
        ("a.m4a", None, "cannot write 'm4a' files: choose one of wav, flac, mp3, ogg, opus"),
        ("a", None, "no extension"),
        ("a.wav", "aac", "cannot write 'aac'"),
    ],
)
def test_an_unknown_format_names_the_choices(name: str, format: str | None, says: str) -> None:
    with pytest.raises(OutputError, match=says) as caught:
        output_format(Path(name), format)
    assert "wav, flac, mp3, ogg, opus" in str(caught.value)


@pytest.mark.parametrize("rate", [0, 7_999, 192_001])
def test_an_impossible_rate_is_refused(tmp_path: Path, rate: int) -> None:
    with pytest.raises(OutputError, match="8000 to 192000"):
        AudioWriter(tmp_path / "a.wav", 24_000, output_rate=rate)


def test_too_loud_samples_are_clipped_and_not_wrapped(tmp_path: Path) -> None:
    loud = Audio(np.array([2.0, -2.0, 1.0, -1.0, 0.0] * 100, np.float32), 24_000)
    write_audio(tmp_path / "a.wav", loud)
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav").samples, np.clip(loud.samples, -1, 1), atol=2**-14
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_a_bug_and_leave_nothing(
    tmp_path: Path, value: float
) -> None:
    with pytest.raises(ValueError, match="finite"):
        write_audio(tmp_path / "a.wav", Audio(np.full(5, value, np.float32), 24_000))
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_of_another_rate_is_a_bug(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="16000 Hz, not 24000"),
        AudioWriter(tmp_path / "a.wav", 24_000) as writer,
    ):
        writer.write(tone(rate=16_000))


# ---- whole or not at all


def test_the_file_has_no_name_until_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with AudioWriter(path, 24_000) as writer:
        writer.write(tone())
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("extension", FORMATS)
def test_a_failure_while_writing_leaves_nothing_and_harms_nothing(
    tmp_path: Path, extension: str, failure: type[BaseException]
) -> None:
    old = tmp_path / f"old.{extension}"
    old.write_text("mine")
    for path in (old, tmp_path / f"new.{extension}"):
        with pytest.raises(failure), AudioWriter(path, 24_000, force=True) as writer:
            writer.write(tone())
            raise failure
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_text() == "mine"


def test_nothing_written_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no sound to write"):
        write_audio(tmp_path / "a.wav", tone(0.0))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("mine")
    with pytest.raises(OutputError, match="already exists: use --force"):
        write_audio(path, tone())
    assert path.read_text() == "mine"
    write_audio(path, tone(), force=True)
    assert read_audio(path).seconds == 1.0


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with (
        pytest.raises(OutputError, match="already exists"),
        AudioWriter(path, 24_000) as writer,
    ):
        writer.write(tone())
        path.write_text("theirs")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["theirs"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.wav", tmp_path / "link.wav"
    target.write_text("old")
    link.symlink_to(target)
    write_audio(link, tone(), force=True)
    assert link.is_symlink()
    assert read_audio(target).seconds == 1.0


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, says in [
        (tmp_path / "no" / "a.wav", "does not exist: create it first"),
        (tmp_path / "file" / "a.wav", "is not a folder"),
        (tmp_path / ("x" * 300 + ".wav"), "too long"),
    ]:
        with pytest.raises(OutputError, match=says):
            write_audio(path, tone())
    (tmp_path / "dir.wav").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_audio(tmp_path / "dir.wav", tone(), force=True)


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="no devices here")
def test_a_device_is_never_replaced_by_a_file() -> None:
    with pytest.raises(OutputError, match="not an ordinary file"):
        write_audio(Path("/dev/null"), tone(), format="wav", force=True)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EACCES, "You may not write in some"),
        (errno.EROFS, "You may not write in some"),
        (errno.EIO, "could not be written: "),
    ],
)
def test_what_the_system_says_becomes_a_sentence(code: int, says: str) -> None:
    error = output_error(Path("some/a.wav"), OSError(code, os.strerror(code)))
    assert says in str(error)


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow beyond 20 kB, as a full disk would."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("seconds", [0.3, 8.0])
@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, extension: str, seconds: float
) -> None:
    # The short sounds fit until the encoder closes, where libsndfile does not tell.
    with pytest.raises(OutputError, match="disk is full|could not be written"):
        write_audio(tmp_path / f"a.{extension}", noise(seconds))
    assert list(tmp_path.iterdir()) == []


# ---- streams


def test_a_streamed_wav_is_read_by_others() -> None:
    audio = tone(0.5)
    data = wav_stream_header(24_000) + pcm16(audio)
    assert len(data) == 44 + 2 * 12_000
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 24_000
    np.testing.assert_allclose(samples, audio.samples, atol=2**-14)


def test_pcm_is_clipped_and_refuses_what_is_no_number() -> None:
    samples = np.array([0.0, 1.0, -1.0, 3.0, -3.0], np.float32)
    values = np.frombuffer(pcm16(Audio(samples, 24_000)), "<i2")
    assert values.tolist() == [0, 32767, -32767, 32767, -32767]
    with pytest.raises(ValueError, match="finite"):
        pcm16(Audio(np.array([np.nan], np.float32), 24_000))
