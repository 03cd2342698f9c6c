"""Sound as a value: read it from any file, write it whole or as it comes in any format."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from voxkit.errors import AudioError, OutputError
from voxkit.files import output_error, whole_file

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000  # Hz, of files that voxkit writes
LOWEST_READ, HIGHEST_READ = 1_000, 768_000  # and of those it reads; others are damaged
_CANCELLED = 0.01  # share of the channels' energy that is left where they cancel each other
_UNKNOWN_SIZE = 0x7FFF0000  # in a WAV header, this and more is of a stream without end


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono sound: samples (S,) float32 in [-1, 1], and the rate without which they mean nothing."""

    samples: np.ndarray
    sample_rate: int  # Hz

    def __post_init__(self) -> None:
        """Refuse anything but one channel of float32 at a positive rate."""
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ValueError(
                f"samples: {self.samples.shape} {self.samples.dtype}, not (S,) float32"
            )
        if self.sample_rate <= 0:
            raise ValueError(f"sample_rate must be positive, not {self.sample_rate}")

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.sample_rate

    def resampled(self, rate: int) -> Audio:
        """Return the same sound at `rate` Hz, round(S * rate / sample_rate) samples."""
        if rate == self.sample_rate:
            return self
        import soxr

        samples = soxr.resample(self.samples, self.sample_rate, rate)
        return Audio(np.clip(samples, -1.0, 1.0), rate)


# ---- reading ----------------------------------------------------------------------------------


def read_audio(path: Path) -> Audio:
    """Read a sound file of any common format, rate and number of channels; channels are averaged.

    Of channels that cancel each other the loudest is taken.  Float files louder than full scale are
    scaled down to it.  Raises `AudioError` for a file that is missing, empty, damaged, without
    sound in it, at a rate that no recording has, or holds NaN or infinite samples.
    """
    blocks = list(_blocks(path))
    samples = np.concatenate([block.samples for block in blocks])
    peak = float(np.abs(samples).max())
    return Audio(samples / np.float32(peak) if peak > 1.0 else samples, blocks[0].sample_rate)


def stream_audio(path: Path) -> Iterator[Audio]:
    """Read a sound file of any length as `read_audio` does, block by block in little memory.

    What is louder than full scale is clipped.
    """
    for block in _blocks(path):
        yield Audio(np.clip(block.samples, -1.0, 1.0), block.sample_rate)


def _blocks(path: Path) -> Iterator[Audio]:
    """Yield the channels of a sound file, averaged.  Raises `AudioError`."""
    import soundfile

    check_readable(path)
    empty = True
    try:
        with _opened(path) as file:
            if not LOWEST_READ <= file.samplerate <= HIGHEST_READ:
                raise AudioError(
                    f"{path} says that it has {file.samplerate} Hz, which no recording has: "
                    "export it again."
                )
            # Not by `file.blocks()`, which fills up with stray memory where a damaged file ends.
            while len(frames := file.read(2**18, dtype="float32", always_2d=True)):
                with np.errstate(invalid="ignore", over="ignore"):  # looked for in the next line
                    samples = _mono(frames)
                if not np.isfinite(samples).all():
                    raise AudioError(f"{path} holds samples that are not numbers: export it again.")
                empty = False
                yield Audio(samples, file.samplerate)
    except soundfile.LibsndfileError:
        found = shutil.which("ffmpeg") is not None
        raise AudioError(
            f"{path} cannot be read as sound: it is damaged or of an unknown kind; give a wav, "
            "flac, mp3, ogg, opus or aiff file"
            + ("." if found else ", or install ffmpeg, which reads most other kinds.")
        ) from None
    if empty:
        raise AudioError(f"{path} holds no sound (0 samples): record it again.")


def _mono(frames: np.ndarray) -> np.ndarray:
    """Average channels (S, C) → (S,); where they cancel each other, return the loudest."""
    mean: np.ndarray = frames.mean(axis=1)
    if frames.shape[1] == 1:
        return mean
    energies = np.square(frames, dtype=np.float64).sum(axis=0)
    if np.square(mean, dtype=np.float64).sum() < _CANCELLED * energies.mean():
        return frames[:, int(energies.argmax())]
    return mean


def breaks_off(path: Path) -> bool:
    """Tell whether a WAV file ends before its header says; False for all that do not tell."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
        name, size, kind = struct.unpack("<4sI4s", head)
        told = name == b"RIFF" and kind == b"WAVE" and size < _UNKNOWN_SIZE
        return bool(told and size + 8 > path.stat().st_size)
    except (OSError, struct.error):
        return False


def native_name(path: Path) -> str | bytes:
    """Return a path as libsndfile takes it, which may be no text: file names are bytes."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a sound file to be read from its beginning to its end, by way of ffmpeg if need be."""
    import soundfile

    class Onward(soundfile.SoundFile):
        """Never seeks: soundfile would after every read, and the MP3 decoder loses its state."""

        def seekable(self) -> bool:
            return False

    with ExitStack() as stack:
        try:
            file = Onward(native_name(path))
        except soundfile.LibsndfileError:
            ffmpeg = shutil.which("ffmpeg")
            if ffmpeg is None:
                raise
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voxkit-")))
            file = Onward(native_name(_decoded(path, folder / "decoded.wav", ffmpeg)))
        yield stack.enter_context(file)


def _decoded(path: Path, target: Path, ffmpeg: str) -> Path:
    """Let ffmpeg write the first sound track of a file as WAV.  Reads local files alone."""
    source = ["-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
    command = [ffmpeg, "-nostdin", "-v", "error", *source, "-map", "0:a:0", "-c:a", "pcm_f32le"]
    subprocess.run([*command, str(target)], capture_output=True)
    return target  # missing or damaged where ffmpeg failed, which libsndfile will say


def check_readable(path: Path) -> None:
    """Raise `AudioError` in the words of the file system, which libsndfile does not pass on."""
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode):  # opening a pipe would wait for its writer
            path.open("rb").close()
    except FileNotFoundError:
        raise AudioError(f"{path} does not exist: check the path.") from None
    except OSError as error:
        raise AudioError(f"{path} cannot be opened: {error.strerror or error}.") from None
    if stat.S_ISDIR(found.st_mode):
        raise AudioError(f"{path} is a folder: give a sound file.")
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(f"{path} is not an ordinary file: save the sound to a file first.")
    if not found.st_size:
        raise AudioError(f"{path} is empty: record or copy it again.")
    if path.suffix.lower() == ".raw":
        raise AudioError(f"{path} has no header to tell its rate: convert it to wav.")


# ---- writing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """One way to store sound, in libsndfile's words; `rates` is empty where any rate will do."""

    container: str
    encoding: str
    rates: tuple[int, ...] = ()

    def legal_rate(self, rate: int) -> int:
        """Return the lowest rate it can store that keeps all of `rate` Hz, else its highest."""
        return min((r for r in self.rates if r >= rate), default=max(self.rates, default=rate))


_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
FORMATS = {
    "wav": Format("WAV", "PCM_16"),
    "flac": Format("FLAC", "PCM_16"),
    "mp3": Format("MP3", "MPEG_LAYER_III", _MP3_RATES),
    "ogg": Format("OGG", "VORBIS"),
    "opus": Format("OGG", "OPUS", (8_000, 12_000, 16_000, 24_000, 48_000)),
}


def output_format(path: Path, name: str | None = None) -> Format:
    """Return the format called `name`, or else the one `path` ends in.  Raises `OutputError`."""
    asked = path.suffix[1:] if name is None else name
    if asked.lower() in FORMATS:
        return FORMATS[asked.lower()]
    choices = ", ".join(FORMATS)
    if name is None and not asked:
        raise OutputError(f"{path} has no extension: end it in one of {choices}, or use --format.")
    raise OutputError(f"voxkit cannot write {asked!r} files: choose one of {choices}.")


class AudioWriter:
    """Writes a sound file chunk by chunk, in memory that does not grow with its length.

    A context manager.  The file appears under its name when the block ends well; on any failure,
    Ctrl-C included, nothing is left and an earlier file stays.  Raises `OutputError` where the file
    cannot be written, exists already (without `force`), or would be empty.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        *,
        format: str | None = None,
        output_rate: int | None = None,
        force: bool = False,
        title: str | None = None,
        comment: str | None = None,
    ) -> None:
        """`sample_rate` is that of the chunks; the file has `output_rate` or the next legal one."""
        asked = output_rate if output_rate is not None else sample_rate
        if not LOWEST_RATE <= asked <= HIGHEST_RATE:
            raise OutputError(
                f"The sample rate must be {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {asked}."
            )
        self.path = path
        self._format = output_format(path, format)
        self.sample_rate = self._format.legal_rate(asked)  # of the file
        self._chunk_rate = sample_rate
        self._force = force
        self._tags = {"title": title, "comment": comment, "software": "voxkit"}
        self._stack = ExitStack()
        self._resampler: Any = None
        if self.sample_rate != sample_rate:
            import soxr

            self._resampler = soxr.ResampleStream(sample_rate, self.sample_rate, 1)
        self._written = 0

    @property
    def seconds(self) -> float:
        """Duration of what has been written so far."""
        return self._written / self.sample_rate

    def __enter__(self) -> AudioWriter:
        """Open a temporary file beside `path`."""
        import soundfile

        with ExitStack() as stack:
            self._part = stack.enter_context(whole_file(self.path, force=self._force))
            kind = self._format
            with self._explained():
                self._file = soundfile.SoundFile(
                    native_name(self._part),
                    "w",
                    self.sample_rate,
                    1,
                    kind.encoding,
                    format=kind.container,
                )
            stack.callback(self._abandon)
            for tag, value in self._tags.items():
                if value:
                    setattr(self._file, tag, value.replace("\0", "")[:_MOST_TAG])
            self._stack = stack.pop_all()
        return self

    def write(self, audio: Audio) -> None:
        """Append sound at the writer's rate; samples beyond [-1, 1] are clipped."""
        if audio.sample_rate != self._chunk_rate:
            raise ValueError(f"chunk of {audio.sample_rate} Hz, not {self._chunk_rate} Hz")
        if not np.isfinite(audio.samples).all():
            raise ValueError("samples that are not finite")
        samples = audio.samples
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        self._append(samples)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file and give it its name, or remove it if the block failed."""
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._resampler is not None:
                self._append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            if not self._written:
                raise OutputError(f"There is no sound to write, so {self.path} was not made.")
            self._check_room()
            with self._explained():
                self._file.close()

    def _append(self, samples: np.ndarray) -> None:
        """Encode samples at the file's rate, in small blocks.

        libvorbis puts a whole block on the stack, and a long one crashes the process
        (https://github.com/xiph/vorbis/issues/99).
        """
        samples = np.clip(samples, -1.0, 1.0)
        with self._explained():
            for start in range(0, len(samples), 2**14):
                self._file.write(samples[start : start + 2**14])
        self._written += len(samples)

    def _abandon(self) -> None:
        """Close the file without a word: the reason for giving up has been said."""
        import soundfile

        with suppress(soundfile.LibsndfileError):
            self._file.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn libsndfile's "System error" into the reason that the file system gives."""
        import soundfile

        try:
            yield
        except soundfile.LibsndfileError as error:
            self._check_room()
            raise OutputError(
                f"{self.path} could not be written ({error.error_string.rstrip('.')})."
            ) from None

    def _check_room(self) -> None:
        """Raise `OutputError` unless the disk takes what the encoder has yet to write.

        libsndfile does not report a failed write while it closes a file, so the room is tried out
        beforehand.  Random bytes, because a compressing file system stores zeros for nothing.
        """
        block = os.urandom(_CLOSING_BYTES)
        try:
            with self._part.open("r+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                taken = file.write(block)
                file.truncate(end)
            if taken < len(block):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise output_error(self.path, error) from None


_MOST_TAG = 16_000  # characters of a title or comment
_CLOSING_BYTES = 2**18  # more than the largest Ogg page (64 KiB) and FLAC block still in memory


def write_audio(
    path: Path,
    audio: Audio,
    *,
    format: str | None = None,
    output_rate: int | None = None,
    force: bool = False,
    title: str | None = None,
    comment: str | None = None,
) -> None:
    """Write a whole sound to a file, as `AudioWriter` does chunk by chunk."""
    writer = AudioWriter(
        path,
        audio.sample_rate,
        format=format,
        output_rate=output_rate,
        force=force,
        title=title,
        comment=comment,
    )
    with writer:
        writer.write(audio)


def wav_stream_header(sample_rate: int) -> bytes:
    """Return the 44-byte header of a mono 16-bit WAV of unknown length, for a pipe.

    Both size fields hold 0xFFFFFFFF, which players take as "until the stream ends".
    """
    unknown = 0xFFFFFFFF
    riff = struct.pack("<4sI4s", b"RIFF", unknown, b"WAVE")
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return riff + fmt + struct.pack("<4sI", b"data", unknown)


def pcm16(audio: Audio) -> bytes:
    """Return the samples as little-endian 16-bit PCM (2 S bytes), clipped where too loud."""
    if not np.isfinite(audio.samples).all():
        raise ValueError("samples that are not finite")
    return (np.clip(audio.samples, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()
