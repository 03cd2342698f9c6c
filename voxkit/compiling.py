"""Lets torch's compiler at a decoder: where what it makes is kept, in which thread it works."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxkit.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from voxkit.engine import Decoder
    from voxkit.options import Options
    from voxkit.voice import Voice

CACHE = "TORCHINDUCTOR_CACHE_DIR"  # torch's own variable for where machine code is kept


def compiled(decoder: Decoder) -> Decoder:
    """Let torch compile the layers of a new decoder, when they are first asked for.

    What the compiler makes is kept for later processes, in a folder of the user's own: that which
    torch would take by itself lies where others may put something.
    Raises `ModelError` where nothing can be compiled.
    """
    from voxkit.modules.compiled import compile_layers

    if not os.environ.get(CACHE):
        os.environ[CACHE] = str(_own_folder())
    apart = Apart(decoder)
    try:
        apart.tried()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(f"Nothing can be compiled here ({reason}): leave --compile out.") from None
    compile_layers(decoder.network)
    return apart


def _own_folder() -> Path:
    """Make the folder for machine code, that only this user may enter.  Raises `ModelError`."""
    above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = above / "voxkit" / "compiled"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o022):
        raise ModelError(
            f"{folder} is not for you alone, and code would be run from it: "
            f"set {CACHE} to a folder of yours."
        )
    return folder


class Apart:
    """A decoder that does its work in a thread of its own, one call after another.

    In the main thread Ctrl-C might come while torch compiles, which takes it for a fault of what it
    reads there and goes on.  When Python ends, the thread stops before the next block.
    """

    def __init__(self, decoder: Decoder) -> None:
        from voxkit.modules.compiled import COMPILES

        self._decoder = decoder
        self.prefers_whole, self.joins = decoder.prefers_whole, decoder.joins
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._starting, self._process, self._ended = threading.Lock(), 0, threading.Event()
        blocks = [block for block in decoder.network.modules() if hasattr(block, COMPILES)]
        asks = partial(_go_on, self._ended)
        self._asked = [block.register_forward_pre_hook(asks) for block in blocks]

    @property
    def network(self) -> nn.Module:
        """The network whose layers do nearly all of the work."""
        return self._decoder.network

    def tried(self) -> None:
        """Compile next to nothing.  Raises `RuntimeError` where that cannot be."""
        import torch

        self._done(torch.compile(torch.neg), torch.zeros(1, device=self._device()))

    def init_state(self, voice: Voice, options: Options) -> Any:
        """Do as the decoder does."""
        return self._done(self._decoder.init_state, voice, options)

    def hops(self, voice: Voice, earlier: Sequence[int] = ()) -> Iterator[int]:
        """Do as the decoder does."""
        return self._decoder.hops(voice, earlier)

    def seed(self, state: Any, generator: torch.Generator) -> Any:
        """Do as the decoder does."""
        return self._decoder.seed(state, generator)

    def decode(self, tokens: Tensor, state: Any, last: bool) -> tuple[Tensor, Any]:
        """Do as the decoder does."""
        made: tuple[Tensor, Any] = self._done(self._decoder.decode, tokens, state, last)
        return made

    def complete(self, rest: Sequence[tuple[Tensor, Any]]) -> list[Tensor]:
        """Do as the decoder does."""
        made: list[Tensor] = self._done(self._decoder.complete, rest)
        return made

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _done(self, work: Callable[..., Any], *given: Any) -> Any:
        """Return what `work` returns in the thread, with this thread's number of CPU threads.

        On a GPU it works on this thread's stream.
        """
        import torch

        device, threads, made = self._device(), torch.get_num_threads(), Future[Any]()
        stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

        def job() -> None:
            try:
                if torch.get_num_threads() != threads:
                    torch.set_num_threads(threads)
                with contextlib.nullcontext() if stream is None else torch.cuda.stream(stream):
                    made.set_result(work(*given))
            except BaseException as error:  # noqa: BLE001 (raised by the one who waits for it)
                made.set_exception(error)

        with self._starting:
            if self._process != os.getpid():  # the first call of this process, forked or not
                self._jobs, self._process = queue.SimpleQueue(), os.getpid()
                thread = threading.Thread(target=_work, args=(self._jobs,), daemon=True)
                thread.start()
                left = self._jobs, self._ended, self._asked, thread, os.getpid()
                weakref.finalize(self, _end, *left)
            self._jobs.put(job)
        return made.result()


class _Ended(Exception):
    """Python ends, and nobody waits for the mel any more."""


def _go_on(ended: threading.Event, *block: object) -> None:
    """Let a block begin, unless Python ends."""
    if ended.is_set():
        raise _Ended


def _end(
    jobs: queue.SimpleQueue[Callable[[], None] | None],
    ended: threading.Event,
    asked: Sequence[RemovableHandle],
    thread: threading.Thread,
    process: int,
) -> None:
    """Let the thread end with its decoder or with Python, which must not leave it in torch.

    What it asked the blocks to heed is forgotten then.
    """
    if process == os.getpid():  # and not a child that was forked from it
        ended.set()
        jobs.put(None)
        if threading.current_thread() is not thread:
            thread.join()
        for hook in asked:
            hook.remove()


def _work(jobs: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    """Do jobs until there is none to come."""
    while (job := jobs.get()) is not None:
        job()
        del job  # holds what it was given
