"""The `train` group: every part of a model from a recipe, resumable after a kill."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from voxkit.cli import flags
from voxkit.cli.output import Output
from voxkit.errors import TrainingError
from voxkit.families import read_spec
from voxkit.precision import Dtype, Kind, chosen
from voxkit.spec import ModelSpec, from_dict
from voxkit.train import corpus as corpora
from voxkit.train import export as exports
from voxkit.train.data import load_corpus
from voxkit.train.encode import Encoded, encode, load_encoded, outdated, weights_of
from voxkit.train.loop import LoopRecipe, Task, run
from voxkit.train.warm_start import find_model, warm_start

if TYPE_CHECKING:
    from voxkit.modules.letters import Letters

app = typer.Typer(help="Train the parts of a model from recipes.", no_args_is_help=True)

WorkFlag = Annotated[
    Path, typer.Option("--work", help="Folder for shards, checkpoints and logs; kept out of git.")
]
DataFlag = Annotated[Path, typer.Option("--data", help="Folder that holds the recorded sets.")]
RecipeFlag = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        metavar="FILE|NAME",
        help="A TOML recipe, or a packaged one such as vocoder-2, instead of the command's own.",
    ),
]
SpecFlag = Annotated[
    Path | None, typer.Option("--spec", help="A config.json instead of voxkit-en's.")
]
StepsFlag = Annotated[int | None, typer.Option("--steps", min=1, help="Instead of the recipe's.")]
FromFlag = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="NAME|FOLDER",
        help="Model whose weights training starts from, while there is no checkpoint; a recipe "
        "with `guided` learns from it until the end.",
    ),
]
DtypeFlag = Annotated[
    Dtype,
    typer.Option(
        "--dtype",
        help="Of large matrix products: auto is bf16 where the machine is fast at it, else fp32.",
    ),
]
_WORK = Path("runs")
R = TypeVar("R")


def _recipe(name: str, path: Path | None) -> dict[str, Any]:
    """Read a recipe: the packaged one called `name`, or a file, or another packaged one."""
    packaged = Path(str(resources.files("voxkit"))) / "train" / "recipes"
    source = packaged / f"{path or name}.toml"
    if path is not None and (path.suffix or path.exists()):
        source = path
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"There is no recipe {source}: give the path of a TOML file.") from None
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{source} is not valid TOML ({error}).") from None


def _spec(path: Path | None) -> ModelSpec:
    """Read the numbers of the model to train: voxkit-en's, or those of a file."""
    path = path or Path(str(resources.files("voxkit"))) / "train/recipes/voxkit-en.json"
    spec = read_spec(path)
    if not isinstance(spec, ModelSpec):
        raise TrainingError(
            f"{path} is of the {spec.family} family: only native models are trained."
        )
    return spec


def _letters(spec: ModelSpec, work: Path) -> Letters:
    """Return the trained letter-to-sound network, for words outside the dictionary."""
    from voxkit import checkpoint
    from voxkit.modules.letters import Letters

    path = work / "letters.safetensors"
    if not path.is_file():
        raise TrainingError(f"{path} is missing: run `voxkit train letters` first.")
    letters = Letters(spec.text)
    letters.load_state_dict({n: w.float() for n, w in checkpoint.read_weights(path).items()})
    return letters.eval()


def _encoded(spec: ModelSpec, work: Path, out: Output) -> list[Encoded]:
    """Encode what is not encoded yet by the trained tokenizer and speaker encoder; read all."""
    utterances = load_corpus(work / "corpus")
    tokenizer, speaker = exports.load_parts(spec, work)
    if old := outdated(work / "encoded", weights_of(tokenizer, speaker)):
        out.note(f"Other weights encoded {old} of the shards in {work / 'encoded'}: encoding anew.")
    done = 0
    with out.bar("Encoding the corpus", len(utterances)) as bar:
        for count in encode(
            utterances, tokenizer, speaker, spec.mel, _letters(spec, work), work / "encoded"
        ):
            done += count
            bar.at(done)
    return load_encoded(utterances, work / "encoded")


def _build(
    part: str, spec: ModelSpec, recipe: dict[str, Any], steps: int, work: Path, out: Output
) -> Task:
    """Make the task of one part."""

    def read(kind: type[R]) -> R:
        return from_dict(kind, recipe.get("task", {}), f"{part}.toml [task]")

    match part:
        case "tokenizer":
            from voxkit.train.tokenizer import TokenizerRecipe, TokenizerTask

            wanted, corpus = read(TokenizerRecipe), load_corpus(work / "corpus")
            letters = _letters(spec, work)
            return TokenizerTask(spec.tokenizer, spec.mel, wanted, corpus, letters, work / part)
        case "speaker":
            from voxkit.train.speaker import SpeakerRecipe, SpeakerTask

            learner = read(SpeakerRecipe)
            return SpeakerTask(spec.speaker, spec.mel, learner, load_corpus(work / "corpus"))
        case "vocoder":
            from voxkit.train.vocoder import VocoderRecipe, VocoderTask

            voiced = read(VocoderRecipe)
            return VocoderTask(spec.vocoder, spec.mel, voiced, load_corpus(work / "corpus"))
        case "decoder":
            from voxkit.train.decoder import DecoderRecipe, DecoderTask

            return DecoderTask(spec, read(DecoderRecipe), _encoded(spec, work, out))
        case _:
            from voxkit.train.generator import GeneratorRecipe, GeneratorTask

            return GeneratorTask(spec, read(GeneratorRecipe), _encoded(spec, work, out), steps)


def _train(
    part: str,
    work: Path,
    recipe: Path | None,
    spec: Path | None,
    steps: int | None,
    start: str | None,
    device: flags.Device,
    dtype: Dtype,
    threads: int | None,
    quiet: bool,
) -> None:
    import torch

    from voxkit.modules.linears import fast_kind

    out = Output(quiet)
    if threads:
        torch.set_num_threads(threads)
    where = str(device)
    if where == "auto":
        where = "cuda" if torch.cuda.is_available() else "cpu"
    kind = chosen(dtype, None, fast=fast_kind(torch.device(where)), on_cpu=where == "cpu").decoder
    data = _recipe(part, recipe)
    loop = from_dict(LoopRecipe, data.get("loop"), f"{part}.toml [loop]")
    if steps:
        loop = dataclasses.replace(loop, steps=steps)
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed)  # inside the fork: initial weights only
        task = _build(part, _spec(spec), data, loop.steps, work, out)
    _teach(task, start)
    if start is not None:
        _warm_start(task, part, start, work, out)
    with out.bar(f"Training the {part}", loop.steps) as bar:

        def report(step: int, figures: dict[str, float]) -> None:
            words = (
                f"Training the {part}, loss {figures['loss']:.3f}" if "loss" in figures else None
            )
            bar.at(step, words)

        mixed = kind is Kind.bf16
        run(task, loop, work / part, device=where, mixed=mixed, report=report)
    made = [n for n in ("checkpoint.pt", "log.jsonl", "loss.png") if (work / part / n).is_file()]
    out.note(f"{work / part}: {', '.join(made)} at step {loop.steps}.")


def _teach(task: Task, model: str | None) -> None:
    """Give a decoder that learns guidance the model whose guidance it learns."""
    from voxkit.train.decoder import DecoderTask

    if not isinstance(task, DecoderTask) or task.teacher is None:
        return
    if model is None:
        raise TrainingError("The recipe's task.guided asks for a teacher: name it with --from.")
    warm_start(task.teacher, "decoder", find_model(model))


def _warm_start(task: Task, part: str, model: str, work: Path, out: Output) -> None:
    """Give the network of a part that has no checkpoint yet the weights of a model."""
    if (work / part / "checkpoint.pt").is_file():
        out.note(f"{work / part}/checkpoint.pt is there and goes on, not from {model}.")
        return
    folder = find_model(model)
    fresh = sorted({name.split(".")[0] for name in warm_start(task.model, part, folder)})
    rest = f"; new in it: {', '.join(fresh)}" if fresh else ""
    out.note(f"The {part} starts from {folder}{rest}.")


@app.command("corpus")
def corpus(
    data: DataFlag,
    work: WorkFlag = _WORK,
    recipe: RecipeFlag = None,
    spec: SpecFlag = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = 1,
    quiet: flags.QuietFlag = False,
) -> None:
    """Turn folders with metadata.csv into training shards, and add synthetic speech."""
    out = Output(quiet)
    wanted = from_dict(corpora.CorpusRecipe, _recipe("corpus", recipe), "corpus.toml")
    with out.bar("Making shards", None) as bar:
        for done, total in corpora.build(wanted, data, work / "corpus", _spec(spec).mel, jobs):
            bar.at(done, f"Making shards, {done} of {total} utterances")
    out.note(f"{work / 'corpus'} is complete.")


@app.command("letters")
def letters(
    work: WorkFlag = _WORK,
    recipe: RecipeFlag = None,
    steps: StepsFlag = None,
    quiet: flags.QuietFlag = False,
) -> None:
    """Train the letter-to-sound network on the bundled dictionary."""
    from voxkit.train.letters import read_recipe, train_letters

    out = Output(quiet)
    packaged = Path(str(resources.files("voxkit"))) / "train/recipes/letters.toml"
    wanted = read_recipe(recipe or packaged)
    if steps:
        wanted = dataclasses.replace(wanted, loop=dataclasses.replace(wanted.loop, steps=steps))
    work.mkdir(parents=True, exist_ok=True)
    with out.bar("Training the letters", wanted.steps) as bar:
        train_letters(
            wanted,
            work / "letters.safetensors",
            progress=lambda step, loss: bar.at(step + 1, f"Training the letters, loss {loss:.3f}"),
        )
    out.note(f"{work / 'letters.safetensors'} is ready.")


def _part(name: str, words: str) -> None:
    """Add the command that trains one part; all parts take the same options."""

    @app.command(name, help=words)
    def train_part(
        work: WorkFlag = _WORK,
        recipe: RecipeFlag = None,
        spec: SpecFlag = None,
        steps: StepsFlag = None,
        start: FromFlag = None,
        device: flags.DeviceFlag = flags.Device.auto,
        dtype: DtypeFlag = Dtype.auto,
        threads: flags.ThreadsFlag = None,
        quiet: flags.QuietFlag = False,
    ) -> None:
        _train(name, work, recipe, spec, steps, start, device, dtype, threads, quiet)


_part("tokenizer", "Train the FSQ speech tokenizer.")
_part("speaker", "Train the speaker encoder.")
_part("generator", "Train the token generator, encoding the corpus first.")
_part("decoder", "Train the flow-matching decoder, encoding the corpus first.")
_part("vocoder", "Train the vocoder.")


@app.command("export")
def export(
    data: DataFlag,
    out_folder: Annotated[Path, typer.Option("--out", help="The model folder to write.")],
    work: WorkFlag = _WORK,
    recipe: RecipeFlag = None,
    spec: SpecFlag = None,
    force: flags.ForceFlag = False,
    quiet: flags.QuietFlag = False,
) -> None:
    """Bundle the trained parts and the built-in voices into a model folder."""
    out = Output(quiet)
    wanted = from_dict(exports.ExportRecipe, _recipe("export", recipe), "export.toml")
    exports.check(wanted, out_folder, force=force)
    numbers = _spec(spec)
    weights = exports.gather(numbers, work, work / "letters.safetensors")
    clips = functools.partial(corpora.find_clip, data, work / "corpus")
    exports.export(numbers, wanted, weights, _encoded(numbers, work, out), clips, out_folder)
    out.note(f'{out_folder} is ready: voxkit speak --model {out_folder} "Hello."')


@app.command("voices")
def voices(
    data: DataFlag,
    work: WorkFlag = _WORK,
    recipe: RecipeFlag = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="The model folder; the bundled one if not given.")
    ] = None,
    quiet: flags.QuietFlag = False,
) -> None:
    """Fit the space of voices that `voxkit design` draws from, and put it into a model folder."""
    from voxkit import checkpoint
    from voxkit.tokenizer import FsqTokenizer
    from voxkit.train.voice_space import VoicesRecipe, genders, learnt
    from voxkit.voice_space import FILE, save_space

    out = Output(quiet)
    wanted = from_dict(VoicesRecipe, _recipe("voices", recipe), "voices.toml")
    engine = checkpoint.load(model or checkpoint.BUNDLED, device="cpu")
    ear = engine.parts.tokenizer
    if not isinstance(ear, FsqTokenizer):
        raise TrainingError(f"{engine.spec.name} is no native model: voices are fitted for those.")
    utterances = load_corpus(work / "corpus")
    with out.bar("Measuring voices", None) as bar:
        space = learnt(
            utterances,
            genders(data, wanted),
            wanted,
            ear,
            engine.spec.mel,
            made_by=engine.fingerprint,
            report=lambda done, total: bar.at(done, f"Measuring voices, {done} of {total}"),
        )
    path = (model or Path(checkpoint.__file__).parent / "assets" / checkpoint.BUNDLED) / FILE
    save_space(space, path)
    out.note(f"{path}: learnt from {space.speakers} speakers.")
