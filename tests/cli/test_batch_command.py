"""`voxkit batch`: one file a line, resumable, and never at the cost of a file of the user's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from voxkit.audio import read_audio
from voxkit.cli.manifest import Entry, sole_writer

Vox = Callable[..., Any]
OUT = Path("out")


@pytest.fixture
def lines() -> Callable[..., None]:
    """Write the batch's input."""

    def write(*texts: str) -> None:
        Path("lines.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")

    return write


def names() -> list[str]:
    """The visible and hidden files of the output folder."""
    return sorted(p.name for p in OUT.iterdir())


def manifest() -> list[dict[str, Any]]:
    """The entries of the manifest."""
    return [json.loads(row) for row in (OUT / "manifest.jsonl").read_text("utf-8").splitlines()]


def report(vox: Vox, *more: str) -> dict[str, Any]:
    """Run the batch and return its JSON report."""
    return json.loads(vox("batch", "lines.txt", "-o", "out", "--json", "-q", *more).out)


def counts(vox: Vox, *more: str) -> tuple[int, int, int, int]:
    """Run the batch and return how many lines were made, kept, renamed, failed."""
    done = report(vox, *more)
    return done["made"], done["kept"], done["renamed"], done["failed"]


# ---- what comes out ---------------------------------------------------------------------------


def test_each_line_that_is_not_empty_becomes_a_file(vox: Vox, lines: Any, checkpoint: Any) -> None:
    lines("Hello there.", "", "   ", "It's a fine day, isn't it?")
    result = vox("batch", "lines.txt", "-o", "out")
    assert result.status == 0
    assert names() == ["0001_hello-there.wav", "0002_its-a-fine-day-isnt-it.wav", "manifest.jsonl"]
    assert len(checkpoint.loads) == 1


def test_the_manifest_tells_what_became_of_each_line(vox: Vox, lines: Any) -> None:
    lines("Hello there.", "Grüße.")
    vox("batch", "lines.txt", "-o", "out", "-v", "bert")
    hello, regards = manifest()
    path = OUT / hello["path"]
    assert hello["duration"] == pytest.approx(read_audio(path).seconds)
    assert hello["bytes"] == path.stat().st_size
    assert re.fullmatch("[0-9a-f]{32}", hello["hash"])
    kept = {k: hello[k] for k in ("text", "voice", "status", "path", "error", "unsaid")}
    assert kept == {
        "text": "Hello there.",
        "voice": "bert",
        "status": "done",
        "path": "0001_hello-there.wav",
        "error": None,
        "unsaid": [],
    }
    assert (regards["text"], regards["unsaid"]) == ("Grüße.", ["üß"])


def test_one_line_alone_sounds_as_it_did_in_the_batch(vox: Vox, lines: Any) -> None:
    lines("Hello there.", "Another line.", "A third one.")
    vox("batch", "lines.txt", "-o", "out", "--seed", "7", "--jobs", "2", "--speed", "1.5")
    for entry in manifest():
        words = ("--seed", str(entry["seed"]), "--speed", "1.5", "-f")
        vox("speak", entry["text"], "-o", "alone.wav", *words)
        assert Path("alone.wav").read_bytes() == (OUT / entry["path"]).read_bytes()


def test_equal_lines_sound_different_and_another_seed_changes_all(vox: Vox, lines: Any) -> None:
    lines("Again.", "Again.")
    vox("batch", "lines.txt", "-o", "out")
    first = {entry["id"]: entry["seed"] for entry in manifest()}
    assert len(set(first.values())) == 2
    assert counts(vox, "--seed", "1") == (2, 0, 0, 0)
    assert not set(first.values()) & {entry["seed"] for entry in manifest()}


def test_more_jobs_make_the_same_files(vox: Vox, lines: Any) -> None:
    lines(*(f"Line number {i}." for i in range(8)))
    vox("batch", "lines.txt", "-o", "out")
    one = {name: (OUT / name).read_bytes() for name in names() if name.endswith("wav")}
    assert counts(vox, "--jobs", "4", "--force") == (8, 0, 0, 0)
    assert one == {name: (OUT / name).read_bytes() for name in names() if name.endswith("wav")}


def test_format_rate_and_name_template_are_honoured(vox: Vox, lines: Any) -> None:
    lines("Hello there.")
    words = ("--format", "flac", "--sample-rate", "16000", "--name-template", "take-{index}")
    vox("batch", "lines.txt", "-o", "out", *words)
    assert read_audio(OUT / "take-1.flac").sample_rate == 16_000


def test_lines_may_come_from_a_pipe(vox: Vox) -> None:
    assert vox("batch", "-", "-o", "out", stdin=b"One.\r\nTwo.\r\n").status == 0
    assert [entry["text"] for entry in manifest()] == ["One.", "Two."]


def test_the_report_is_one_object(vox: Vox, lines: Any) -> None:
    lines("Hello there.", "Bad: unspeakable.")
    done = report(vox)
    assert done.pop("rtf") > 0
    failures = done.pop("failures")
    assert done == {
        "folder": "out",
        "manifest": "out/manifest.jsonl",
        "lines": 2,
        "made": 1,
        "kept": 0,
        "renamed": 0,
        "failed": 1,
        "left": 0,
        "seconds": 0.6,
    }
    assert (failures[0]["index"], failures[0]["error"]) == (
        2,
        "The model fell silent: use another seed.",
    )


# ---- running again ----------------------------------------------------------------------------


def test_a_second_run_has_nothing_to_do(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.")
    assert counts(vox) == (2, 0, 0, 0)
    before = {p: p.stat().st_mtime_ns for p in OUT.glob("*.wav")}
    assert counts(vox) == (0, 2, 0, 0)
    assert before == {p: p.stat().st_mtime_ns for p in OUT.glob("*.wav")}


def test_a_missing_file_is_made_again(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.")
    vox("batch", "lines.txt", "-o", "out")
    content = (OUT / "0002_two.wav").read_bytes()
    (OUT / "0002_two.wav").unlink()
    assert counts(vox) == (1, 1, 0, 0)
    assert (OUT / "0002_two.wav").read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        ("--speed", "2"),
        ("-v", "bert"),
        ("--seed", "9"),
        ("--sample-rate", "16000"),
        ("--quantize", "int8"),
        ("--dtype", "fp32"),
        ("--compile",),
    ],
)
def test_a_change_of_how_to_speak_makes_all_lines_again(
    vox: Vox, lines: Any, change: tuple[str, ...]
) -> None:
    lines("One.", "Two.")
    vox("batch", "lines.txt", "-o", "out")
    assert counts(vox, *change) == (2, 0, 0, 0)
    assert counts(vox, *change) == (0, 2, 0, 0)


def test_another_model_makes_all_lines_again(
    vox: Vox, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines("One.")
    vox("batch", "lines.txt", "-o", "out")
    monkeypatch.setattr("fake_engine.FakeEngine.spec.revision", "2")
    assert counts(vox) == (1, 0, 0, 0)


def test_a_voice_of_another_model_fails_once_not_on_every_line(
    vox: Vox, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines("One.", "Two.")
    monkeypatch.setattr("fake_engine.FakeEngine.fingerprint", "fake:0002")
    result = vox("batch", "lines.txt", "-o", "out")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "fake:0001" in result.err


def test_a_voice_that_was_cloned_anew_makes_its_lines_again(
    vox: Vox, lines: Any, reference: Path
) -> None:
    lines("One.")
    assert vox("clone", str(reference), "--name", "me", "--i-have-rights").status == 0
    assert counts(vox, "-v", "me") == (1, 0, 0, 0)
    assert counts(vox, "-v", "me") == (0, 1, 0, 0)
    from fake_engine import voice

    from voxkit.library import add_voice

    add_voice(voice("me", 300.0), force=True)
    assert counts(vox, "-v", "me") == (1, 0, 0, 0)


def test_a_changed_line_is_made_and_the_old_file_left(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.")
    vox("batch", "lines.txt", "-o", "out")
    lines("One.", "Three.")
    assert counts(vox) == (1, 1, 0, 0)
    assert names() == ["0001_one.wav", "0002_three.wav", "0002_two.wav", "manifest.jsonl"]
    assert [entry["status"] for entry in manifest()] == ["done", "done", "left"]


def test_a_line_that_comes_back_needs_no_new_speech(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.")
    vox("batch", "lines.txt", "-o", "out")
    lines("One.")
    assert counts(vox) == (0, 1, 0, 0)
    lines("One.", "Two.")
    assert counts(vox) == (0, 2, 0, 0)
    assert [entry["status"] for entry in manifest()] == ["done", "done"]


def test_an_inserted_line_renames_the_files_after_it(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.", "Two.")
    vox("batch", "lines.txt", "-o", "out")
    old = {entry["id"]: (OUT / entry["path"]).read_bytes() for entry in manifest()}
    lines("One.", "New.", "Two.", "Two.")
    assert counts(vox) == (1, 1, 2, 0)
    assert names() == [
        "0001_one.wav",
        "0002_new.wav",
        "0003_two.wav",
        "0004_two.wav",
        "manifest.jsonl",
    ]
    new = {entry["id"]: (OUT / entry["path"]).read_bytes() for entry in manifest()}
    assert old.items() <= new.items()


def test_lines_that_swap_places_swap_names(vox: Vox, lines: Any) -> None:
    lines("Two.", "One.")
    vox("batch", "lines.txt", "-o", "out", "--name-template", "{index}")
    one = (OUT / "2.wav").read_bytes()
    lines("One.", "Two.")
    assert counts(vox, "--name-template", "{index}") == (0, 0, 2, 0)
    assert (OUT / "1.wav").read_bytes() == one
    assert names() == ["1.wav", "2.wav", "manifest.jsonl"]


def test_a_kill_while_files_change_names_loses_none(
    vox: Vox, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = ("--name-template", "{index}")
    lines("Two.", "One.", "Three.")
    vox("batch", "lines.txt", "-o", "out", *template)
    contents = {entry["text"]: (OUT / entry["path"]).read_bytes() for entry in manifest()}
    lines("One.", "Three.", "Two.")
    replace, left = os.replace, 0

    def killed(source: Any, target: Any) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        replace(source, target)

    for steps in range(8):  # three step aside, the manifest, three take their names
        left = steps
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            vox("batch", "lines.txt", "-o", "out", *template)
    done = report(vox, *template)
    assert (done["made"], done["failed"]) == (0, 0)
    assert {e["text"]: (OUT / e["path"]).read_bytes() for e in manifest()} == contents
    assert [e["path"] for e in manifest()] == ["1.wav", "2.wav", "3.wav"]
    assert names() == ["1.wav", "2.wav", "3.wav", "manifest.jsonl"]


def test_a_line_made_anew_under_another_name_leaves_no_old_file(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.")
    vox("batch", "lines.txt", "-o", "out")
    lines("New.", "One.", "Two.")
    assert counts(vox, "--speed", "2") == (3, 0, 0, 0)
    assert names() == ["0001_new.wav", "0002_one.wav", "0003_two.wav", "manifest.jsonl"]


def test_another_format_replaces_the_files_of_the_first(vox: Vox, lines: Any) -> None:
    lines("One.")
    vox("batch", "lines.txt", "-o", "out")
    assert counts(vox, "--format", "flac") == (1, 0, 0, 0)
    assert names() == ["0001_one.flac", "manifest.jsonl"]


# ---- failures ---------------------------------------------------------------------------------


def test_a_failing_line_stops_no_other_and_is_summed_up(vox: Vox, lines: Any) -> None:
    lines("One.", "Bad: unspeakable.", "!!!", "Four.")
    result = vox("batch", "lines.txt", "-o", "out")
    assert result.status == 1
    assert "2 made, 2 failed" in result.err
    assert "Line 2 ('Bad: unspeakable.'): The model fell silent" in result.err
    assert [entry["status"] for entry in manifest()] == ["done", "failed", "failed", "done"]
    assert names() == ["0001_one.wav", "0004_four.wav", "manifest.jsonl"]


def test_failed_lines_are_tried_again(
    vox: Vox, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines("One.", "Bad: unspeakable.")
    with monkeypatch.context():
        assert counts(vox) == (1, 0, 0, 1)
    assert counts(vox) == (0, 1, 0, 1)


def test_a_bug_in_one_line_lets_the_others_finish_and_keeps_its_traceback(
    vox: Vox, lines: Any
) -> None:
    lines("One.", "This is a bug.", "Three.")
    with pytest.raises(RuntimeError, match="tensor sizes do not match"):
        vox("batch", "lines.txt", "-o", "out")
    assert [entry["status"] for entry in manifest()] == ["done", "failed", "done"]


def test_after_ctrl_c_finished_files_and_a_valid_manifest_remain(vox: Vox, lines: Any) -> None:
    lines("One.", "Now interrupt me.", *("Much more text to be spoken later." for _ in range(20)))
    result = vox("batch", "lines.txt", "-o", "out")
    assert result.status == 130
    assert "run again to go on" in result.err
    done = {entry["path"] for entry in manifest() if entry["status"] == "done"}
    assert "0001_one.wav" in done
    assert len(done) < 22
    assert set(names()) == done | {"manifest.jsonl"}


def test_ctrl_c_does_not_wait_for_the_piece_that_a_line_is_making(vox: Vox, lines: Any) -> None:
    lines("This line never ends.", "Now interrupt me.", "Three.")
    result = vox("batch", "lines.txt", "-o", "out", "--jobs", "2")
    assert result.status == 130
    assert "0001_this-line-never-ends.wav" not in names()


def test_a_file_of_the_users_is_not_overwritten(vox: Vox, lines: Any) -> None:
    OUT.mkdir()
    (OUT / "0001_one.wav").write_bytes(b"mine")
    lines("One.", "Two.")
    result = vox("batch", "lines.txt", "-o", "out")
    assert result.status == 1
    assert "0001_one.wav is in the way" in result.err
    assert (OUT / "0001_one.wav").read_bytes() == b"mine"
    assert (OUT / "0002_two.wav").exists()
    assert counts(vox, "--force") == (2, 0, 0, 0)


def test_a_file_that_was_edited_since_is_kept_and_not_overwritten(vox: Vox, lines: Any) -> None:
    lines("One.")
    vox("batch", "lines.txt", "-o", "out")
    (OUT / "0001_one.wav").write_bytes(b"trimmed by hand")
    assert counts(vox) == (0, 1, 0, 0)
    told = vox("batch", "lines.txt", "-o", "out").err
    assert "Kept as somebody has changed them since: 0001_one.wav;" in told
    assert counts(vox, "--speed", "2") == (0, 0, 0, 1)
    assert (OUT / "0001_one.wav").read_bytes() == b"trimmed by hand"


def test_an_empty_file_is_made_again(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.")
    vox("batch", "lines.txt", "-o", "out")
    whole = (OUT / "0001_one.wav").read_bytes()
    (OUT / "0001_one.wav").write_bytes(b"")
    assert counts(vox) == (1, 1, 0, 0)
    assert (OUT / "0001_one.wav").read_bytes() == whole


def test_two_batches_do_not_write_into_one_folder(vox: Vox, lines: Any) -> None:
    lines("One.")
    OUT.mkdir()
    with sole_writer(OUT):
        result = vox("batch", "lines.txt", "-o", "out")
        assert vox("batch", "lines.txt", "-o", "out", "--dry-run").status == 0
    assert (result.status, names()) == (1, [])
    assert "Another batch is writing into out" in result.err
    assert counts(vox) == (1, 0, 0, 0)


def test_a_line_that_fails_later_still_knows_its_own_file(vox: Vox, lines: Any) -> None:
    lines("One.")
    vox("batch", "lines.txt", "-o", "out")
    with pytest.MonkeyPatch.context() as patch:
        from voxkit.errors import TextError

        def fail(*_: Any) -> None:
            raise TextError("Not today: come again.")

        patch.setattr("fake_engine.FakeEngine.prepare", fail)
        assert counts(vox, "--speed", "2") == (0, 0, 0, 1)
    assert counts(vox, "--speed", "2") == (1, 0, 0, 0)


# ---- wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ("", (), "holds no text"),
        ("One.", ("--name-template", "{nothing}"), "{index}"),
        ("One.", ("--name-template", "{index"), "cannot be used"),
        ("One.", ("--name-template", "../{index}"), "plain, short file name"),
        ("One.", ("--name-template", ""), "plain, short file name"),
        ("One.\nOne.", ("--name-template", "{slug}"), "Lines 1 and 2"),
        ("One.", ("-v", "nobody"), "no voice"),
    ],
)
def test_what_cannot_work_is_said_before_the_model_is_loaded(
    vox: Vox, checkpoint: Any, text: str, words: tuple[str, ...], says: str
) -> None:
    Path("lines.txt").write_text(text)
    result = vox("batch", "lines.txt", "-o", "out", *words)
    assert result.status == 1
    assert says in result.err
    assert result.err.count("\n") == 1
    assert not checkpoint.loads


def test_an_output_that_is_a_file_is_refused(vox: Vox, lines: Any, checkpoint: Any) -> None:
    lines("One.")
    Path("out").write_bytes(b"mine")
    result = vox("batch", "lines.txt", "-o", "out")
    assert (result.status, result.err) == (1, "Error: out is not a folder: give one with -o.\n")
    assert not checkpoint.loads


def test_a_foreign_manifest_is_not_overwritten(vox: Vox, lines: Any) -> None:
    lines("One.")
    OUT.mkdir()
    (OUT / "manifest.jsonl").write_text('{"audio": "a.wav"}\n')
    result = vox("batch", "lines.txt", "-o", "out")
    assert result.status == 1
    assert "line 1, is not of a voxkit batch" in result.err
    assert (OUT / "manifest.jsonl").read_text() == '{"audio": "a.wav"}\n'


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../mine.wav"},
        {"path": "/tmp/mine.wav"},
        {"path": ".."},
        {"path": None},
        {"path": "a" * 300},
        {"id": []},
        {"id": "../mine"},
        {"text": "\ud800"},
        {"bytes": "6"},
    ],
)
def test_a_manifest_that_no_batch_wrote_touches_nothing(
    vox: Vox, lines: Any, change: dict[str, Any]
) -> None:
    lines("One.")
    vox("batch", "lines.txt", "-o", "out")
    Path("mine.wav").write_bytes(b"mine")
    (entry,) = manifest()
    row = json.dumps(entry | {"bytes": 4, "hash": "x"} | change) + "\n"
    (OUT / "manifest.jsonl").write_text(row)
    (OUT / "0001_one.wav").unlink()
    result = vox("batch", "lines.txt", "-o", "out")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "is not of a voxkit batch" in result.err
    assert Path("mine.wav").read_bytes() == b"mine"
    assert (OUT / "manifest.jsonl").read_text() == row


@pytest.mark.parametrize("template", ["\udcff{index}", "{index:999999999999d}", "a\n{index}"])
def test_names_that_no_file_should_have_are_refused(
    vox: Vox, lines: Any, checkpoint: Any, template: str
) -> None:
    lines("One.")
    result = vox("batch", "lines.txt", "-o", "out", "--name-template", template)
    assert (result.status, checkpoint.loads, result.err.count("\n")) == (1, [], 1)


def test_a_torn_last_line_of_the_manifest_is_forgiven(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.")
    vox("batch", "lines.txt", "-o", "out")
    data = (OUT / "manifest.jsonl").read_bytes()
    (OUT / "manifest.jsonl").write_bytes(data[:-20])
    (OUT / "0002_two.wav").unlink()
    assert counts(vox) == (1, 1, 0, 0)
    assert (OUT / "manifest.jsonl").read_bytes() == data


def test_a_dry_run_only_tells(vox: Vox, lines: Any) -> None:
    lines("One.", "Two.")
    result = vox("batch", "lines.txt", "-o", "out", "--dry-run")
    rows = [row.split("\t") for row in result.out.splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("make", "0001_one.wav", "One."),
        ("make", "0002_two.wav", "Two."),
    ]
    assert not OUT.exists()
    vox("batch", "lines.txt", "-o", "out")
    assert [int(row[2]) for row in rows] == [entry["seed"] for entry in manifest()]
    lines("Two.")
    told = json.loads(vox("batch", "lines.txt", "-o", "out", "--dry-run", "--json").out)
    assert [(job["action"], job["path"]) for job in told] == [("rename", "0001_two.wav")]


def test_the_manifest_entry_holds_what_the_readme_promises() -> None:
    promised = {"id", "text", "voice", "seed", "duration", "path", "hash", "status"}
    assert promised <= set(Entry.__dataclass_fields__)


def test_lines_are_spoken_together_or_apart_and_not_both(vox: Vox, lines: Any) -> None:
    lines("One.")
    result = vox("batch", "lines.txt", "-o", "out", "--jobs", "2", "--together", "2")
    assert result.status == 2
    assert "--jobs: cannot go with --together" in result.err
    assert not OUT.exists()
