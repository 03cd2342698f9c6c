"""Text-to-speech and voice cloning: `voxkit.load().speak("Hello.")`; names load when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxkit.audio import Audio, read_audio, write_audio
    from voxkit.checkpoint import available, load
    from voxkit.engine import Engine
    from voxkit.errors import Interrupted, VoxkitError
    from voxkit.instruct import understand
    from voxkit.library import find_voice, list_voices
    from voxkit.markup import parse
    from voxkit.options import Options
    from voxkit.ssml import parse_ssml
    from voxkit.style import Style
    from voxkit.voice import Voice, save_voice

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "Engine",
    "Interrupted",
    "Options",
    "Style",
    "Voice",
    "VoxkitError",
    "__version__",
    "available",
    "find_voice",
    "list_voices",
    "load",
    "parse",
    "parse_ssml",
    "read_audio",
    "save_voice",
    "understand",
    "write_audio",
]

_HOMES = {
    "Audio": "audio",
    "Engine": "engine",
    "Interrupted": "errors",
    "Options": "options",
    "Style": "style",
    "Voice": "voice",
    "VoxkitError": "errors",
    "available": "checkpoint",
    "find_voice": "library",
    "list_voices": "library",
    "load": "checkpoint",
    "parse": "markup",
    "parse_ssml": "ssml",
    "read_audio": "audio",
    "save_voice": "voice",
    "understand": "instruct",
    "write_audio": "audio",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what is here, the names that were not used yet included."""
    return sorted({*globals(), *__all__})
