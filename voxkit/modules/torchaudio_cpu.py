"""Makes torchaudio and vocos importable beside a torch that their compiled extension does not fit.

The torchaudio wheel on the package index is a CUDA build.  Beside a CPU-only torch its extension
cannot be loaded (`OSError`), beside a torch for another CUDA release it refuses (`RuntimeError`).
All that voxkit and vocos use of torchaudio is plain Python, so a stand-in for the extension is
enough.  Whatever in voxkit imports torchaudio, or vocos, which imports it, calls `make_importable`
first.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import NoReturn

_lock = threading.Lock()


def make_importable() -> None:
    """Make `import torchaudio` work; do nothing where it already does.

    An extension that loads is left alone, so on a matching installation nothing changes.
    """
    with _lock:
        try:
            importlib.import_module("torchaudio")
        except (OSError, RuntimeError):
            for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
                del sys.modules[name]  # what the failed import left behind
            sys.modules["torchaudio._extension"] = _extension_stand_in()
            importlib.import_module("torchaudio")


def vocos_models() -> ModuleType:
    """Import `vocos.models` alone: with the rest of the package it takes a fifth of a second more.

    The rest, which knows of hubs and of torchaudio, is imported as ever by whoever asks for it.
    """
    with _lock:
        spec = None if "vocos" in sys.modules else importlib.util.find_spec("vocos")
        if spec is None or spec.submodule_search_locations is None:
            return importlib.import_module("vocos.models")
        bare = ModuleType("vocos")
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules["vocos"] = bare
        try:
            return importlib.import_module("vocos.models")
        finally:
            del sys.modules["vocos"]


def _extension_stand_in() -> ModuleType:
    """Return a module with the names that torchaudio's Python files expect of its extension."""

    def fail_if_no_align(function: object) -> object:
        def fail(*args: object, **kwargs: object) -> NoReturn:
            raise RuntimeError("torchaudio's compiled extension is not available here")

        return fail

    module = ModuleType("torchaudio._extension", "Stand-in where the extension cannot be loaded.")
    contents: dict[str, object] = {
        "_IS_TORCHAUDIO_EXT_AVAILABLE": False,
        "_IS_ALIGN_AVAILABLE": False,
        "_check_cuda_version": lambda: None,
        "_load_lib": lambda name: False,
        "fail_if_no_align": fail_if_no_align,
    }
    vars(module).update(contents)
    return module
