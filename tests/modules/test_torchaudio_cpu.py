"""torchaudio and vocos import beside every torch."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxkit.modules.torchaudio_cpu import make_importable


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for an imitation of torchaudio, which is then the one that is imported."""
    for name in _loaded():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "torchaudio"
    folder.mkdir()
    (folder / "__init__.py").write_text("from . import _extension\nfrom . import functional\n")
    (folder / "functional.py").write_text(
        "from torchaudio._extension import fail_if_no_align\n"
        "@fail_if_no_align\n"
        "def align(): return 'aligned'\n"
    )
    yield folder
    for name in _loaded():
        del sys.modules[name]


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == "torchaudio"]


@pytest.mark.parametrize("error", ["OSError", "RuntimeError"])
def test_torchaudio_imports_where_its_extension_cannot_be_loaded(
    packages: Path, error: str
) -> None:
    (packages / "_extension.py").write_text(f"raise {error}('libc10_cuda.so: cannot open')")
    make_importable()
    make_importable()
    functional = importlib.import_module("torchaudio.functional")
    assert str(packages) in functional.__file__
    with pytest.raises(RuntimeError, match="compiled extension"):
        functional.align()


def test_another_failure_of_torchaudio_is_not_hidden(packages: Path) -> None:
    (packages / "_extension.py").write_text("raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        make_importable()


def test_an_extension_that_loads_is_left_alone(packages: Path) -> None:
    (packages / "_extension.py").write_text("fail_if_no_align = lambda function: function")
    make_importable()
    assert importlib.import_module("torchaudio.functional").align() == "aligned"


def test_the_real_torchaudio_and_vocos_import() -> None:
    make_importable()
    assert importlib.import_module("torchaudio.functional").resample
    assert importlib.import_module("torchaudio.compliance.kaldi").fbank
    assert importlib.import_module("vocos.models").VocosBackbone


def test_the_backbone_comes_without_the_rest_of_its_package() -> None:
    code = (
        "import sys; from voxkit.modules.torchaudio_cpu import vocos_models, make_importable; "
        "first = vocos_models().VocosBackbone; "
        "print(sorted({'torchaudio', 'huggingface_hub', 'vocos'} & set(sys.modules))); "
        "make_importable(); import vocos; print(vocos.Vocos.__name__); "
        "from vocos.models import VocosBackbone as again; print(again is first)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "Vocos", "True"], done.stderr
