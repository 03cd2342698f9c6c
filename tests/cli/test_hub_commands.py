"""`voxkit models pull | path | verify | rm | info`, against a hub on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_hub import COMMIT, FILES, NEEDED, REPO, FakeHub, point_to, serve
from huggingface_hub import close_session
from safetensors.numpy import save_file

from voxkit import checkpoint, conversion
from voxkit.cli.app import run

SIZE = sum(len(FILES[path]) for path in NEEDED)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A running hub, which this process uses."""
    with serve(FakeHub()) as running:
        point_to(running.endpoint, tmp_path, monkeypatch)
        yield running
    close_session()


def start(server: FakeHub, home: Path, *words: str, **more: str) -> subprocess.Popen[bytes]:
    """Start voxkit in a process of its own that knows the hub from its environment only."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGINGFACE_"))}
    environment = {
        **plain,
        "HF_ENDPOINT": server.endpoint,
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        **more,
    }
    command = [sys.executable, "-m", "voxkit", "models", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe)


def test_pull_prints_the_folder_and_says_the_size_on_stderr(
    server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "pull", REPO]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}/hub/models--someone--Tiny/snapshots/{COMMIT}\n"
    assert err == f"Fetching someone/Tiny: 1.9 kB in 8 files into {tmp_path}/hub.\n"
    assert run(["models", "path", REPO]) == 0
    assert capsys.readouterr() == (out, "")


def test_a_quiet_pull_says_nothing_on_stderr(
    server: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "pull", REPO, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_pull_and_info_report_as_json(server: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "pull", REPO, "--json"]) == 0
    pulled = json.loads(capsys.readouterr().out)
    assert run(["models", "info", REPO, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pulled
    assert (pulled["bytes"], pulled["revision"], pulled["family"]) == (SIZE, COMMIT, "cosyvoice2")
    assert [file["path"] for file in pulled["files"]] == NEEDED


def test_verify_says_what_is_damaged_and_how_to_repair_it(
    server: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["models", "pull", REPO])
    folder = Path(capsys.readouterr().out.strip())
    assert run(["models", "verify", REPO]) == 0
    assert capsys.readouterr() == ("", f"{REPO} is whole: 8 files are as they should be.\n")
    (folder / "flow.pt").resolve().write_bytes(b"flow")
    assert run(["models", "verify", REPO, "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["problems"][0]["file"] == "flow.pt"
    assert "Warning: flow.pt has the checksum " in err
    assert f"Error: {REPO} is damaged: run `voxkit models pull {REPO}` to repair it." in err
    assert run(["models", "pull", REPO]) == run(["models", "verify", REPO]) == 0


def test_rm_says_what_it_freed(server: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    run(["models", "pull", REPO])
    capsys.readouterr()
    assert run(["models", "rm", REPO]) == 0
    assert capsys.readouterr() == ("", f"Removed {REPO}: 1.9 kB freed.\n")
    assert run(["models", "path", REPO]) == 1
    assert f"run `voxkit models pull {REPO}` first" in capsys.readouterr().err


def test_info_describes_a_known_model_that_is_not_here(
    server: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "info", "cosyvoice2"]) == 0
    out = capsys.readouterr().out
    assert "size\t3.09 GB, 0 bytes on this machine\n" in out
    assert "llm.pt\t2.02 GB, missing\n" in out
    assert server.requests == []


def test_of_a_folder_of_the_users_own_only_the_conversion_goes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "llm.pt").write_bytes(b"weights")
    conversion.converted(mine, "cosyvoice2", lambda old, new: None)
    assert run(["models", "rm", str(mine)]) == 0
    assert f"Removed what was converted from {mine}: " in capfd.readouterr().err
    assert (mine / "llm.pt").is_file()
    assert run(["models", "rm", str(mine)]) == 1


def test_the_bundled_model_is_found_but_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"family": "native"}')
    save_file({"weights": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    bundled = checkpoint.ModelInfo("voxkit-en", "native", tmp_path, 7, True, "In the box")
    monkeypatch.setattr(checkpoint, "bundled", lambda: (bundled,))
    for command in ("pull", "path"):
        assert run(["models", command, "voxkit-en"]) == 0
        assert capsys.readouterr() == (f"{tmp_path}\n", "")
    assert run(["models", "verify", "voxkit-en"]) == 0
    assert run(["models", "rm", "voxkit-en"]) == 1
    assert "voxkit-en is a part of voxkit" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("how", [{"HF_HUB_OFFLINE": "1"}, {"flag": "--offline"}])
def test_offline_commands_ask_the_hub_nothing(
    server: FakeHub, tmp_path: Path, how: dict[str, str]
) -> None:
    words = [how["flag"]] if "flag" in how else []
    more = {} if "flag" in how else how
    process = start(server, tmp_path, "pull", REPO, *words, **more)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert err.decode() == (
        f"Error: {REPO} is not on this machine and voxkit is offline: "
        f"run `voxkit models pull {REPO}` once while online.\n"
    )
    assert server.requests == []


def test_ctrl_c_ends_a_download_politely_and_the_next_one_finishes_it(
    server: FakeHub, tmp_path: Path
) -> None:
    server.stall_in = "llm.pt"
    process = start(server, tmp_path, "pull", REPO)
    assert server.stalled.wait(60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().endswith("Error: Interrupted.\n")
    assert "Traceback" not in err.decode()
    server.stall_in = ""
    server.requests.clear()
    process = start(server, tmp_path, "pull", REPO)
    out, _ = process.communicate(timeout=60)
    assert (Path(out.decode().strip()) / "llm.pt").read_bytes() == FILES["llm.pt"]
    assert server.asked("GET", "cosyvoice2.yaml") == []
