"""The `train` group: every part of a tiny model from recipes, and what may go wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import tiny_corpus
import torch

from voxkit.cli.app import run
from voxkit.spec import to_dict
from voxkit.train import corpus
from voxkit.train.loop import averaged_weights
from voxkit.train.speaker import SpeakerTask

LOOP = """
[loop]
seed = {seed}
steps = 3
lr = 1e-3
warmup = 1
floor = 0.1
weight_decay = 0.01
beta2 = 0.98
clip = 1.0
average = 0.9
log_every = 1
evaluate_every = 3
checkpoint_every_s = 100.0
"""
RECIPES = {
    "corpus": """
seed = 1
held_out_share = 0.0

[[sets]]
name = "real"
folder = "real"
""",
    "letters": LOOP.format(seed=1)
    + """
[task]
batch = 8
held_out_share = 0.05

[net]
kind = "phones"
language = "en"
max_words = 8
letters_width = 16
letters_layers = 1
letters_heads = 2
""",
    "tokenizer": LOOP.format(seed=2)
    + "[task]\nbatch = 2\nframes = 32\nalign_at = [1]\n[task.shares]\nreal = 1.0\n",
    "speaker": LOOP.format(seed=3) + "[task]\nbatch = 2\nframes = 40\nmargin = 0.2\nscale = 10.0\n",
    "generator": LOOP.format(seed=4)
    + """
[task]
positions = 300
token_noise = 0.1
attention = 0.5
attention_late = 0.1
drop_control = 0.2
[task.repeats]
real = 1
""",
    "decoder": LOOP.format(seed=5)
    + """
[task]
batch = 2
tokens = 24
drop_condition = 0.1
drop_control = 0.1
prompt = 0.5
chunks = [0, 5]
guess = 0.5
[task.shares]
real = 1.0
""",
    "vocoder": LOOP.format(seed=6)
    + "[task]\nbatch = 2\nframes = 30\nlead = 4\nbands = 1.0\n[task.shares]\nreal = 1.0\n",
    "export": """
default_voice = "ann"

[[voices]]
name = "ann"
set = "real"
speaker = "ann"
clip = "ann-0"
description = "A buzz"
source = "tones"
licence = "CC0"
""",
}
PARTS = ("tokenizer", "speaker", "vocoder", "generator", "decoder")


@dataclass(frozen=True)
class Result:
    """What a command line gave back."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Place:
    """A folder with recordings, numbers and recipes, and the command line to use them."""

    folder: Path
    command: Callable[..., Result]

    @property
    def work(self) -> Path:
        """Where the runs are."""
        return self.folder / "runs"

    def train(self, part: str, *more: str) -> Result:
        """Run `voxkit train PART` with this place's recipe and numbers."""
        words = ["train", part, "--work", str(self.work), "--recipe", self.recipe(part)]
        if part != "letters":
            words += ["--spec", str(self.folder / "tiny.json")]
        if part in ("corpus", "export"):
            words += ["--data", str(self.folder / "data")]
        if part == "export":
            words += ["--out", str(self.folder / "model")]
        return self.command(*words, *more)

    def recipe(self, part: str) -> str:
        """The path of a recipe."""
        return str(self.folder / f"{part}.toml")


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this process, without the optional libraries, and leave the threads alone."""
    monkeypatch.setattr(corpus, "ProcessPoolExecutor", tiny_corpus.InProcess)
    monkeypatch.setattr(corpus, "track_pitch", tiny_corpus.steady_pitch)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


@pytest.fixture
def place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Place:
    """A fresh place."""
    rows = [(u.id, u.speaker, u.text) for u in tiny_corpus.utterances() if u.set == "real"]
    tiny_corpus.recordings(tmp_path / "data" / "real", rows)
    (tmp_path / "tiny.json").write_text(json.dumps(to_dict(tiny.SPEC)))
    for part, text in RECIPES.items():
        (tmp_path / f"{part}.toml").write_text(text)

    def command(*words: str) -> Result:
        capfd.readouterr()
        status = run(words)
        return Result(status, *capfd.readouterr())

    return Place(tmp_path, command)


def failed(result: Result) -> str:
    """Check that a command could not do its work, and return the one sentence that says why."""
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Error: ") and result.err.count("\n") == 1
    return result.err


def steps_of(folder: Path) -> list[int]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_model_is_made_from_recordings_step_by_step_and_speaks(place: Place) -> None:
    for part in ("corpus", "letters", *PARTS, "export"):
        result = place.train(part)
        assert (result.status, result.out) == (0, ""), result.err
        if part in PARTS:
            assert steps_of(place.work / part) == [1, 2, 3]
            assert f"{part}: checkpoint.pt, log.jsonl at step 3." in result.err  # and no loss.png
    model = place.folder / "model"
    assert {p.name for p in model.iterdir()} == {
        "config.json",
        "model.safetensors",
        "default_voice.txt",
        "voices",
    }
    sound = place.folder / "hello.wav"
    voice = model / "voices" / "ann.safetensors"
    words = ("speak", "Hello.", "--model", str(model), "--voice", str(voice), "-o", str(sound))
    result = place.command(*words)
    assert result.status == 0, result.err
    samples, rate = soundfile.read(sound)
    assert rate == tiny.RATE
    assert len(samples) > 0 and np.isfinite(samples).all()  # its length hangs on rounding
    assert "use --force" in failed(place.train("export"))
    assert place.train("export", "--force").status == 0
    guided = Path(place.recipe("decoder"))
    guided.write_text(guided.read_text().replace("guess = 0.5", "guess = 0.5\nguided = 0.7"))
    (place.work / "decoder" / "checkpoint.pt").unlink()
    assert "name it with --from" in failed(place.train("decoder"))
    assert place.train("decoder", "--from", str(model)).status == 0
    assert "name it with --from" in failed(place.train("decoder", "--steps", "4"))
    assert place.train("decoder", "--from", str(model), "--steps", "4").status == 0
    place.train("tokenizer", "--steps", "4")
    assert "encoded 1 of the shards" in place.train("generator", "--steps", "4").err
    again = place.train("corpus")
    assert again.status == 0  # and nothing is made twice
    found = {p.name for p in (place.work / "corpus").iterdir()}
    assert found == {"real-0000", "sets.json"}


def test_more_steps_go_on_where_the_run_ended(place: Place) -> None:
    place.train("corpus")
    assert place.train("speaker", "--steps", "2").status == 0
    assert place.train("speaker", "--steps", "5").status == 0
    assert steps_of(place.work / "speaker") == [1, 2, 3, 4, 5]


def test_a_recipe_gives_the_same_weights_every_time(place: Place) -> None:
    place.train("corpus")
    place.train("speaker")
    first = averaged_weights(place.work / "speaker")
    (place.work / "speaker" / "checkpoint.pt").unlink()
    torch.rand(1)  # what else draws numbers in this process does not matter
    place.train("speaker")
    again = averaged_weights(place.work / "speaker")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_letters_take_as_many_steps_as_asked_for(place: Place) -> None:
    result = place.train("letters", "--steps", "2")
    assert result.status == 0 and "letters.safetensors is ready" in result.err
    assert steps_of(place.work / "letters") == [1, 2]


def test_training_leaves_the_random_numbers_of_the_process_alone(place: Place) -> None:
    place.train("corpus")
    before = torch.random.get_rng_state()
    place.train("speaker")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_interrupted_run_ends_in_130_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.train("corpus")
    losses = SpeakerTask.losses

    def interrupt(self: SpeakerTask, step: int, draw: object) -> dict:
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return losses(self, step, draw)

    with monkeypatch.context() as patch:
        patch.setattr(SpeakerTask, "losses", interrupt)
        result = place.train("speaker")
    assert (result.status, result.err) == (130, "Error: Interrupted.\n")
    assert place.train("speaker").status == 0
    assert steps_of(place.work / "speaker") == [1, 2, 3]


def test_quiet_says_nothing(place: Place) -> None:
    result = place.train("corpus", "-q")
    assert (result.status, result.out, result.err) == (0, "", "")


@pytest.mark.parametrize("part", ["speaker", "vocoder"])
def test_training_starts_from_a_model_until_there_is_a_checkpoint(place: Place, part: str) -> None:
    model = tiny.write_model(place.folder / "old")
    place.train("corpus")
    slow = Path(place.recipe(part)).read_text().replace("lr = 1e-3", "lr = 1e-9")
    Path(place.recipe(part)).write_text(slow)
    result = place.train(part, "--from", str(model))
    assert result.status == 0, result.err
    assert f"The {part} starts from {model}" in result.err
    assert ("; new in it: directions." in result.err) == (part == "speaker")
    prefix = "encoder." if part == "speaker" else ""
    found = averaged_weights(place.work / part)
    for name, weight in tiny.weights().items():
        if name.startswith(f"{part}."):
            mine = found[prefix + name.removeprefix(f"{part}.")]
            torch.testing.assert_close(mine, weight.float(), atol=1e-6, rtol=1e-6)
    again = place.train(part, "--from", str(model), "--steps", "4")
    assert again.status == 0 and "goes on" in again.err


def test_a_model_that_does_not_fit_is_one_sentence(place: Place) -> None:
    place.train("corpus")
    assert "--spec" in failed(place.train("vocoder", "--from", "voxkit-en"))
    assert "There is no model" in failed(place.train("vocoder", "--from", "nobody"))
    assert not (place.work / "vocoder" / "checkpoint.pt").exists()


# ---- what comes before what -------------------------------------------------------------------


@pytest.mark.parametrize("part", ["speaker", "vocoder", "generator", "decoder"])
def test_without_a_corpus_the_sentence_says_what_to_run(place: Place, part: str) -> None:
    assert "run `voxkit train corpus` first" in failed(place.train(part))


def test_without_letters_the_sentence_says_what_to_run(place: Place) -> None:
    place.train("corpus")
    assert "run `voxkit train letters` first" in failed(place.train("tokenizer"))


@pytest.mark.parametrize("part", ["generator", "decoder"])
def test_without_a_tokenizer_the_sentence_says_so(place: Place, part: str) -> None:
    place.train("corpus")
    said = failed(place.train(part))
    assert "tokenizer/checkpoint.pt is missing: train this part first" in said


def test_without_recordings_the_sentence_names_the_file(place: Place) -> None:
    (place.folder / "data" / "real" / "metadata.csv").unlink()
    assert "real/metadata.csv is missing" in failed(place.train("corpus"))


# ---- recipes ----------------------------------------------------------------------------------


def test_a_recipe_that_is_not_there_is_one_sentence(place: Place) -> None:
    Path(place.recipe("speaker")).unlink()
    assert "There is no recipe" in failed(place.train("speaker"))


def test_a_recipe_that_is_no_toml_is_one_sentence(place: Place) -> None:
    for text in ("[loop\n", "x = " + "9" * 9_999):
        Path(place.recipe("speaker")).write_text(text)
        assert "speaker.toml is not valid TOML" in failed(place.train("speaker"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("margin = 0.2\n", ""), "speaker.toml [task].margin is missing"),
        (("margin", "margins"), "speaker.toml [task].margins is not an entry"),
        (("steps = 3", "steps = 3.5"), "speaker.toml [loop].steps must be int"),
        (("[loop]", "[lop]"), "speaker.toml [loop] must be an object"),
    ],
)
def test_a_wrong_entry_of_a_recipe_is_named(
    place: Place, change: tuple[str, str], says: str
) -> None:
    place.train("corpus")
    Path(place.recipe("speaker")).write_text(RECIPES["speaker"].replace(*change))
    assert says in failed(place.train("speaker"))


def test_numbers_of_another_family_are_refused(place: Place) -> None:
    place.train("corpus")
    path = Path(__file__).parents[2] / "voxkit" / "specs" / "cosyvoice2.json"
    (place.folder / "tiny.json").write_text(path.read_text())
    assert "only native models are trained" in failed(place.train("speaker"))


SECOND = ["generator-2", "decoder-2", "vocoder-2"]


@pytest.mark.parametrize("name", ["corpus", "letters", *PARTS, *SECOND, "export"])
def test_the_packaged_recipes_fit_the_packaged_numbers(name: str) -> None:
    """Every recipe of the repository is read as its command reads it."""
    from voxkit.cli import train
    from voxkit.spec import from_dict
    from voxkit.train import export, letters, loop
    from voxkit.train.decoder import DecoderRecipe
    from voxkit.train.generator import GeneratorRecipe
    from voxkit.train.speaker import SpeakerRecipe
    from voxkit.train.tokenizer import TokenizerRecipe
    from voxkit.train.vocoder import VocoderRecipe

    part = name.removesuffix("-2")
    data = train._recipe(part, Path(name) if name in SECOND else None)
    spec = train._spec(None)
    if part == "corpus":
        assert from_dict(corpus.CorpusRecipe, data, part).sets
    elif part == "export":
        recipe = from_dict(export.ExportRecipe, data, part)
        assert recipe.default_voice in {voice.name for voice in recipe.voices}
    elif part == "letters":
        net = from_dict(letters.LettersRecipe, data, part).net
        for name in ("letters_width", "letters_layers", "letters_heads"):
            assert getattr(net, name) == getattr(spec.text, name)
    else:
        assert from_dict(loop.LoopRecipe, data["loop"], part).steps > 0
        tasks = {
            "tokenizer": TokenizerRecipe,
            "speaker": SpeakerRecipe,
            "vocoder": VocoderRecipe,
            "decoder": DecoderRecipe,
            "generator": GeneratorRecipe,
        }
        assert from_dict(tasks[part], data["task"], part)


@pytest.mark.parametrize("part", ["corpus", "letters", *PARTS, "export"])
def test_every_part_has_help(place: Place, part: str) -> None:
    result = place.command("train", part, "--help")
    assert (result.status, result.err) == (0, "")
    assert "--work" in result.out and "--recipe" in result.out


def test_the_group_lists_its_parts(place: Place) -> None:
    result = place.command("train", "--help")
    assert result.status == 0
    assert all(part in result.out for part in ("corpus", "letters", *PARTS, "export"))
