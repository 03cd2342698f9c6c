"""A stand-in for the model: sine waves with the engine's methods, so that the commands run fast."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import signal
import sys
import threading
import types
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import voxkit
from voxkit.audio import Audio
from voxkit.errors import ModelError, TextError
from voxkit.markup import Piece
from voxkit.options import Options
from voxkit.score import write_script
from voxkit.speech import Progress, Speech
from voxkit.style import NEUTRAL, Style
from voxkit.text import Script, Sentence
from voxkit.voice import Description, Voice

RATE = 24_000
CHUNK = 2_400
FINGERPRINT = "fake:0001"


def voice(name: str, pitch: float = 220.0) -> Voice:
    """A small voice that the fake engine can read."""
    return Voice(
        name=name,
        made_by=FINGERPRINT,
        transcript="Once upon a time.",
        attributes={"pitch_hz": pitch},
        language="en",
        description=f"A sine wave called {name}",
        tokens=np.arange(4),
        mel=np.zeros((80, 8), np.float32),
        speaker=np.full(8, pitch, np.float32),
    )


class FakeEar:
    """Hears the same speaker in everything."""

    def describe(self, audio: Audio, text_ids: tuple[int, ...] | None) -> Description:
        """Return next to nothing."""
        speaker = np.array([1.0, 0.0], np.float32)
        return Description(np.arange(2), np.zeros((80, 4), np.float32), speaker, {})


class FakeEngine:
    """Speaks in sine waves whose noise depends on the seed, the voice and the options."""

    spec = SimpleNamespace(name="voxkit-en", family="native", revision="1")
    fingerprint = FINGERPRINT
    sample_rate = RATE
    prefers_whole = False
    company = None
    default_voice = "anna"
    parts = SimpleNamespace(tokenizer=FakeEar())

    def prepare(self, text: str | Sequence[Piece]) -> Script:
        """Split at full stops; everything that is not ASCII cannot be said."""
        if not isinstance(text, str):
            return write_script(text, self.prepare, frozenset("/"))
        if not re.search(r"[A-Za-z0-9]", text):
            raise TextError(f"There is nothing to say in {text[:20]!r}.")
        parts = filter(None, (part.strip() for part in text.split(".")))
        sentences = tuple(Sentence(part, False, part) for part in parts)
        return Script(sentences, tuple(re.findall(r"[^\x00-\x7f]+", text)))

    def stream(
        self,
        text: str | Script | Iterable[str],
        voice: Voice,
        options: Options,
        *,
        style: Style = NEUTRAL,
        voices: Callable[[str], Voice] | None = None,
    ) -> Speech:
        """Make one tenth of a second for every two characters, at the pitch of who speaks."""
        return Speech(lambda progress: self._speak(text, voice, options, style, voices, progress))

    def _speak(
        self,
        text: str | Script | Iterable[str],
        voice: Voice,
        options: Options,
        style: Style,
        voices: Callable[[str], Voice] | None,
        progress: Progress,
    ) -> Generator[Audio, None, None]:
        speed = options.speed * style.rate
        noise = np.random.default_rng(options.seed)
        time = np.arange(CHUNK) / RATE
        for said in self._sentences(text, progress):
            progress.begin(said.source)
            sentence, name = said.text, said.manner.voice
            speaker = voices(name) if voices and name else voice
            if "a bug" in sentence:
                raise RuntimeError("tensor sizes do not match")
            if "unspeakable" in sentence:
                raise TextError("The model fell silent: use another seed.")
            if "interrupt me twice" in sentence:  # once more while the process ends
                atexit.register(os.kill, os.getpid(), signal.SIGINT)
            if "interrupt me" in sentence:
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                except KeyboardInterrupt:
                    if "tear up" in sentence:
                        raise RuntimeError("half an import") from None
                    raise
            if "terminate me" in sentence:
                os.kill(os.getpid(), signal.SIGTERM)
            if "never ends" in sentence:
                stopped = threading.Event()
                progress.when_stopped(stopped.set)
                assert stopped.wait(10.0), "nobody stopped what never ends"
                progress.check()
            pitch = speaker.attributes["pitch_hz"] + hash_of(sentence)
            chunks = max(1, round(len(sentence) / 2 / speed / said.manner.rate))
            for chunk in range(1, chunks + 1):
                if chunk == chunks:
                    progress.finish(chunks)
                tone = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * noise.standard_normal(CHUNK)
                yield Audio(tone.astype(np.float32), RATE)

    def _sentences(
        self, text: str | Script | Iterable[str], progress: Progress
    ) -> Iterator[Sentence]:
        """Yield the sentences of a text that is there, or of each piece as it comes."""
        whole = [text] if isinstance(text, str | Script) else text
        for piece in whole:
            script = piece if isinstance(piece, Script) else self.prepare(piece)
            progress.unsaid |= dict.fromkeys(script.unsaid)
            yield from script.sentences

    def convert(self, blocks: Iterable[Audio], voice: Voice, options: Options) -> Iterator[Audio]:
        """Hum the voice's pitch for as long as the recording."""
        for block in blocks:
            time = np.arange(round(block.seconds * RATE)) / RATE
            tone = 0.3 * np.sin(2 * np.pi * voice.attributes["pitch_hz"] * time)
            yield Audio(tone.astype(np.float32), RATE)

    def clone(self, reference: Audio, *, name: str, transcript: str | None = None) -> Voice:
        """Make a voice of the recording's loudness."""
        return self.likened(self.heard(reference, name=name, transcript=transcript))

    def heard(self, reference: Audio, *, name: str, transcript: str | None = None) -> Voice:
        """Make a voice of the recording's loudness."""
        return voice(name, 100.0 + float(np.abs(reference.samples).mean()))

    def likened(self, voice: Voice) -> Voice:
        """Leave a voice as it is."""
        return voice

    def adopt(self, voice: Voice) -> Voice:
        """Take only voices of its own."""
        voice.check_made_by(self.fingerprint, self.spec.name)
        return voice


def hash_of(text: str) -> int:
    """A small number that depends on every letter."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:2], 16)


def fake_checkpoint() -> types.ModuleType:
    """A module with `load` and lists of models; `loads` counts how often one was loaded."""
    module = types.ModuleType("voxkit.checkpoint")
    loads: list[tuple[str, str, int | None]] = []

    def load(
        model: str = "voxkit-en",
        *,
        device: str = "auto",
        threads: int | None = None,
        offline: bool = False,
        compat: bool = False,
        dtype: str = "auto",
        quantize: str | None = None,
        together: int = 0,
        compile: bool = False,
        watcher: object = None,
    ) -> FakeEngine:
        loads.append((model, device, threads))
        if model != "voxkit-en":
            raise ModelError(f"There is no model {model!r}: did you mean voxkit-en?")
        return FakeEngine()

    def available() -> tuple[SimpleNamespace, ...]:
        return (
            SimpleNamespace(
                name="voxkit-en",
                family="native",
                path=Path("/models/voxkit-en"),
                bytes=21_000_000,
                bundled=True,
                description="Small English model",
            ),
        )

    module.load, module.loads = load, loads  # type: ignore[attr-defined]
    module.bundled = module.available = available  # type: ignore[attr-defined]
    return module


def install() -> None:
    """Replace the model of this process; for tests that need a process of their own."""
    sys.modules["voxkit.checkpoint"] = voxkit.checkpoint = fake_checkpoint()  # type: ignore[attr-defined]
