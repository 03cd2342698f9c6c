"""Measures how fast a model speaks here, part by part, and what the machine would allow."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from voxkit.engine import Engine
    from voxkit.voice import Voice

PARTS = ("frontend", "generator", "decoder", "vocoder")
SENTENCE = "The birch canoe slid on the smooth planks, and nobody said a word."
Clock = Callable[[], float]
_CLEAR = Path("/proc/self/clear_refs")  # of Linux alone


@dataclasses.dataclass(frozen=True)
class Take:
    """One text spoken: how long it lasts and what it took, in s."""

    audio_s: float
    wall_s: float
    first_audio_s: float
    parts_s: dict[str, float]  # by the names in PARTS; together less than `wall_s`


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What the machine does at best with the threads that the model may use."""

    read_gb_s: float  # memory read from end to end
    fp32_gflop_s: float  # product of large matrices
    bf16_gflop_s: float


@dataclasses.dataclass(frozen=True)
class Work:
    """What the two large parts must read and reckon."""

    token_bytes: int  # weights read for each speech token
    frame_flop: int  # of the decoder's linear layers and convolutions for each mel frame


class Timed:
    """A part of an engine whose methods are timed, the iterators that they return too."""

    def __init__(self, part: Any, name: str, seconds: dict[str, float], clock: Clock) -> None:
        self._part, self._name, self._seconds, self._clock = part, name, seconds, clock

    def __getattr__(self, method: str) -> Any:
        function = getattr(self._part, method)
        if not callable(function):
            return function

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._running():
                result = function(*args, **kwargs)
            return self._items(result) if isinstance(result, Iterator) else result

        return call

    def _items(self, iterator: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self._running():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        began = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - began
            self._seconds[self._name] = self._seconds.get(self._name, 0.0) + spent


def timed(engine: Engine, seconds: dict[str, float], clock: Clock = time.perf_counter) -> Engine:
    """Return the same engine with timed parts, which add their seconds up in `seconds`."""
    parts: dict[str, Any] = {
        name: Timed(getattr(engine.parts, name), name, seconds, clock) for name in PARTS
    }
    return type(engine)(
        engine.spec,
        dataclasses.replace(engine.parts, **parts),
        fingerprint=engine.fingerprint,
        default_voice=engine.default_voice,
    )


def take(
    engine: Engine, voice: Voice, text: str, seed: int, clock: Clock = time.perf_counter
) -> Take:
    """Stream one text from a loaded engine that reads the voice's reference anew."""
    from voxkit.options import Options

    seconds: dict[str, float] = {}
    first_s = audio_s = 0.0
    began = clock()
    for piece in timed(engine, seconds, clock).stream(text, voice, Options(seed=seed)):
        first_s = first_s or clock() - began
        audio_s += piece.seconds
    return Take(audio_s, clock() - began, first_s, seconds)


def figures(takes: list[Take], token_rate: float) -> dict[str, float]:
    """Return the medians: RTF end to end and of each part, latency and tokens a second."""
    middle = statistics.median
    spent = {name: middle(t.parts_s.get(name, 0.0) / t.audio_s for t in takes) for name in PARTS}
    token_s = spent["generator"] / token_rate
    return {
        "audio_s": middle(t.audio_s for t in takes),
        "first_audio_ms": 1000 * middle(t.first_audio_s for t in takes),
        "rtf": middle(t.wall_s / t.audio_s for t in takes),
        **{f"{name}_rtf": value for name, value in spent.items()},
        "token_ms": 1000 * token_s,
        "tokens_per_s": 1 / token_s if token_s else 0.0,
    }


def clock_of(device: str) -> Clock:
    """Return a clock that is read when all work given to the device so far is done."""
    if device == "cpu":
        return time.perf_counter
    import torch

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def peak_mib() -> float:
    """Return the most memory that this process has held, since `forget_peak` if that worked."""
    if (told := high_water_mib("self")) is not None:
        return told
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20) if sys.platform == "darwin" else used / (1 << 10)


def high_water_mib(process: int | str) -> float | None:
    """Return the most memory that a running process has held; None where the system tells none."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / (1 << 10)
    return None


def forget_peak(device: str = "cpu") -> bool:
    """Count peaks from now on, the device's too; tell whether this system forgets its own."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def device_peak_mib(device: str) -> float | None:
    """Return the most memory of a device that torch's tensors took; None for the CPU."""
    if device == "cpu":
        return None
    import torch

    return torch.cuda.max_memory_allocated() / (1 << 20)


def ceilings(device: str = "cpu") -> Ceilings:
    """Measure for about a second what memory and matrix units give on a device."""
    import torch

    clock = clock_of(device)

    def best_s(work: Callable[[], Any], times: int = 4) -> float:
        found = []
        for _ in range(times):
            began = clock()
            work()
            found.append(clock() - began)
        return min(found)

    # 256 MiB are more than the caches of a CPU hold; a GPU is too fast for them to be timed.
    count, side = (1 << 26, 1024) if device == "cpu" else (1 << 28, 8192)
    with torch.inference_mode():
        large = torch.ones(count, device=device)
        read = large.nbytes / best_s(large.sum) / 1e9
        del large
        rates = []
        for dtype in (torch.float32, torch.bfloat16):
            a = torch.randn(side, side, generator=torch.Generator().manual_seed(0))
            a = a.to(device, dtype)
            rates.append(2 * side**3 / best_s(partial(torch.mm, a, a)) / 1e9)
    return Ceilings(read, *rates)


# Layers of a decoder, by what is in their names: told of a time or a voice, not of each frame; and
# before the flow, which goes many times through the rest.
_SELDOM, _ONCE = ("modulat", "time", "speaker", "voice"), ("encoder.", "project")


def work(engine: Engine) -> Work:
    """Count what the generator reads for a token and the decoder reckons for a frame."""
    from torch import nn

    from voxkit.options import Options

    flow = engine.spec.decoder.flow
    rows = 2 if flow.guidance else 1
    steps = Options().steps or flow.steps
    flop = 0
    for name, layer in _layers([engine.parts.decoder.network]):
        if not any(word in name for word in _SELDOM):
            times = 1 if name.startswith(_ONCE) else rows * steps
            flop += 2 * layer.weight.numel() * times
    owned = [v for v in vars(engine.parts.generator).values() if isinstance(v, nn.Module)]
    read = sum(_held_bytes(layer) for _, layer in _layers(owned))
    return Work(read, flop)


def shares(found: dict[str, float], needed: Work, most: Ceilings, frame_rate: float) -> Any:
    """Return which share of the machine's ceilings the generator and the decoder reach."""
    gflop_s = needed.frame_flop * frame_rate / 1e9  # for a second of speech, its own frames
    decoder = gflop_s / found["decoder_rtf"] if found["decoder_rtf"] else 0.0
    return {
        "generator_of_read": found["tokens_per_s"] * needed.token_bytes / 1e9 / most.read_gb_s,
        "decoder_of_bf16": decoder / most.bf16_gflop_s,
        "decoder_of_fp32": decoder / most.fp32_gflop_s,
    }


def _layers(networks: Sequence[nn.Module]) -> list[tuple[str, Any]]:
    """Return the linear layers and convolutions of some networks, by name."""
    from torch import nn

    from voxkit.modules.linears import Packed

    layers = (named for network in networks for named in network.named_modules())
    return [x for x in layers if isinstance(x[1], nn.Linear | nn.Conv1d | Packed)]


def _held_bytes(layer: Any) -> int:
    """Return the bytes of a layer's weights as they are kept."""
    from voxkit.modules.linears import bits

    return int(layer.weight.numel() * bits(layer) / 8)
