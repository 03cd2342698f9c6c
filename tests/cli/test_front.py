"""The `voxkit` command as a process: help, versions, exit codes, signals, pipes, completion."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

import voxkit
from voxkit.__main__ import main
from voxkit.cli.app import run

Vox = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[bytes]"]


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Wait for a process and return its status, stdout and stderr."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out.decode(errors="replace"), err.decode()


def test_the_version_is_printed_on_stdout(vox: Vox) -> None:
    result = vox("--version")
    assert (result.status, result.out) == (0, f"voxkit {voxkit.__version__}\n")


def test_the_version_is_that_of_the_package() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{voxkit.__version__}"' in text or 'dynamic = ["version"]' in text
    for found in importlib.metadata.distributions(name="voxkit"):
        assert found.version == voxkit.__version__


@pytest.mark.parametrize("command", [(), ("speak",), ("batch",), ("clone",), ("voices", "list")])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help_on_stdout(vox: Vox, command: tuple[str, ...], flag: str) -> None:
    result = vox(*command, flag)
    assert (result.status, result.err) == (0, "")
    assert "Usage" in result.out


def test_without_a_command_the_help_is_shown(vox: Vox) -> None:
    result = vox()
    assert result.status == 2
    assert "speak" in result.out + result.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("speek",), "Did you mean 'speak'?"),
        (("speak", "--sede", "1"), "--seed"),
        (("speak", "Hi.", "-o"), "-o"),
        (("batch", "lines.txt"), "--output"),
        (("clone", "a.wav"), "--name"),
        (("voices", "lst"), "list"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(
    vox: Vox, words: tuple[str, ...], says: str
) -> None:
    result = vox(*words)
    assert (result.status, result.data) == (2, b"")
    assert says in result.err
    assert "--help" in result.err
    assert result.err.count("\n") == 1


def test_a_bug_keeps_its_traceback(process: Start) -> None:
    status, out, err = ended(process('voxkit speak "This is a bug." -o a.wav'))
    assert (status, out) == (1, "")
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("RuntimeError: tensor sizes do not match\n")


def test_ctrl_c_ends_with_130_and_leaves_no_file(process: Start, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    status, out, err = ended(process('voxkit speak "Please interrupt me. Now." -o a.wav'))
    assert (status, out, err) == (130, "", "Error: Interrupted.\n")
    assert set(tmp_path.iterdir()) == before


def test_ctrl_c_before_a_command_has_begun_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(words: Sequence[str]) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("voxkit.cli.warm.wanted", interrupt)
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (130, "Error: Interrupted.\n")


@pytest.mark.parametrize("how", ["twice", "and tear up an import"])
def test_ctrl_c_at_a_bad_moment_is_still_ctrl_c(process: Start, tmp_path: Path, how: str) -> None:
    before = set(tmp_path.iterdir())
    status, out, err = ended(process(f'voxkit speak "Please interrupt me {how}. Now." -o a.wav'))
    assert (status, out, err) == (130, "", "Error: Interrupted.\n")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_at_a_bad_moment_of_a_batch_makes_no_failed_line(
    process: Start, tmp_path: Path, jobs: str
) -> None:
    text = "One.\nPlease interrupt me and tear up an import.\nThree.\n"
    (tmp_path / "lines.txt").write_text(text, encoding="utf-8")
    status, out, err = ended(process(f"voxkit batch lines.txt -o out --jobs {jobs}"))
    assert (status, out) == (130, "")
    assert err.endswith("Error: Interrupted.\n")
    rows = (tmp_path / "out/manifest.jsonl").read_text(encoding="utf-8")
    assert "failed" not in rows and "half an import" not in err


def test_a_request_to_end_cleans_up(process: Start, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    status, out, err = ended(process('voxkit speak "Please terminate me. Now." -o a.wav'))
    assert (status, out, err) == (143, "", "")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_request_to_end_leaves_the_lines_of_a_batch_that_were_made(
    process: Start, tmp_path: Path, jobs: str
) -> None:
    text = "One.\nTwo.\nThree.\nPlease terminate me.\n" + "Much more to be spoken later.\n" * 9
    (tmp_path / "lines.txt").write_text(text, encoding="utf-8")
    status, out, _ = ended(process(f"voxkit batch lines.txt -o out --jobs {jobs}"))
    assert (status, out) == (143, "")
    rows = (tmp_path / "out/manifest.jsonl").read_text(encoding="utf-8").splitlines()
    done = {row["path"] for row in map(json.loads, rows)}
    assert {row["status"] for row in map(json.loads, rows)} == {"done"}
    assert 2 <= len(done) < 13  # with two at once, one before the fourth may not have ended
    assert {path.name for path in (tmp_path / "out").iterdir()} == done | {"manifest.jsonl"}


def test_a_closed_pipe_ends_quietly_as_for_other_tools(process: Start) -> None:
    script = 'voxkit speak "$(yes "Too much text." | head -n 500)" -o - -q | head -c 99 >/dev/null'
    status, out, err = ended(process(script + "; echo ${PIPESTATUS[0]}"))
    assert (status, out, err) == (0, "141\n", "")


def test_a_reader_that_never_reads_is_no_error(process: Start) -> None:
    status, out, err = ended(process("voxkit voices list | true; echo ${PIPESTATUS[0]}"))
    assert out in ("0\n", "141\n")
    assert (status, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a Linux device")
@pytest.mark.parametrize(
    "words", ['speak "Hello." -o - -q', "voices list", "models list --json", "--version", "-h"]
)
def test_a_full_disk_is_one_sentence(process: Start, words: str) -> None:
    status, _, err = ended(process(f"voxkit {words} > /dev/full"))
    assert status == 1
    assert err == "Error: The disk is full: free some space and try again.\n"


@pytest.mark.parametrize(
    "words", ["voices list 1</dev/null", "speak Hi. -o - -q 1</dev/null", "speak -o a 0>/dev/null"]
)
def test_a_stream_of_the_wrong_kind_is_one_sentence(process: Start, words: str) -> None:
    status, _, err = ended(process(f"voxkit {words}"))
    assert (status, err) == (1, "Error: The operating system refuses: bad file descriptor.\n")


def test_a_working_folder_that_is_gone_is_one_sentence(process: Start) -> None:
    status, _, err = ended(process("mkdir g; cd g; rmdir ../g; voxkit speak Hi. -o a.wav"))
    assert status == 1
    assert err == "Error: The folder that you work in is gone: change to one that is there.\n"


def test_a_text_that_can_be_no_file_name_is_spoken(vox: Vox) -> None:
    assert vox("speak", "“Quite” — she said… " * 9, "-o", "a.wav", "-q").status == 0


def test_closed_streams_are_no_bug(process: Start, tmp_path: Path) -> None:
    assert ended(process('voxkit speak "Hello." -o a.wav >&- 2>&-'))[0] == 0
    assert (tmp_path / "a.wav").exists()
    status, _, err = ended(process('voxkit speak "Hello." -o - >&-'))
    assert (status, err) == (1, "Error: Standard output is closed: name a file with -o instead.\n")


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "voxkit", "--version"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.decode() == f"voxkit {voxkit.__version__}\n"


def test_the_shell_completes_commands_and_voices(process: Start) -> None:
    def offered(line: str) -> str:
        words = len(line.split(" ")) - 1
        variables = f'_TYPER_COMPLETE_ARGS="{line}" COMP_WORDS="{line}" COMP_CWORD={words}'
        status, out, err = ended(process(f"{variables} _VOXKIT_COMPLETE=complete_bash voxkit "))
        assert (status, err) == (0, "")
        return out

    assert offered("v sp").split() == ["speak"]
    assert offered("v speak -v a").split() == ["anna"]
    assert offered("v speak --model v").split() == ["voxkit-en"]


def test_a_completion_script_can_be_shown(process: Start) -> None:
    # The shell stays: which one it writes for, the command learns from the processes above it.
    status, out, _ = ended(process("voxkit --show-completion bash; exit $?"))
    assert status == 0
    assert "_VOXKIT_COMPLETE" in out


def test_words_on_a_terminal_are_not_wrapped_at_80_columns(vox: Vox, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    result = vox("speak", "Hello.", "-o", "missing-folder/with/a/rather/long/name/indeed.wav")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert os.sep in result.err


def test_the_training_commands_are_found_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    assert "corpus" in capsys.readouterr().out
