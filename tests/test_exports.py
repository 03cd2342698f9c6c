"""The names that `import voxkit` promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

import voxkit


@pytest.mark.parametrize("name", voxkit.__all__)
def test_every_promised_name_is_there(name: str) -> None:
    assert getattr(voxkit, name) is not None


def test_promised_names_are_listed_once_and_shown_by_dir() -> None:
    assert len(set(voxkit.__all__)) == len(voxkit.__all__)
    assert set(voxkit.__all__) <= set(dir(voxkit))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="speek"):
        _ = voxkit.speek  # type: ignore[attr-defined]


def test_importing_voxkit_loads_no_torch_and_asks_for_no_random_state() -> None:
    code = (
        "import sys, voxkit; print(sorted({'torch', 'librosa', 'onnxruntime'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
