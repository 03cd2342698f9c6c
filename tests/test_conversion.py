"""A foreign checkpoint is converted once, whole or not at all, and again when it must be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from voxkit import conversion, hub
from voxkit.errors import ModelError

HEADLESS = "is cut short or holds no weights"  # true of what `Converter` writes
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Converter:
    """Copies `llm.pt` under another name and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, source: Path, target: Path) -> None:
        self.calls += 1
        (target / "llm.safetensors").write_bytes((source / "llm.pt").read_bytes()[::-1])


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


@pytest.fixture(params=["snapshot", "folder"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint, once in the hub cache and once in a folder of the user's."""
    place = f"home/hub/models--a--B/snapshots/{COMMIT}" if request.param == "snapshot" else "mine"
    made = tmp_path / place
    made.mkdir(parents=True)
    (made / "llm.pt").write_bytes(b"weights")
    return made


def test_a_checkpoint_is_converted_once(folder: Path) -> None:
    convert = Converter()
    first = hub.converted(folder, "cosyvoice2", convert)
    assert (first / "llm.safetensors").read_bytes() == b"sthgiew"
    assert hub.converted(folder, "cosyvoice2", convert) == first
    assert convert.calls == 1
    assert conversion.existing(folder) == (first,)


def test_a_revision_tells_one_checkpoint_from_another(folder: Path) -> None:
    first = conversion.revision(folder)
    assert conversion.revision(folder) == first
    if folder.name == COMMIT:
        assert first == COMMIT
    else:
        (folder / "llm.pt").write_bytes(b"other weights")
        assert conversion.revision(folder) != first


def test_nothing_is_written_into_the_checkpoints_own_folder(folder: Path) -> None:
    hub.converted(folder, "cosyvoice2", Converter())
    assert [p.name for p in folder.iterdir()] == ["llm.pt"]


def test_a_conversion_that_fails_leaves_nothing_and_is_tried_again(folder: Path) -> None:
    def fail(source: Path, target: Path) -> None:
        (target / "llm.safetensors").write_bytes(b"half")
        raise ModelError("llm.pt is not what it should be.")

    with pytest.raises(ModelError, match=r"llm\.pt is not what it should be"):
        hub.converted(folder, "cosyvoice2", fail)
    assert conversion.existing(folder) == ()
    made = hub.converted(folder, "cosyvoice2", Converter())
    assert [p.read_bytes() for p in made.glob("*.safetensors")] == [b"sthgiew"]


def test_a_conversion_that_was_killed_half_way_is_done_again(folder: Path, tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from voxkit import hub

def convert(source, target):
    (target / "leftover.safetensors").write_bytes(b"half")
    os._exit(7)

hub.converted(Path({str(folder)!r}), "cosyvoice2", convert)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == 7
    assert list(tmp_path.rglob("leftover.safetensors")), "the killed process left its half"
    assert conversion.existing(folder) == ()
    made = hub.converted(folder, "cosyvoice2", Converter())
    assert sorted(p.name for p in made.iterdir()) == ["llm.safetensors", "made.json"]
    assert not list(tmp_path.rglob("leftover.safetensors"))


@pytest.mark.parametrize("torn", [None, b"sth"])
def test_a_conversion_that_lost_bytes_is_named_and_made_again(
    folder: Path, torn: bytes | None
) -> None:
    made = hub.converted(folder, "cosyvoice2", Converter())
    assert conversion.damaged(folder) == [(str(made / "llm.safetensors"), HEADLESS)]
    file = made / "llm.safetensors"
    file.unlink() if torn is None else file.write_bytes(torn)
    why = "is missing" if torn is None else "has 3 bytes instead of 7"
    assert conversion.damaged(folder) == [(str(file), why)]
    again = Converter()
    assert hub.converted(folder, "cosyvoice2", again) == made
    assert (again.calls, file.read_bytes()) == (1, b"sthgiew")


def test_the_next_conversion_drops_those_of_folders_that_are_gone(tmp_path: Path) -> None:
    made = []
    for name in ("one", "other", "third"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "llm.pt").write_bytes(b"weights")
        made.append(hub.converted(tmp_path / name, "cosyvoice2", Converter()))
        if name == "one":
            shutil.rmtree(tmp_path / name)
    assert [path.is_dir() for path in made] == [False, True, True]


def test_two_at_once_convert_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, waiting = threading.Event(), threading.Event()
    convert, results = Converter(), []
    acquire = filelock.FileLock.acquire

    def watched(lock: filelock.FileLock) -> object:
        if started.is_set():
            waiting.set()
        return acquire(lock)

    def slow(source: Path, target: Path) -> None:
        convert(source, target)
        started.set()
        assert waiting.wait(30), "nobody else came to the lock"

    monkeypatch.setattr(filelock.FileLock, "acquire", watched)
    threads = [
        threading.Thread(target=lambda: results.append(hub.converted(folder, "cosyvoice2", slow)))
        for _ in range(2)
    ]
    threads[0].start()
    assert started.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join(30)
    assert convert.calls == 1
    assert len(results) == 2
    assert len(set(results)) == 1


def test_a_newer_converter_converts_again_and_drops_the_old(folder: Path) -> None:
    convert = Converter()
    old = hub.converted(folder, "cosyvoice2", convert, version=1)
    other = hub.converted(folder, "cosyvoice3", convert, version=1)
    new = hub.converted(folder, "cosyvoice2", convert, version=2)
    assert convert.calls == 3
    assert not old.exists()
    assert set(conversion.existing(folder)) == {new, other}


def test_a_changed_file_in_a_folder_is_converted_again(tmp_path: Path) -> None:
    folder, convert = tmp_path / "mine", Converter()
    folder.mkdir()
    (folder / "llm.pt").write_bytes(b"weights")
    old = hub.converted(folder, "cosyvoice2", convert)
    (folder / "llm.pt").write_bytes(b"tuned weights")
    new = hub.converted(folder, "cosyvoice2", convert)
    assert (new / "llm.safetensors").read_bytes() == b"sthgiew denut"
    assert not old.exists()


def test_two_folders_of_one_name_do_not_share_a_conversion(tmp_path: Path) -> None:
    made = []
    for parent in ("a", "b"):
        folder = tmp_path / parent / "mine [v2]"
        folder.mkdir(parents=True)
        (folder / "llm.pt").write_bytes(parent.encode())
        os.utime(folder / "llm.pt", (0, 0))
        made.append(hub.converted(folder, "cosyvoice2", Converter()))
    assert [(m / "llm.safetensors").read_bytes() for m in made] == [b"a", b"b"]


def test_dropping_deletes_every_conversion_of_a_checkpoint(folder: Path) -> None:
    hub.converted(folder, "cosyvoice2", Converter())
    hub.converted(folder, "cosyvoice3", Converter())
    conversion.drop(folder)
    assert conversion.existing(folder) == ()
    assert (folder / "llm.pt").exists()


def test_a_full_disk_is_noticed_before_converting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=len(b"weights") - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    convert = Converter()
    with pytest.raises(ModelError, match="Converting .* once needs .* make room"):
        hub.converted(folder, "cosyvoice2", convert)
    assert convert.calls == 0


def test_a_place_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ModelError, match="cannot be written .*set HF_HOME to a folder of yours"):
        hub.converted(tmp_path, "cosyvoice2", Converter())


def test_a_shared_cache_that_cannot_be_written_gets_its_conversion_in_the_users_home(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    made = hub.converted(folder, "cosyvoice2", Converter())
    assert made.parent == tmp_path / "home" / "voxkit"


def test_what_the_converter_raises_reaches_the_caller_unchanged(folder: Path) -> None:
    (folder / "llm.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"llm\.pt"):
        hub.converted(folder, "cosyvoice2", Converter())
