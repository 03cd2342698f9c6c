"""Hub models are fetched, resumed, checked, found and removed; a small hub runs on loopback."""

from __future__ import annotations

import errno
import hashlib
import os
import runpy
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_hub import COMMIT, FILES, NEEDED, REPO, FakeHub, etag, point_to, serve
from filelock import FileLock
from huggingface_hub import (
    close_session,
    constants,
    hf_hub_download,
    scan_cache_dir,
    try_to_load_from_cache,
)
from safetensors.numpy import save_file

from voxkit import catalogue, download, hub
from voxkit.catalogue import HubFile, HubModel
from voxkit.errors import ModelError

OTHER_COMMIT = "f" * 40
LLM = FILES["llm.pt"]


class Recorder:
    """A watcher that writes down what it hears, and can break off a download."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.error = error

    def begin(self, model: str, files: int, size: int, folder: Path) -> None:
        self.heard.append(("begin", model, files, size, folder))

    def step(self, words: str, size: int, done: int) -> None:
        self.heard.append(("step", words, size, done))

    def advance(self, count: int) -> None:
        self.heard.append(("advance", count))
        if self.error is not None:
            raise self.error


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A running hub with `FILES`, and an empty cache in `tmp_path`."""
    with serve(FakeHub()) as running:
        point_to(running.endpoint, tmp_path, monkeypatch)
        yield running


@pytest.fixture(scope="module", autouse=True)
def _one_session() -> Iterator[None]:
    """Close the library's session once: making one reads all certificates of the machine."""
    yield
    close_session()


@pytest.fixture
def tiny(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> HubModel:
    """A known model called `tiny`, made of the needed files of the running hub."""
    files = tuple(
        HubFile(path, len(FILES[path]), hashlib.sha256(FILES[path]).hexdigest()[:16])
        for path in NEEDED
    )
    return know(HubModel("tiny", REPO, COMMIT, "cosyvoice2", "A tiny model", files), monkeypatch)


def know(model: HubModel, monkeypatch: pytest.MonkeyPatch) -> HubModel:
    others = catalogue.known()
    monkeypatch.setattr(catalogue, "known", lambda: (model, *others))
    return model


def block_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was used")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


# ---- what is known ----------------------------------------------------------------------------


def test_known_models_have_pinned_commits_sizes_and_checksums() -> None:
    sizes = {model.name: round(model.size / 1e9, 2) for model in hub.known()}
    assert sizes == {"cosyvoice2": 3.09, "cosyvoice3": 4.44}
    for model in hub.known():
        assert catalogue.is_commit(model.revision)
        assert all(file.size for file in model.files)
        unchecked = [
            f.path for f in model.files if f.sha256 is None and not f.path.endswith("yaml")
        ]
        assert not unchecked


def test_looking_around_imports_neither_torch_nor_the_hub_library() -> None:
    code = (
        "import sys; from voxkit import hub; hub.known(); hub.cached(); hub.locate('cosyvoice2'); "
        "sys.exit(len({'torch', 'huggingface_hub', 'httpx2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_answered_with_the_near_ones() -> None:
    with pytest.raises(
        ModelError, match="no model called 'cosyvoice': give cosyvoice3 or cosyvoice2"
    ):
        hub.locate("cosyvoice")


@pytest.mark.parametrize("name", ["../../etc/passwd/x", "./owner/name", "a/../b", "/no/where", ""])
def test_what_is_no_name_is_never_asked_of_the_hub(server: FakeHub, name: str) -> None:
    with pytest.raises(ModelError, match="There is no model called"):
        hub.pull(name)
    assert server.requests == []


def test_a_local_folder_is_a_model_by_its_path(server: FakeHub, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert hub.locate(folder) == hub.pull(str(folder)) == folder
    assert server.requests == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"XDG_CACHE_HOME": "/x"},
        {"HF_HOME": "~/models", "XDG_CACHE_HOME": "/x"},
        {"HF_HOME": "/a", "HUGGINGFACE_HUB_CACHE": "/b"},
        {"HF_HOME": "$HOME/a", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HUB_CACHE": "$HOME/c"},
    ],
)
def test_the_cache_is_where_the_hub_library_has_it(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    library = runpy.run_path(constants.__file__)
    assert str(hub.cache_folder()) == library["HF_HUB_CACHE"]
    assert str(catalogue.home_folder()) == library["HF_HOME"]


# ---- pull -------------------------------------------------------------------------------------


def test_a_pull_fetches_the_needed_files_and_no_others(server: FakeHub, tiny: HubModel) -> None:
    folder = hub.pull("tiny")
    here = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    assert here == {path: FILES[path] for path in NEEDED}
    assert len(server.asked("GET")) == len(NEEDED)


def test_the_size_is_said_before_the_first_byte(tiny: HubModel) -> None:
    recorder = Recorder()
    hub.pull("tiny", watcher=recorder)
    assert recorder.heard[0] == ("begin", "tiny", len(NEEDED), tiny.size, hub.cache_folder())
    fetched = sum(h[2] for h in recorder.heard if h[0] == "step" and h[1] in NEEDED)  # type: ignore[misc]
    assert fetched == tiny.size


def test_a_whole_model_is_not_asked_for_again(server: FakeHub, tiny: HubModel) -> None:
    folder = hub.pull("tiny")
    server.requests.clear()
    assert hub.pull("tiny") == hub.locate("tiny") == folder
    assert server.requests == []


def test_the_hub_library_finds_what_voxkit_fetched(tiny: HubModel) -> None:
    folder = hub.pull("tiny")
    for path in NEEDED:
        assert try_to_load_from_cache(
            REPO, path, revision=COMMIT, cache_dir=hub.cache_folder()
        ) == str(folder / path)
    scan = scan_cache_dir(hub.cache_folder())
    assert scan.warnings == []
    assert [(repo.repo_id, repo.size_on_disk) for repo in scan.repos] == [(REPO, tiny.size)]


def test_voxkit_finds_what_the_hub_library_fetched(server: FakeHub, tiny: HubModel) -> None:
    for path in NEEDED:
        assert hub.locate("tiny") is None
        found = hf_hub_download(REPO, path, revision=COMMIT, cache_dir=hub.cache_folder())
    assert hub.locate("tiny") == Path(found).parents[1]
    assert hub.verify("tiny") == []


def test_a_connection_that_breaks_is_taken_up_again(server: FakeHub, tiny: HubModel) -> None:
    server.cut_after["llm.pt"] = [100, 50]
    folder = hub.pull("tiny")
    assert server.asked("GET", "llm.pt") == ["", "bytes=100-", "bytes=150-"]
    assert (folder / "llm.pt").read_bytes() == LLM


def test_large_files_come_from_another_server_which_never_sees_the_token(
    server: FakeHub, tiny: HubModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve(FakeHub(cut_after={"llm.pt": [100]})) as storage:
        server.storage = storage.endpoint
        folder = hub.pull("tiny")
    assert (folder / "llm.pt").read_bytes() == LLM
    assert storage.asked("GET", "llm.pt") == ["", "bytes=100-"]
    assert {*storage.tokens} == {""}
    assert "Bearer hf_secret" in server.tokens


def test_a_broken_download_is_continued_by_the_next_pull(server: FakeHub, tiny: HubModel) -> None:
    server.cut_after["llm.pt"] = [100, 0]
    with pytest.raises(ModelError, match="cannot be reached .*what has arrived is kept"):
        hub.pull("tiny")
    assert hub.locate("tiny") is None
    server.requests.clear()
    recorder = Recorder()
    folder = hub.pull("tiny", watcher=recorder)
    assert server.asked("GET", "llm.pt") == ["bytes=100-"]
    assert (folder / "llm.pt").read_bytes() == LLM
    assert ("step", "llm.pt", len(LLM), 100) in recorder.heard
    begin = next(h for h in recorder.heard if h[0] == "begin")
    assert begin[3] == tiny.size - 100 - len(FILES["cosyvoice2.yaml"])


def test_who_waits_for_another_download_is_told(server: FakeHub, tiny: HubModel) -> None:
    locks = catalogue.cache_folder() / ".locks" / f"models--{REPO.replace('/', '--')}"
    locks.mkdir(parents=True)
    other = FileLock(locks / f"{etag('llm.pt', LLM)}.lock")
    other.acquire()

    class Waiter(Recorder):
        """Ends the other download on hearing that it is waited for."""

        def step(self, words: str, size: int, done: int) -> None:
            super().step(words, size, done)
            if words.startswith("waiting"):
                other.release()

    waiter = Waiter()
    folder = hub.pull("tiny", watcher=waiter)
    waits = [h[1] for h in waiter.heard if h[0] == "step" and "wait" in str(h[1])]
    assert waits == ["waiting for who fetches llm.pt"]
    assert (folder / "llm.pt").read_bytes() == LLM


def test_ctrl_c_keeps_what_has_arrived(server: FakeHub, tiny: HubModel) -> None:
    with pytest.raises(KeyboardInterrupt):
        hub.pull("tiny", watcher=Recorder(KeyboardInterrupt()))
    server.requests.clear()
    hub.pull("tiny")
    assert server.asked("GET", "cosyvoice2.yaml") == []
    assert len(server.asked("GET")) == len(NEEDED) - 1


def test_a_hub_that_cannot_continue_sends_the_file_anew(server: FakeHub, tiny: HubModel) -> None:
    server.cut_after["llm.pt"] = [100, 0]
    with pytest.raises(ModelError):
        hub.pull("tiny")
    server.ignore_range = True
    assert (hub.pull("tiny") / "llm.pt").read_bytes() == LLM


def test_a_file_that_the_hub_cuts_short_is_named(server: FakeHub, tiny: HubModel) -> None:
    server.instead["llm.pt"] = LLM[:300]
    with pytest.raises(ModelError, match=r"llm\.pt of someone/Tiny is cut short.* 300 of 1,024"):
        hub.pull("tiny")


def test_a_file_that_arrives_damaged_is_thrown_away(server: FakeHub, tiny: HubModel) -> None:
    server.instead["llm.pt"] = b"x" + LLM[1:]
    with pytest.raises(ModelError, match=r"llm\.pt of someone/Tiny arrived damaged .*checksum"):
        hub.pull("tiny")
    assert hub.locate("tiny") is None
    server.instead.clear()
    assert (hub.pull("tiny") / "llm.pt").read_bytes() == LLM


@pytest.mark.parametrize("content", [b"x" + LLM[1:], LLM + b"more"])
def test_another_file_than_the_known_one_is_refused_before_it_is_fetched(
    server: FakeHub, tiny: HubModel, content: bytes
) -> None:
    server.files["llm.pt"] = content
    with pytest.raises(ModelError, match=r"another llm\.pt in someone/Tiny"):
        hub.pull("tiny")
    assert server.asked("GET") == []


def test_a_revision_that_the_hub_lacks_is_named(server: FakeHub, tiny: HubModel) -> None:
    server.commit = OTHER_COMMIT
    with pytest.raises(ModelError, match=f"someone/Tiny has no revision {COMMIT}"):
        hub.pull("tiny")
    with pytest.raises(ModelError, match="someone/Tiny has no revision v9"):
        hub.pull(f"{REPO}@v9")


def test_a_file_that_the_hub_lacks_is_named(server: FakeHub, tiny: HubModel) -> None:
    del server.files["hift.pt"]
    with pytest.raises(ModelError, match=r"someone/Tiny has no file hift\.pt at revision 0123"):
        hub.pull("tiny")


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "GatedRepo", "someone/Tiny is gated: accept its terms"),
        (404, "RepoNotFound", "has no model someone/Tiny"),
        (503, "", r"answered 503 for cosyvoice2\.yaml of someone/Tiny"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence(
    server: FakeHub, tiny: HubModel, status: int, code: str, sentence: str
) -> None:
    server.refusal = (status, code)
    with pytest.raises(ModelError, match=sentence) as caught:
        hub.pull("tiny")
    assert "\n" not in str(caught.value)


def test_a_hub_out_of_reach_is_one_sentence(
    tiny: HubModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    point_to(f"http://127.0.0.1:{port}", tmp_path, monkeypatch)
    with pytest.raises(ModelError, match="cannot be reached .*check the network"):
        hub.pull("tiny")


def test_a_server_that_is_no_hub_is_one_sentence(
    tiny: HubModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fake_hub.etag", lambda path, content: "../../elsewhere")
    with pytest.raises(ModelError, match="does not answer like a model hub"):
        hub.pull("tiny")


def test_a_full_disk_is_noticed_before_the_first_byte(
    server: FakeHub, tiny: HubModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=tiny.size - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match=r"tiny needs 1\.9 kB more in .* and 1\.9 kB is free"):
        hub.pull("tiny")
    assert server.asked("GET") == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=tiny.size))
    hub.pull("tiny")


def test_a_disk_that_fills_up_meanwhile_is_one_sentence(tiny: HubModel) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(ModelError, match=r"cannot take tiny \(No space left on device\)"):
        hub.pull("tiny", watcher=Recorder(full))
    assert hub.pull("tiny") == hub.locate("tiny")


# ---- offline ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_offline_uses_what_is_here_and_no_socket(
    server: FakeHub, tiny: HubModel, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    folder = hub.pull("tiny")
    server.requests.clear()
    block_sockets(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", by == "environment")
    assert hub.pull("tiny", offline=by == "flag") == folder
    assert hub.verify("tiny") == []
    assert hub.info("tiny").folder == folder
    assert [found.name for found in hub.cached()] == ["tiny"]
    assert hub.remove("tiny") == tiny.size
    with pytest.raises(
        ModelError, match="offline: run `voxkit models pull tiny` once while online"
    ):
        hub.pull("tiny", offline=by == "flag")
    assert server.requests == []


def test_offline_says_when_only_a_part_is_here(server: FakeHub, tiny: HubModel) -> None:
    server.cut_after["llm.pt"] = [100, 0]
    with pytest.raises(ModelError):
        hub.pull("tiny")
    with pytest.raises(ModelError, match="tiny is only partly on this machine"):
        hub.pull("tiny", offline=True)


# ---- verify -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (LLM[:9] + b"?" + LLM[10:], "llm.pt has the checksum"),
        (LLM[:1000], "llm.pt ends after 1,000 of 1,024 bytes."),
        (LLM + b"x", "llm.pt has 1,025 bytes instead of 1,024."),
        (None, "llm.pt is missing."),
    ],
)
def test_damage_is_found_and_only_the_damaged_file_is_fetched_again(
    server: FakeHub, tiny: HubModel, content: bytes | None, complaint: str
) -> None:
    folder = hub.pull("tiny")
    assert hub.verify("tiny") == []
    blob = (folder / "llm.pt").resolve()
    if content is None:
        blob.unlink()
    else:
        blob.write_bytes(content)
    problems = hub.verify("tiny")
    assert [problem.path for problem in problems] == ["llm.pt"]
    assert problems[0].message.startswith(complaint)
    server.requests.clear()
    hub.pull("tiny")
    assert [path.rpartition("/")[2] for m, path, _ in server.requests if m == "GET"] == ["llm.pt"]
    assert hub.verify("tiny") == []


def test_files_of_any_hub_model_are_checked_against_the_hubs_own_sums(server: FakeHub) -> None:
    folder = hub.pull(REPO)
    for path in ("CosyVoice-BlankEN/merges.txt", "flow.pt"):  # a git hash and a sha256
        whole = (folder / path).read_bytes()
        (folder / path).resolve().write_bytes(b"?" + whole[1:])
    found = [problem.path for problem in hub.verify(REPO)]
    assert found == ["flow.pt", "CosyVoice-BlankEN/merges.txt"]


def test_weights_that_are_no_numbers_are_damage(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"family": "native"}')
    weights = {"a": np.ones(4, np.float16), "b": np.array([1.0, np.nan], np.float16)}
    save_file(weights, tmp_path / "model.safetensors")
    (problem,) = hub.verify(tmp_path)
    assert problem.message == "model.safetensors holds weights that are not finite (b)."


def test_verifying_what_is_not_here_names_the_command(tiny: HubModel) -> None:
    with pytest.raises(ModelError, match="run `voxkit models pull tiny`"):
        hub.verify("tiny")


def test_a_local_folder_is_checked_for_the_files_of_its_family(
    server: FakeHub, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(hub.pull(REPO), folder)
    for name in ("llm.pt", "flow.pt", "hift.pt"):
        with zipfile.ZipFile(folder / name, "w") as file:  # as torch writes them
            file.writestr("data.pkl", bytes(1000))
    assert hub.verify(folder) == []
    (folder / "llm.pt").write_bytes((folder / "llm.pt").read_bytes()[:500])
    (folder / "flow.pt").write_bytes(b"")
    (folder / "hift.pt").unlink()
    (folder / "CosyVoice-BlankEN" / "vocab.json").write_text('{"a": 0, "b')
    assert [p.message for p in hub.verify(folder)] == [
        "llm.pt is cut short or holds no weights.",
        "flow.pt is empty.",
        "hift.pt is missing.",
        "CosyVoice-BlankEN/vocab.json is cut short or no JSON.",
    ]


# ---- any hub id -------------------------------------------------------------------------------


def test_any_hub_id_of_a_known_layout_can_be_pulled(server: FakeHub) -> None:
    folder = hub.pull(REPO)
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*")) == sorted(NEEDED)
    assert hub.locate(REPO) == hub.locate(f"{REPO}@{COMMIT}") == folder
    assert hub.pull(REPO, offline=True) == folder
    assert catalogue.family_of(folder) == "cosyvoice2"


def test_pulling_a_branch_again_follows_it(server: FakeHub) -> None:
    old = hub.pull(REPO)
    server.commit, server.files["llm.pt"] = OTHER_COMMIT, b"new weights"
    server.requests.clear()
    new = hub.pull(REPO)
    assert (new / "llm.pt").read_bytes() == b"new weights"
    assert len(server.asked("GET", ".pt")) == 1, "files that did not change are fetched again"
    assert hub.locate(REPO) == new
    hub.remove(f"{REPO}@{COMMIT}")
    assert not old.exists()
    assert hub.verify(REPO) == []


def test_a_voxkit_model_on_the_hub_can_be_pulled(server: FakeHub) -> None:
    server.files = {
        "config.json": b'{"family": "native"}',
        "model.safetensors": b"weights",
        "model.bin": b"a pickle",
        "voices/ann.safetensors": b"voice",
    }
    folder = hub.pull(REPO)
    here = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))
    assert here == ["config.json", "model.safetensors", "voices/ann.safetensors"]
    assert hub.locate(REPO) == folder


def test_a_repository_of_something_else_is_refused_before_its_weights(server: FakeHub) -> None:
    server.files = {"config.json": b'{"model_type": "x"}', "model.safetensors": b"weights"}
    with pytest.raises(ModelError, match="someone/Tiny holds no model that voxkit can read"):
        hub.pull(REPO)
    assert server.asked("GET", ".safetensors") == []
    server.files = {"README.md": b"# Nothing"}
    with pytest.raises(ModelError, match="someone/Tiny holds no model that voxkit can read"):
        hub.pull(REPO)


def test_an_older_layout_is_refused_by_name(server: FakeHub) -> None:
    server.files["cosyvoice.yaml"] = server.files.pop("cosyvoice2.yaml")
    with pytest.raises(ModelError, match="older layout: use cosyvoice2 or cosyvoice3"):
        hub.pull(REPO)


def test_a_listed_name_that_leaves_the_folder_is_refused(server: FakeHub) -> None:
    server.files["../../../evil.json"] = b"{}"
    with pytest.raises(ModelError, match="does not answer like a model hub"):
        hub.pull(REPO)


# ---- describe and remove ----------------------------------------------------------------------


def test_info_tells_how_much_is_here(server: FakeHub, tiny: HubModel) -> None:
    before = hub.info("tiny")
    assert (before.folder, before.present, before.size) == (None, {}, tiny.size)
    server.cut_after["llm.pt"] = [100, 0]
    with pytest.raises(ModelError):
        hub.pull("tiny")
    partly = hub.info("tiny")
    assert (partly.folder, list(partly.present)) == (None, ["cosyvoice2.yaml"])
    folder = hub.pull("tiny")
    after = hub.info("tiny")
    assert (after.folder, sum(after.present.values())) == (folder, tiny.size)
    assert (after.repo, after.revision, after.family) == (REPO, COMMIT, "cosyvoice2")


def test_the_cache_lists_whole_models_only(server: FakeHub, tiny: HubModel) -> None:
    folder = hub.pull("tiny")
    foreign = hub.cache_folder() / "models--other--Bert" / "snapshots" / OTHER_COMMIT
    foreign.mkdir(parents=True)
    (foreign / "config.json").write_text('{"model_type": "bert"}')
    assert [(found.name, found.folder) for found in hub.cached()] == [("tiny", folder)]
    (folder / "llm.pt").unlink()
    assert hub.cached() == ()


def test_removing_leaves_nothing_of_the_model(server: FakeHub, tiny: HubModel) -> None:
    made = hub.converted(hub.pull("tiny"), "cosyvoice2", lambda old, new: None)
    record = sum(path.stat().st_size for path in made.iterdir())
    assert hub.remove("tiny") == tiny.size + record
    assert [p for p in hub.cache_folder().rglob("*") if p.is_file()] == []
    with pytest.raises(ModelError, match="tiny is not on this machine"):
        hub.remove("tiny")


def test_removing_a_broken_download_frees_its_bytes(server: FakeHub, tiny: HubModel) -> None:
    server.cut_after["llm.pt"] = [100, 0]
    with pytest.raises(ModelError):
        hub.pull("tiny")
    assert hub.remove("tiny") == 100 + len(FILES["cosyvoice2.yaml"])


@pytest.mark.parametrize("name", [REPO, f"{REPO}@main"])
def test_removing_a_broken_download_of_a_branch_frees_its_bytes(server: FakeHub, name: str) -> None:
    server.cut_after["hift.pt"] = [50, 0]
    with pytest.raises(ModelError):
        hub.pull(name)
    with pytest.raises(ModelError, match="is only partly on this machine"):
        hub.info(name)
    assert hub.remove(name) >= len(LLM)
    assert [p for p in hub.cache_folder().rglob("*") if p.is_file()] == []


def test_removing_a_branch_leaves_a_whole_revision(server: FakeHub) -> None:
    hub.pull(f"{REPO}@{COMMIT}")
    server.commit = OTHER_COMMIT
    server.files["llm.pt"] = b"other" * 300
    server.cut_after["llm.pt"] = [100, 0]
    with pytest.raises(ModelError):
        hub.pull(REPO)
    assert hub.remove(REPO) > 0
    assert hub.locate(f"{REPO}@{COMMIT}") is not None
    with pytest.raises(ModelError, match="there is nothing to remove"):
        hub.remove(REPO)


def test_removing_leaves_what_another_program_fetched_in_part(
    server: FakeHub, tiny: HubModel
) -> None:
    folder = hub.pull("tiny")
    other = folder.with_name(OTHER_COMMIT) / "tokenizer.json"
    other.parent.mkdir()
    other.write_bytes(b"{}")
    hub.remove("tiny")
    assert (folder.exists(), other.read_bytes()) == (False, b"{}")
    with pytest.raises(ModelError, match="there is nothing to remove"):
        hub.remove("tiny")


def test_a_model_that_is_removed_while_it_is_fetched_is_one_sentence(tiny: HubModel) -> None:
    watcher = Recorder(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    with pytest.raises(ModelError, match="tiny was removed while it was fetched"):
        hub.pull("tiny", watcher=watcher)


def test_only_the_conversion_of_a_folder_of_the_users_own_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "llm.pt").write_bytes(b"weights")
    made = hub.converted(mine, "cosyvoice2", lambda old, new: None)
    assert hub.remove(mine) > 0
    assert (made.exists(), (mine / "llm.pt").exists()) == (False, True)


def test_a_damaged_conversion_is_told_and_dropped_by_the_next_pull(tiny: HubModel) -> None:
    def convert(old: Path, new: Path) -> None:
        (new / "vocoder.safetensors").write_bytes(b"whole")

    made = hub.converted(hub.pull("tiny"), "cosyvoice2", convert)
    (made / "vocoder.safetensors").write_bytes(b"who")
    (problem,) = hub.verify("tiny")
    assert problem.message == f"{made}/vocoder.safetensors has 3 bytes instead of 5."
    hub.pull("tiny")
    assert (made.exists(), hub.verify("tiny")) == (False, [])


def test_a_folder_of_the_users_own_is_never_removed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder of yours"):
        hub.remove(tmp_path)
    assert tmp_path.is_dir()


def test_sizes_read_as_people_write_them() -> None:
    sizes = [0, 999, 1000, 28_303_423, 3_085_855_310]
    assert [hub.human(n) for n in sizes] == ["0 bytes", "999 bytes", "1.0 kB", "28.3 MB", "3.09 GB"]


def test_damage_reads_a_git_hash(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"hello\n")
    assert download.damage(file, 6, ["ce013625030ba8dba906f756967f9e9ca394464a"]) is None
    assert download.damage(file, 6, ["0e013625030ba8dba906f756967f9e9ca394464a"]) is not None


def test_a_repair_drops_the_conversion_of_the_damaged_files(tiny: HubModel) -> None:
    folder = hub.pull("tiny")
    made = hub.converted(folder, "cosyvoice2", lambda old, new: None)
    assert hub.pull("tiny") == folder
    assert hub.info("tiny").converted == (made,)
    (folder / "llm.pt").resolve().write_bytes(b"?")
    hub.pull("tiny")
    assert hub.info("tiny").converted == ()
