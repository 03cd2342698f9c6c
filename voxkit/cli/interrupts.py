"""Ctrl-C: once it ends the command, and from then on it must not tear up the cleaning."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


def heed() -> None:
    """Let Ctrl-C end the command of this process, unless it is to be ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def ignore_more() -> None:
    """Once interrupted, ignore it for good: Python's own end leaves it so."""
    if interrupted():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def interrupted() -> bool:
    """Tell whether Ctrl-C came, so that what fails now may have been torn up by it."""
    return signal.getsignal(signal.SIGINT) is _still_ending


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, _still_ending)
    raise KeyboardInterrupt


def _still_ending(number: int, frame: FrameType | None) -> None:
    """Hear it again while the first is being followed."""
