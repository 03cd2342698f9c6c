"""Imports inside voxkit point down, and light files stay free of heavy libraries."""

from __future__ import annotations

import ast
import functools
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "voxkit").rglob("*.py"))

# Bottom to top.  A file imports only from rows below its own; files of one folder may import
# each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "interrupts"),
    ("files", "onnx", "company"),
    ("spec", "options", "style", "catalogue", "precision"),
    ("cosyvoice_spec", "prosody", "conversion", "download"),
    ("families", "hub", "lookalikes"),
    ("heteronyms", "numbers", "notation", "clauses", "wording", "myriads", "languages"),
    ("phonemes", "phrases", "quantities", "typography"),
    ("clause_ends", "pronunciation", "instruct", "spellings", "tongue"),
    ("markup", "presets", "reading", "figures"),
    ("ssml", "text", "chinese", "japanese", "korean"),
    ("score", "breaks", "signs"),
    ("passages",),
    ("multilingual",),
    ("multilingual_stream",),
    ("modules",),
    ("audio",),
    ("reference", "voice", "speech", "segments", "tags"),
    ("mixing", "revoice", "traits", "activity", "examination", "transcription", "likeness"),
    ("voice_space", "cloning"),
    ("voice_wish", "portrait"),
    ("design",),
    ("library",),
    ("arriving", "delivery", "readings", "provenance"),
    ("live_score",),
    ("tokenizer", "generator", "cosyvoice_front", "cosyvoice_weights"),
    ("decoder",),
    ("cosyvoice",),
    ("engine",),
    ("compiling", "sharing"),
    ("checkpoint", "measuring"),
    ("random_model",),
    ("__init__",),
    ("train",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row}


def _module(file: Path) -> str:
    """`voxkit/cli/app.py` → `voxkit.cli.app`; a folder's `__init__.py` → the folder's name."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(file): file for file in FILES}


def _place(module: str) -> str:
    """The row entry of a module: `voxkit.cli.app` → `cli`, `voxkit` → `__init__`."""
    return module.split(".")[1] if "." in module else "__init__"


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _imported(node: ast.AST, module: str) -> Iterator[str]:
    """Dotted names that one import statement may load, `from a import b` as both a and a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            base = f"{package}.{base}".rstrip(".")
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement that runs when the file is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from _at_import(child)


def _own_imports(module: str, nodes: Iterator[ast.AST]) -> set[str]:
    """Modules of voxkit that the given statements of `module` import, folders' `__init__` too."""
    names = {name for node in nodes for name in _imported(node, module)}
    return {name for name in names if name in MODULES}


def _heavy() -> tuple[set[str], tuple[str, ...]]:
    """The banned libraries and the files that may import them, both from the linter's settings."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lint = settings["tool"]["ruff"]["lint"]
    banned = set(lint["flake8-tidy-imports"]["banned-module-level-imports"])
    return banned, tuple(f for f, rules in lint["per-file-ignores"].items() if "TID253" in rules)


BANNED, HEAVY = _heavy()
LIGHT = [
    m for m, f in MODULES.items() if not any(fnmatch(str(f.relative_to(ROOT)), p) for p in HEAVY)
]


def _path_to_banned(module: str, trail: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """The chain of module-level imports from `module` to a banned library, or None."""
    if module in trail:
        return None
    trail = (*trail, module)
    statements = list(_at_import(_tree(MODULES[module])))
    for node in statements:
        for name in _imported(node, module):
            if name.split(".")[0] in BANNED:
                return (*trail, name)
    for own in sorted(_own_imports(module, iter(statements))):
        if found := _path_to_banned(own, trail):
            return found
    return None


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_place(module: str) -> None:
    assert _place(module) in LEVEL, f"{module} stands in no row of LAYERS: decide where it belongs"


@pytest.mark.parametrize("module", [m for m in MODULES if _place(m) in LEVEL])
def test_imports_point_down(module: str) -> None:
    here = _place(module)
    upward = {
        own
        for own in _own_imports(module, ast.walk(_tree(MODULES[module])))
        if own != "voxkit" and _place(own) != here and LEVEL.get(_place(own), 99) >= LEVEL[here]
    }
    assert not upward, f"{module} imports {sorted(upward)}, which stand beside or above it"


def test_only_the_train_command_imports_training() -> None:
    users = {
        module
        for module, file in MODULES.items()
        if _place(module) != "train"
        and any(_place(own) == "train" for own in _own_imports(module, ast.walk(_tree(file))))
    }
    assert users <= {"voxkit.cli.train"}


@pytest.mark.parametrize("module", LIGHT)
def test_light_files_reach_no_heavy_library_at_import(module: str) -> None:
    path = _path_to_banned(module)
    assert path is None, " → ".join(path or ())


def test_the_start_of_the_command_line_is_light() -> None:
    start = ("__main__", "errors", "instruct", "options", "presets", "spec", "text", "cli.app")
    wanted = {"voxkit", *(f"voxkit.{name}" for name in start)} & set(MODULES)
    assert wanted <= set(LIGHT)


def test_the_guard_sees_heavy_imports_where_they_are() -> None:
    assert any(_path_to_banned(module) for module in MODULES if module not in LIGHT)
