"""Hub models through the command line: first use, languages, modes, references, foreign voices."""

from __future__ import annotations

import json
import math
import os
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_hub import REPO, FakeHub, point_to, serve
from huggingface_hub import close_session
from tiny_cosyvoice import FAMILIES, hub_folder

from voxkit import provenance
from voxkit.audio import Audio, write_audio
from voxkit.catalogue import OWN_SPEC
from voxkit.cli.app import run
from voxkit.cosyvoice_front import BpeText
from voxkit.cosyvoice_spec import CosyVoiceSpec
from voxkit.families import read_spec
from voxkit.library import find_voice
from voxkit.modules.speech_lm import SpeechLm
from voxkit.options import WHOLE
from voxkit.reference import loud_phrases
from voxkit.voice import load_voice, save_voice

TEXT = "Hello world, it is five."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder as on the hub of each family, and the conversions beside them."""
    root = tmp_path_factory.mktemp("hub")
    return {family: hub_folder(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where conversions are kept from test to test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _home(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(cache))
    monkeypatch.setenv("VOXKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("voxkit.cloning.find_phrases", loud_phrases)  # tones are no speech
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHub]:
    """A hub that offers the tiny CosyVoice 2."""
    folder = folders["cosyvoice2"]
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    with serve(FakeHub(files=files)) as running:
        point_to(running.endpoint, tmp_path / "hf", monkeypatch)
        yield running
    close_session()


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Count text ids and reference tokens of everything that a model is told."""
    found: list[tuple[int, int]] = []
    prompt = SpeechLm.prompt

    def listening(self: SpeechLm, text: tuple[int, ...], tokens: list[int]) -> torch.Tensor:
        found.append((len(text), len(tokens)))
        return prompt(self, text, tokens)

    monkeypatch.setattr(SpeechLm, "prompt", listening)
    return found


def speech(seconds: float, rate: int, *, silence: float = 0.0, hertz: float = 150.0) -> Audio:
    """Syllables of a tone in phrases of two seconds, with `silence` at both ends."""
    time = np.arange(round(seconds * rate)) / rate
    loud = 0.3 * (1 + np.sin(2 * np.pi * 4 * time)) / 2 * (time % 2 < 1.6)
    quiet = np.zeros(round(silence * rate))
    samples = np.concatenate([quiet, loud * np.sin(2 * np.pi * hertz * time), quiet])
    return Audio(samples.astype(np.float32), rate)


def recorded(path: Path, audio: Audio) -> str:
    write_audio(path, audio)
    return str(path)


def samples(path: str) -> bytes:
    with wave.open(path) as file:
        return file.readframes(file.getnframes())


def duration(path: str) -> float:
    with wave.open(path) as file:
        return file.getnframes() / file.getframerate()


# ---- first use --------------------------------------------------------------------------------


def test_the_first_use_of_a_hub_model_fetches_and_converts_it_once(
    server: FakeHub, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["speak", TEXT, "--model", REPO, "-o", "one.wav", "--seed", "1"]) == 0
    err = capfd.readouterr().err
    assert "Fetching someone/Tiny: " in err and " in 9 files into " in err
    assert "Converting someone/Tiny once: " in err
    server.requests.clear()
    assert run(["speak", TEXT, "--model", REPO, "-o", "two.wav", "--seed", "1"]) == 0
    err = capfd.readouterr().err
    assert "Fetching" not in err and "Converting" not in err
    assert server.requests == []
    assert Path("one.wav").read_bytes() == Path("two.wav").read_bytes()


@pytest.mark.parametrize(
    "words",
    [["speak", TEXT, "-o", "x.wav"], ["batch", "lines.txt", "-o", "out"]],
    ids=["speak", "batch"],
)
def test_offline_asks_the_hub_nothing_and_names_the_command(
    words: list[str], server: FakeHub, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("lines.txt").write_text(TEXT, encoding="utf-8")
    assert run([*words, "--model", REPO, "--offline"]) == 1
    err = capfd.readouterr().err
    assert f"run `voxkit models pull {REPO}` once while online" in err
    assert "Traceback" not in err
    assert server.requests == []


def test_an_early_layout_is_refused_by_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "cosyvoice.yaml").write_text("sample_rate: 22050\n", encoding="utf-8")
    assert run(["speak", TEXT, "--model", "old", "-o", "x.wav"]) == 1
    assert (
        "old/cosyvoice.yaml is of CosyVoice 1 or of an early CosyVoice 2" in capfd.readouterr().err
    )


# ---- languages and modes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5.",
        "今天是2024年3月15日。",
        "今日は5月です、とても暑い。",
        "안녕하세요, 3시입니다.",
    ],
    ids=["en", "zh", "ja", "ko"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_language_is_spoken(family: str, text: str, folders: dict[str, Path]) -> None:
    model = str(folders[family])
    assert run(["speak", text, "--model", model, "-o", "x.wav", "--seed", "3", "-q"]) == 0
    assert duration("x.wav") > 0.3


def test_a_file_is_decoded_sentence_by_sentence_and_replayed_so(folders: dict[str, Path]) -> None:
    model = ["--model", str(folders["cosyvoice2"]), "-q"]
    words = ["speak", TEXT, *model, "--seed", "2", "-o"]

    def first_hop(path: str) -> int | None:
        record = json.loads(provenance.read_comment(Path(path)) or "")
        found: int | None = record["options"]["first_hop"]
        return found

    assert run([*words, "a.wav"]) == 0
    assert first_hop("a.wav") == WHOLE
    assert run(["speak", "--replay", "a.wav", "-o", "b.wav", *model]) == 0
    assert (first_hop("b.wav"), samples("b.wav")) == (WHOLE, samples("a.wav"))
    assert run([*words, "c.wav", "--compat"]) == 0  # which goes by upstream's hops
    assert first_hop("c.wav") is None
    Path("lines.txt").write_text(TEXT, encoding="utf-8")
    assert run(["batch", "lines.txt", "-o", "out", *model]) == 0
    (line,) = Path("out").glob("*.wav")
    assert first_hop(str(line)) == WHOLE


def test_another_model_of_the_family_is_told_from_the_first(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = tmp_path / "tuned"
    shutil.copytree(folders["cosyvoice2"], tuned)
    os.utime(tuned / "llm.pt", (1, 1))  # as if trained further
    Path("lines.txt").write_text("Hello.\n", encoding="utf-8")
    for model, done in ((folders["cosyvoice2"], "1 made"), (tuned, "1 made"), (tuned, "1 kept")):
        assert run(["batch", "lines.txt", "-o", "out", "--model", str(model)]) == 0
        assert done in capsys.readouterr().err
    (line,) = Path("out").glob("*.wav")
    again = ["speak", "--replay", str(line), "-o", "a.wav", "--model"]
    assert run([*again, str(folders["cosyvoice2"])]) == 1
    assert "which cannot make it again" in capsys.readouterr().err
    assert run([*again, str(tuned)]) == 0


def test_lines_of_a_batch_share_their_steps(folders: dict[str, Path]) -> None:
    lines = ["Hello world.", "One, two.", "It is five."]
    Path("lines.txt").write_text("\n".join(lines), encoding="utf-8")
    model = ["--model", str(folders["cosyvoice2"]), "-q"]
    assert run(["batch", "lines.txt", "-o", "alone", *model]) == 0
    assert run(["batch", "lines.txt", "-o", "shared", "--together", "2", *model]) == 0
    made = [p.name for p in sorted(Path("shared").glob("*.wav"))]
    assert made == [p.name for p in sorted(Path("alone").glob("*.wav"))]
    assert len(made) == 3
    rows = Path("shared/manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["text"] for row in rows] == lines


def test_lines_of_several_languages_become_a_batch(folders: dict[str, Path]) -> None:
    Path("lines.txt").write_text("你好，世界。\nHello.\n안녕하세요.\n", encoding="utf-8")
    model = str(folders["cosyvoice3"])
    assert run(["batch", "lines.txt", "-o", "out", "--model", model, "-q"]) == 0
    assert len(list(Path("out").glob("*.wav"))) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_transcript_makes_the_model_hear_the_reference(
    family: str, folders: dict[str, Path], tmp_path: Path, prompts: list[tuple[int, int]]
) -> None:
    ref = recorded(tmp_path / "ref.wav", speech(4, 16_000))
    words = ["speak", TEXT, "--model", str(folders[family]), "-o", "x.wav", "-f", "-q"]
    assert run([*words, "--ref-audio", ref, "--ref-text", "Hello, world."]) == 0
    assert run([*words, "--ref-audio", ref]) == 0
    (zero_shot, heard), (cross_lingual, unheard) = prompts
    assert heard >= 80 and unheard == 0  # 25 tokens a second
    assert zero_shot > cross_lingual


@pytest.mark.parametrize("family", FAMILIES)
def test_an_instruction_takes_the_place_of_the_reference(
    family: str, folders: dict[str, Path], prompts: list[tuple[int, int]]
) -> None:
    words = ["speak", TEXT, "--model", str(folders[family]), "-o", "x.wav", "-f", "-q"]
    assert run([*words, "--instruct", "very happy"]) == 0
    (told, heard), *others = prompts
    assert heard == 0 and others == []
    spec = read_spec(folders[family] / OWN_SPEC)
    assert isinstance(spec, CosyVoiceSpec)
    text = BpeText(spec.text, folders[family])
    assert told > len(text.ids(f"{spec.text.system_prompt}{spec.text.end_of_prompt}{TEXT}"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recording_is_converted_to_a_voice(
    family: str, folders: dict[str, Path], tmp_path: Path, prompts: list[tuple[int, int]]
) -> None:
    said = recorded(tmp_path / "said.wav", speech(3, 16_000))
    assert run(["convert", said, "-o", "x.wav", "--model", str(folders[family]), "-q"]) == 0
    assert duration("x.wav") == pytest.approx(3, abs=0.01)
    assert prompts == []  # no words are read


def test_what_steers_the_model_is_never_taken_from_the_text(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ref = recorded(tmp_path / "ref.wav", speech(4, 16_000))
    words = ["--ref-audio", ref, "--ref-text", "Hello<|endofprompt|> world."]
    model = str(folders["cosyvoice3"])
    text = "Hello <|endofprompt|> world."
    assert run(["speak", text, "--model", model, *words, "-o", "x.wav"]) == 0
    assert "<|endofprompt|> is not spoken" in capfd.readouterr().err


def test_compat_follows_what_the_spec_lists(folders: dict[str, Path]) -> None:
    words = ["speak", TEXT, "--model", str(folders["cosyvoice2"]), "--seed", "2", "-q", "-o"]
    assert run([*words, "ours.wav"]) == run([*words, "theirs.wav", "--compat"]) == 0
    assert Path("ours.wav").read_bytes() != Path("theirs.wav").read_bytes()


def test_a_clone_in_compat_mode_is_of_the_whole_recording(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    ref = recorded(tmp_path / "ref.wav", speech(4, 16_000, silence=1))
    words = ["clone", ref, "--name", "me", "--model", str(folders["cosyvoice2"]), "-q", "-f"]
    lengths = []
    for more in ([], ["--compat"]):
        assert run([*words, *more]) == 0
        lengths.append(len(load_voice(tmp_path / "home" / "voices" / "me.safetensors").tokens))
    assert lengths[0] < lengths[1] == 6 * 25


# ---- references -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        pytest.param(speech(40, 16_000), [], id="longer than 30 s"),
        pytest.param(speech(24, 16_000), ["--text", "Hello, world."], id="24 s with words"),
        pytest.param(speech(5, 8_000), [], id="8 kHz"),
        pytest.param(speech(5, 11_025), ["--text", "Hello, world."], id="11 kHz with words"),
        pytest.param(speech(4, 22_050, silence=6), [], id="silence at both ends"),
    ],
)
def test_unusual_references_are_handled(
    reference: Audio, words: list[str], folders: dict[str, Path], tmp_path: Path
) -> None:
    ref = recorded(tmp_path / "ref.wav", reference)
    model = str(folders["cosyvoice2"])
    assert run(["clone", ref, "--name", "me", "--model", model, *words, "-q"]) == 0
    voice = load_voice(tmp_path / "home" / "voices" / "me.safetensors")
    assert 2 <= len(voice.tokens) / 25 <= (24.2 if words else 10.2)  # seconds
    assert (voice.transcript is None) == (not words)
    assert voice.mel.shape[1] == 2 * len(voice.tokens)
    assert run(["speak", TEXT, "-v", "me", "--model", model, "-o", "x.wav", "-q"]) == 0


def test_the_words_of_an_endless_reference_are_left_out_with_a_warning(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = find_voice("kathleen").reference
    assert clip is not None
    talk = Audio(np.tile(clip.samples, math.ceil(33 / clip.seconds)), clip.sample_rate)
    ref = recorded(tmp_path / "ref.wav", talk)
    model = str(folders["cosyvoice2"])
    words = ["--model", model, "--ref-audio", ref, "--ref-text", "Hello, world. " * 30]
    assert run(["speak", TEXT, *words, "-o", "x.wav", "-q"]) == 0
    assert "longer than the 30 s that can be used with a transcript" in capfd.readouterr().err


# ---- voices of other models -------------------------------------------------------------------


def cloned(tmp_path: Path, model: str) -> Path:
    """Make the voice `me` with a model."""
    ref = recorded(tmp_path / "ref.wav", speech(4, 16_000))
    assert run(["clone", ref, "--name", "me", "--model", model, "-q"]) == 0
    return tmp_path / "home" / "voices" / "me.safetensors"


@pytest.mark.parametrize(("maker", "user"), [FAMILIES, FAMILIES[::-1], (FAMILIES[0], "voxkit-en")])
def test_a_voice_file_of_another_model_is_converted_from_its_recording(
    maker: str, user: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    before = cloned(tmp_path, str(folders[maker])).read_bytes()
    model = str(folders.get(user, user))
    assert run(["speak", "Hello.", "-v", "me", "--model", model, "-o", "x.wav", "-q"]) == 0
    assert duration("x.wav") > 0.2
    assert (tmp_path / "home" / "voices" / "me.safetensors").read_bytes() == before


def test_a_transcript_that_the_other_model_cannot_read_is_no_hindrance(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    ref = recorded(tmp_path / "ref.wav", speech(4, 16_000))
    words = ["--text", "你好，世界，今天天气很好。", "--model", str(folders["cosyvoice3"]), "-q"]
    assert run(["clone", ref, "--name", "me", *words]) == 0
    assert run(["speak", "Hello.", "-v", "me", "-o", "x.wav", "-q"]) == 0


def test_a_voice_file_without_its_recording_names_the_command(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = cloned(tmp_path, str(folders["cosyvoice2"]))
    voice = load_voice(path)
    object.__setattr__(voice, "reference", None)
    save_voice(voice, path, force=True)
    model = str(folders["cosyvoice3"])
    assert run(["speak", "Hello.", "-v", "me", "--model", model, "-o", "x.wav", "-q"]) == 1
    command = f"`voxkit clone RECORDING --name me --model {model} --force`"
    assert command in capfd.readouterr().err
    assert not Path("x.wav").exists()


def test_the_default_voice_speaks_for_a_hub_model(
    folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    model = str(folders["cosyvoice2"])
    assert run(["speak", "Hello.", "--model", model, "-o", "x.wav", "--json", "-q"]) == 0
    assert json.loads(capfd.readouterr().out)["voice"]
