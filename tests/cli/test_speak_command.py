"""`voxkit speak`: where text comes from, where speech goes, and what is refused early."""

from __future__ import annotations

import json
import re
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import RATE

from voxkit.audio import Audio, read_audio

Vox = Callable[..., Any]


def no_file_but(*names: str) -> bool:
    """Whether the working folder holds exactly these files."""
    return {p.name for p in Path().iterdir()} == set(names)


# ---- text -------------------------------------------------------------------------------------


def test_text_comes_from_the_argument(vox: Vox) -> None:
    result = vox("speak", "Hello there.", "-o", "a.wav")
    assert (result.status, result.data) == (0, b"")
    with wave.open("a.wav") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        assert file.getnframes() == 6 * RATE // 10


def test_text_from_argument_dash_pipe_and_file_is_the_same_text(vox: Vox) -> None:
    Path("text.txt").write_bytes("\ufeffHello there.".encode())
    vox("speak", "Hello there.", "-o", "a.wav", "--seed", "1")
    vox("speak", "-", "-o", "b.wav", "--seed", "1", stdin=b"Hello there.")
    vox("speak", "-o", "c.wav", "--seed", "1", stdin=b"Hello there.")
    vox("speak", "-i", "text.txt", "-o", "d.wav", "--seed", "1")
    vox("speak", "-i", "-", "-o", "e.wav", "--seed", "1", stdin=b"Hello there.")
    contents = {Path(f"{name}.wav").read_bytes() for name in "abcde"}
    assert len(contents) == 1


def test_without_text_and_pipe_it_says_how_to_use_it(vox: Vox) -> None:
    result = vox("speak")
    assert (result.status, result.data) == (2, b"")
    assert 'voxkit speak "Hello." -o hello.wav' in result.err


def test_words_without_quotes_are_wrong_usage(vox: Vox) -> None:
    result = vox("speak", "Hello", "there", "-o", "a.wav")
    assert result.status == 2
    assert "quotes" in result.err


def test_text_and_input_file_together_are_wrong_usage(vox: Vox) -> None:
    assert vox("speak", "Hello", "-i", "text.txt", "-o", "a.wav").status == 2


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "nothing to say"), (b" \n", "nothing to say"), (b"caf\xe9", "not UTF-8")],
)
def test_useless_input_is_one_sentence(vox: Vox, data: bytes, says: str) -> None:
    result = vox("speak", "-o", "a.wav", stdin=data)
    assert result.status == 1
    assert says in result.err
    assert result.err.count("\n") == 1
    assert no_file_but()


def test_the_name_of_a_file_as_text_is_pointed_out(vox: Vox) -> None:
    Path("story.txt").write_text("Once upon a time.")
    assert "-i story.txt" in vox("speak", "story.txt", "-o", "a.wav").err


def test_a_missing_input_file_is_one_sentence(vox: Vox, checkpoint: Any) -> None:
    result = vox("speak", "-i", "nowhere.txt", "-o", "a.wav")
    assert result.status == 1
    assert "nowhere.txt" in result.err
    assert not checkpoint.loads


def test_endless_input_is_refused(vox: Vox, checkpoint: Any) -> None:
    result = vox("speak", "-i", "/dev/zero", "-o", "a.wav")
    assert result.status == 1
    assert "split it" in result.err
    assert not checkpoint.loads


def test_a_text_too_long_to_be_read_whole_is_refused_with_the_way_to_speak_it(
    vox: Vox, checkpoint: Any
) -> None:
    Path("my book.txt").write_text("Hello there. " * 18_000)
    whole = "Error: This text has 234,000 characters, more than the 200,000 that are read whole: "
    way = "speak it as it comes, with cat 'my book.txt' | voxkit speak -"
    for output, into in (("-", " -o -"), ("a.wav", " -o - > speech.wav")):
        result = vox("speak", "-i", "my book.txt", "-o", output)
        assert (result.status, result.err) == (1, f"{whole}{way}{into}\n")
    assert not checkpoint.loads


def test_a_long_text_from_a_pipe_into_a_file_is_refused_with_the_way_to_speak_it(vox: Vox) -> None:
    result = vox("speak", "-", "-o", "a.wav", stdin=b"Hello there. " * 18_000)
    assert result.status == 1
    assert result.err.endswith("with cat FILE | voxkit speak - -o - > speech.wav\n")


def test_markup_does_not_count_as_text_that_is_too_long(vox: Vox) -> None:
    Path("tags.txt").write_text("Hi. [pause:1ms] " + "[rate:1.0][/rate]" * 12_000)
    assert vox("speak", "-i", "tags.txt", "-o", "a.wav").status == 0


def test_what_cannot_be_said_is_told(vox: Vox) -> None:
    result = vox("speak", "Hello 你好.", "-o", "a.wav", "-q", "--json")
    assert "你好" in result.err
    assert json.loads(result.out)["unsaid"] == ["你好"]


# ---- options and seeds ------------------------------------------------------------------------


def test_the_seed_that_was_used_is_told_and_gives_the_same_speech(vox: Vox) -> None:
    first = vox("speak", "Hello.", "-o", "a.wav")
    seed = re.search(r"seed (\d+)", first.err)
    assert seed
    vox("speak", "Hello.", "-o", "b.wav", "--seed", seed[1])
    vox("speak", "Hello.", "-o", "c.wav")
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    assert Path("a.wav").read_bytes() != Path("c.wav").read_bytes()


def test_speed_and_voice_reach_the_engine(vox: Vox) -> None:
    vox("speak", "Hello there.", "-o", "a.wav", "--speed", "2", "-v", "bert", "--seed", "3")
    vox("speak", "Hello there.", "-o", "b.wav", "--speed", "2", "--seed", "3")
    assert read_audio(Path("a.wav")).seconds == pytest.approx(0.3)
    assert Path("a.wav").read_bytes() != Path("b.wav").read_bytes()


@pytest.mark.parametrize(
    "flag",
    ["--speed=9", "--speed=nan", "--temperature=-1", "--top-p=0", "--top-k=0", "--steps=0"]
    + ["--guidance=99", "--seed=-1", "--pause=-5", "--device=tpu", "--threads=0", "--format=aac"]
    + ["--sample-rate=100"],
)
def test_a_value_out_of_range_is_wrong_usage(vox: Vox, checkpoint: Any, flag: str) -> None:
    result = vox("speak", "Hello.", "-o", "a.wav", flag)
    assert result.status == 2
    assert not checkpoint.loads


def test_model_device_and_threads_reach_the_loader(vox: Vox, checkpoint: Any) -> None:
    vox("speak", "Hello.", "-o", "a.wav", "--device", "cpu", "--threads", "1")
    assert checkpoint.loads == [("voxkit-en", "cpu", 1)]


def test_an_unknown_model_is_one_sentence(vox: Vox) -> None:
    result = vox("speak", "Hello.", "-o", "a.wav", "--model", "voxkit-enn")
    assert result.status == 1
    assert "did you mean voxkit-en?" in result.err
    assert no_file_but()


# ---- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus"])
def test_the_extension_picks_the_format(vox: Vox, name: str) -> None:
    assert vox("speak", "Hello there.", "-o", name).status == 0
    assert read_audio(Path(name)).seconds == pytest.approx(0.6, abs=0.1)  # codecs pad


def test_a_format_may_be_given_instead(vox: Vox) -> None:
    assert vox("speak", "Hello.", "-o", "noext", "--format", "flac").status == 0
    assert Path("noext").read_bytes()[:4] == b"fLaC"


def test_the_sample_rate_may_be_chosen(vox: Vox) -> None:
    result = vox("speak", "Hello.", "-o", "a.wav", "--sample-rate", "8000", "--json")
    assert read_audio(Path("a.wav")).sample_rate == 8000
    assert json.loads(result.out)["sample_rate"] == 8000


def test_the_reported_rate_is_that_of_the_file(vox: Vox) -> None:
    result = vox("speak", "Hello.", "-o", "a.opus", "--sample-rate", "44100", "--json")
    assert json.loads(result.out)["sample_rate"] == read_audio(Path("a.opus")).sample_rate == 48_000
    assert "cannot have 44100 Hz: it gets 48000 Hz" in result.err


def test_a_file_is_replaced_only_with_force(vox: Vox, checkpoint: Any) -> None:
    Path("a.wav").write_bytes(b"mine")
    result = vox("speak", "Hello.", "-o", "a.wav")
    assert result.status == 1
    assert "--force" in result.err
    assert not checkpoint.loads
    assert Path("a.wav").read_bytes() == b"mine"
    assert vox("speak", "Hello.", "-o", "a.wav", "-f").status == 0
    assert no_file_but("a.wav")
    assert Path("a.wav").read_bytes() != b"mine"


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "missing/a.wav"),
        ("-o", "a"),
        ("-o", "a.aac"),
        ("-o", "."),
        ("-o", "/dev/null", "--format", "wav"),
        ("-o", "a.wav", "-v", "nobody"),
        ("-o", "a.wav", "-v", "./nobody.safetensors"),
        ("-o", "a.wav", "--ref-audio", "missing.wav"),
    ],
)
def test_what_cannot_work_is_said_before_the_model_is_loaded(
    vox: Vox, checkpoint: Any, words: tuple[str, ...]
) -> None:
    result = vox("speak", "Hello.", *words)
    assert result.status == 1
    assert re.fullmatch(r"Error: [^\n]+\.\n", result.err)
    assert not checkpoint.loads
    assert no_file_but()


def test_the_nearest_voices_are_named(vox: Vox) -> None:
    assert "anna" in vox("speak", "Hello.", "-o", "a.wav", "-v", "ana").err


def test_a_failure_on_the_way_leaves_no_file(vox: Vox) -> None:
    result = vox("speak", "Fine so far. This is unspeakable.", "-o", "a.wav")
    assert (result.status, result.err) == (1, "Error: The model fell silent: use another seed.\n")
    assert no_file_but()


def test_a_failure_on_the_way_keeps_the_file_that_was_there(vox: Vox) -> None:
    Path("a.wav").write_bytes(b"mine")
    assert vox("speak", "Fine. This is unspeakable.", "-o", "a.wav", "-f").status == 1
    assert Path("a.wav").read_bytes() == b"mine"


# ---- stdout -----------------------------------------------------------------------------------


def test_a_dash_streams_wav_to_stdout_and_nothing_else(vox: Vox) -> None:
    result = vox("speak", "Hello there.", "-o", "-", "--seed", "1")
    vox("speak", "Hello there.", "-o", "a.wav", "--seed", "1")
    assert result.data[:4] + result.data[8:16] == b"RIFFWAVEfmt "
    samples = np.frombuffer(result.data[44:], "<i2") / np.float32(32768)
    assert np.abs(samples - read_audio(Path("a.wav")).samples).max() <= 1 / 32768  # 16 bit


def test_raw_leaves_the_header_out(vox: Vox) -> None:
    with_header = vox("speak", "Hello there.", "-o", "-", "--seed", "1").data
    assert vox("speak", "Hello there.", "-o", "-", "--raw", "--seed", "1").data == with_header[44:]


def test_a_stream_can_be_resampled(vox: Vox) -> None:
    data = vox("speak", "Hello there.", "-o", "-", "--sample-rate", "48000").data
    assert int.from_bytes(data[24:28], "little") == 48_000
    assert len(data) == 44 + 2 * 48_000 * 6 // 10


def test_an_early_failure_puts_nothing_on_stdout(vox: Vox) -> None:
    result = vox("speak", "This is unspeakable.", "-o", "-")
    assert (result.status, result.data) == (1, b"")


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "-", "--json"),
        ("-o", "-", "--format", "mp3"),
        ("-o", "a.wav", "--raw"),
        ("--play", "--format", "mp3"),
        ("--play", "--sample-rate", "8000"),
        ("-o", "a.wav", "--ref-text", "Words."),
        ("-o", "a.wav", "--ref-audio", "a.wav", "-v", "anna"),
        (),
    ],
)
def test_flags_that_contradict_each_other_are_wrong_usage(
    vox: Vox, checkpoint: Any, words: tuple[str, ...]
) -> None:
    result = vox("speak", "Hello.", *words)
    assert (result.status, result.data) == (2, b"")
    assert re.fullmatch(r"Error: [^\n]+ See 'voxkit speak --help'\.\n", result.err)
    assert not checkpoint.loads


def test_without_output_into_a_pipe_it_names_the_dash(vox: Vox) -> None:
    assert "-o -" in vox("speak", "Hello.").err


def test_no_sound_is_written_to_a_terminal(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    result = vox("speak", "Hello.", "-o", "-")
    assert (result.status, result.data) == (2, b"")


# ---- reports ----------------------------------------------------------------------------------


def test_json_reports_one_object(vox: Vox) -> None:
    result = vox("speak", "One. Two.", "-o", "a.wav", "--json", "--seed", "5", "-v", "bert", "-q")
    report = json.loads(result.out)
    assert result.err == ""
    assert report.pop("rtf") >= 0
    assert report.pop("first_audio_s") >= 0
    assert report.pop("style")["settings"] == {}
    assert report == {
        "path": "a.wav",
        "seconds": 0.4,
        "sample_rate": RATE,
        "seed": 5,
        "voice": "bert",
        "model": "voxkit-en",
        "sentences": 2,
        "unsaid": [],
        "notes": [],
    }


def test_quiet_says_nothing(vox: Vox) -> None:
    result = vox("speak", "Hello.", "-o", "a.wav", "-q")
    assert (result.data, result.err) == (b"", "")


# ---- one-shot cloning -------------------------------------------------------------------------


def test_a_recording_lends_its_voice_once(vox: Vox, library: Path, reference: Path) -> None:
    words = ("--ref-audio", str(reference), "--ref-text", "La la.", "--json")
    result = vox("speak", "Hello.", "-o", "a.wav", *words)
    assert json.loads(result.out)["voice"] == "reference"
    assert not library.exists()


@pytest.mark.parametrize(
    ("samples", "rate"),
    [(np.zeros(32_000), 16_000), (np.zeros(0), 16_000), (np.full(16_000, np.nan), 16_000)],
    ids=["silent", "zero-length", "NaN"],
)
def test_a_useless_recording_is_refused_before_the_model_is_loaded(
    vox: Vox, checkpoint: Any, samples: np.ndarray, rate: int
) -> None:
    import soundfile

    soundfile.write("ref.wav", samples, rate, "FLOAT")
    result = vox("speak", "Hello.", "-o", "a.wav", "--ref-audio", "ref.wav")
    assert result.status == 1
    assert re.fullmatch(r"Error: [^\n]+\.\n", result.err)
    assert not checkpoint.loads
    assert no_file_but("ref.wav")


@pytest.mark.parametrize("data", [b"", b"RIFF", b"no sound at all" * 100])
def test_a_corrupt_recording_is_one_sentence(vox: Vox, checkpoint: Any, data: bytes) -> None:
    Path("ref.wav").write_bytes(data)
    result = vox("speak", "Hello.", "-o", "a.wav", "--ref-audio", "ref.wav")
    assert result.status == 1
    assert re.fullmatch(r"Error: [^\n]+\.\n", result.err)


def test_a_stereo_recording_at_8_khz_is_good_enough(vox: Vox, reference: Path) -> None:
    import soundfile

    mono = read_audio(reference).resampled(8000).samples
    soundfile.write("ref.wav", np.stack([mono, mono], 1), 8000)
    assert vox("speak", "Hello.", "-o", "a.wav", "--ref-audio", "ref.wav").status == 0


@pytest.mark.parametrize(
    ("words", "says"), [("", "empty"), (" \x07 ", "empty"), ("word " * 1000, "too long")]
)
def test_a_useless_transcript_is_one_sentence(
    vox: Vox, checkpoint: Any, reference: Path, words: str, says: str
) -> None:
    clone = ("--ref-audio", str(reference), "--ref-text", words)
    result = vox("speak", "Hello.", "-o", "a.wav", *clone)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert says in result.err
    assert not checkpoint.loads


def test_odd_file_names_and_control_characters_lend_a_voice_too(vox: Vox, reference: Path) -> None:
    odd = Path("a\tb\n.wav")
    odd.write_bytes(reference.read_bytes())
    words = ("--ref-audio", str(odd), "--ref-text", "La\x1b la.\n")
    result = vox("speak", "Hello.", "-o", "a.wav", "--json", *words)
    assert json.loads(result.out)["voice"] == "ab"


def test_long_text_is_written_as_it_is_made(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    from voxkit.audio import AudioWriter

    write = AudioWriter.write

    def watched(self: AudioWriter, audio: Audio) -> None:
        sizes.append(len(audio.samples))
        write(self, audio)

    monkeypatch.setattr(AudioWriter, "write", watched)
    assert vox("speak", "A sentence of text. " * 20, "-o", "a.wav").status == 0
    assert max(sizes) == 2400
    assert sum(sizes) == round(read_audio(Path("a.wav")).seconds * RATE)
