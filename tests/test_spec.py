"""A model's `config.json` is read strictly: what is unknown, missing or ill-typed is named."""

from __future__ import annotations

import copy
import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from voxkit.errors import SpecError
from voxkit.families import read_spec
from voxkit.spec import ModelSpec, from_dict, to_dict

ROOT = Path(__file__).resolve().parents[1]
HUB = ROOT / "voxkit" / "specs" / "hub.json"  # the list of hub checkpoints, not a spec


@dataclass(frozen=True)
class Round:
    """One member of a union."""

    kind: Literal["round"]
    radius: float


@dataclass(frozen=True)
class Square:
    """The other member."""

    kind: Literal["square"]
    side: int
    name: str | None = None


@dataclass(frozen=True)
class Drawing:
    """One field of every sort that a spec may have."""

    shape: Round | Square
    frame: Round | None
    sizes: tuple[int, ...]
    filled: bool
    title: str


ROUND = {"kind": "round", "radius": 1.5}
DRAWING = {"shape": ROUND, "frame": None, "sizes": [1, 2], "filled": True, "title": "a"}


def example(hint: Any) -> Any:
    """JSON that fits a type hint: the first choice of a literal or union, two items in a list."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return args[0]
    if origin in (types.UnionType, typing.Union):
        return example(args[0])
    if origin is tuple:
        return [example(args[0])] * 2
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return {field.name: example(hints[field.name]) for field in dataclasses.fields(hint)}
    return {int: 3, float: 0.5, str: "x", bool: True}[hint]


MODEL = example(ModelSpec)


def entries(data: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every entry, those of nested objects too."""
    for key, value in data.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from entries(value, (*path, key))


def holder(data: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The object in `data` that holds the last key of `path`."""
    for key in path[:-1]:
        data = data[key]
    return data


def refuse(cls: type, data: object) -> str:
    """The sentence with which `data` is refused."""
    with pytest.raises(SpecError) as caught:
        from_dict(cls, data, "config.json")
    return str(caught.value)


def test_a_model_spec_survives_the_round_trip_through_json() -> None:
    spec = from_dict(ModelSpec, MODEL, "config.json")
    assert from_dict(ModelSpec, json.loads(json.dumps(to_dict(spec))), "config.json") == spec


def required(path: tuple[str, ...]) -> bool:
    """Whether the entry at `path` of a model has no default."""
    cls: Any = ModelSpec
    for key in path[:-1]:
        hint = typing.get_type_hints(cls)[key]
        cls = next(c for c in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(c))
    field = next(f for f in dataclasses.fields(cls) if f.name == path[-1])
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@pytest.mark.parametrize("path", [p for p in entries(MODEL) if required(p)], ids=".".join)
def test_every_missing_entry_is_named(path: tuple[str, ...]) -> None:
    data = copy.deepcopy(MODEL)
    del holder(data, path)[path[-1]]
    assert refuse(ModelSpec, data).startswith(f"config.json.{'.'.join(path)} ")


@pytest.mark.parametrize("path", list(entries(MODEL)), ids=".".join)
def test_every_ill_typed_entry_is_named(path: tuple[str, ...]) -> None:
    data = copy.deepcopy(MODEL)
    holder(data, path)[path[-1]] = [{}]
    assert refuse(ModelSpec, data).startswith(f"config.json.{'.'.join(path)}")


@pytest.mark.parametrize("path", [(), ("mel",), ("generator", "transformer")])
def test_an_unknown_entry_is_named_at_every_depth(path: tuple[str, ...]) -> None:
    data = copy.deepcopy(MODEL)
    holder(data, (*path, "hop_length"))["hop_length"] = 480
    where = ".".join(("config.json", *path, "hop_length"))
    assert refuse(ModelSpec, data) == f"{where} is not an entry that voxkit knows."


def test_the_kind_picks_the_member_of_a_union() -> None:
    square = {"kind": "square", "side": 2}
    assert from_dict(Drawing, DRAWING, "d").shape == Round("round", 1.5)
    assert from_dict(Drawing, DRAWING | {"shape": square}, "d").shape == Square("square", 2)


@pytest.mark.parametrize("kind", ["star", None, 1, ["round"]])
def test_an_unknown_kind_lists_the_known_ones(kind: object) -> None:
    message = refuse(Drawing, DRAWING | {"shape": ROUND | {"kind": kind}})
    assert message.startswith("config.json.shape.kind must be one of 'round', 'square', not ")


def test_an_entry_of_another_kind_is_unknown() -> None:
    message = refuse(Drawing, DRAWING | {"shape": ROUND | {"side": 2}})
    assert message == "config.json.shape.side is not an entry that voxkit knows."


def test_null_stands_only_where_nothing_is_allowed() -> None:
    assert from_dict(Drawing, DRAWING, "d").frame is None
    assert from_dict(Drawing, DRAWING | {"frame": ROUND}, "d").frame == Round("round", 1.5)
    assert refuse(Drawing, DRAWING | {"title": None}) == (
        "config.json.title must be str, not NoneType."
    )


def test_an_integer_stands_for_a_float_and_becomes_one() -> None:
    radius = from_dict(Round, {"kind": "round", "radius": 2}, "d").radius
    assert (radius, type(radius)) == (2.0, float)


def test_a_float_does_not_stand_for_an_integer() -> None:
    assert "side must be int, not float" in refuse(Square, {"kind": "square", "side": 2.0})


def test_a_truth_value_is_not_a_number() -> None:
    assert "side must be int, not bool" in refuse(Square, {"kind": "square", "side": True})
    assert "radius must be float, not bool" in refuse(Round, ROUND | {"radius": True})


def test_a_number_is_not_a_truth_value() -> None:
    assert "filled must be bool, not int" in refuse(Drawing, DRAWING | {"filled": 1})


def test_lists_become_tuples_and_their_bad_items_are_counted() -> None:
    assert from_dict(Drawing, DRAWING, "d").sizes == (1, 2)
    assert "sizes[1] must be int, not str" in refuse(Drawing, DRAWING | {"sizes": [1, "2"]})
    assert "sizes must be a list, not int" in refuse(Drawing, DRAWING | {"sizes": 3})


def test_defaults_fill_in_what_may_be_left_out() -> None:
    assert from_dict(Square, {"kind": "square", "side": 1}, "d").name is None


@pytest.mark.parametrize("data", [[], "text", 3, None])
def test_a_spec_must_be_an_object(data: object) -> None:
    assert refuse(ModelSpec, data).startswith("config.json must be an object, not ")


def test_a_missing_file_says_that_the_folder_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match="config.json is missing: this folder holds no voxkit model"
    ):
        read_spec(tmp_path / "config.json")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}", b"{'mel': 1}", b"[" * 99_999])
def test_a_file_that_is_not_json_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(SpecError, match=r"config.json is not valid JSON \("):
        read_spec(tmp_path / "config.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have_is_refused(tmp_path: Path, number: str) -> None:
    (tmp_path / "config.json").write_text(f'{{"mel": {{"fmin": {number}}}}}')
    with pytest.raises(SpecError, match=f"config.json is not valid JSON .*{number}"):
        read_spec(tmp_path / "config.json")


def test_an_entry_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": "a", "name": "b"}')
    with pytest.raises(SpecError, match=r"config.json is not valid JSON \(.*'name' twice"):
        read_spec(tmp_path / "config.json")


def test_a_file_is_read_into_the_same_spec(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MODEL), encoding="utf-8")
    assert read_spec(tmp_path / "config.json") == from_dict(ModelSpec, MODEL, "config.json")


@pytest.mark.parametrize(
    "path",
    sorted(
        {
            *ROOT.glob("voxkit/assets/**/config.json"),
            *ROOT.glob("voxkit/specs/*.json"),
            *ROOT.glob("voxkit/train/recipes/*.json"),
        }
        - {HUB}
    ),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_spec_that_is_shipped_can_be_read_and_written_back(path: Path) -> None:
    spec = read_spec(path)
    assert from_dict(type(spec), json.loads(json.dumps(to_dict(spec))), path.name) == spec


def test_tokens_and_mel_frames_keep_step() -> None:
    mel = {"sample_rate": 24000, "n_fft": 1920, "win": 1920, "hop": 480, "bins": 80}
    data = MODEL | {"mel": mel | {"fmin": 0, "fmax": 8000}, "token_rate": 25}
    spec = from_dict(ModelSpec, data, "config.json")
    assert (spec.mel.frame_rate, spec.mel_per_token) == (50.0, 2)
