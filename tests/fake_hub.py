"""A small model hub on loopback for tests: one repository, every request written down."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/Tiny"
SMALL = (".json", ".yaml", ".txt")  # kept in git; everything else is large
FILES = {
    "cosyvoice2.yaml": b"sample_rate: 24000\n",
    "llm.pt": bytes(range(256)) * 4,
    "flow.pt": b"flow" * 50,
    "hift.pt": b"hift" * 30,
    "speech_tokenizer_v2.onnx": b"tokens" * 40,
    "campplus.onnx": b"speaker" * 40,
    "CosyVoice-BlankEN/vocab.json": b'{"a": 0}',
    "CosyVoice-BlankEN/merges.txt": b"a b\n",
    "flow.decoder.estimator.fp32.onnx": b"needed by nobody" * 100,
    "README.md": b"# Tiny\n",
}
NEEDED = [path for path in FILES if path not in ("README.md", "flow.decoder.estimator.fp32.onnx")]


@dataclass
class FakeHub:
    """What the server offers, how it misbehaves, and what it was asked for."""

    repo: str = REPO
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    commit: str = COMMIT
    endpoint: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    refusal: tuple[int, str] | None = None  # status and X-Error-Code of every answer
    cut_after: dict[str, list[int]] = field(default_factory=dict)  # bytes before each hang-up
    instead: dict[str, bytes] = field(default_factory=dict)  # sent in place of the content
    ignore_range: bool = False
    storage: str = ""  # address of another server that large files are to be fetched from
    tokens: list[str] = field(default_factory=list)  # Authorization of every request
    stall_in: str = ""  # the file after whose first 100 bytes nothing more comes
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def asked(self, method: str, ending: str = "") -> list[str]:
        """Return the ranges of the requests made so far with this method for such files."""
        files = [asked for asked in self.requests if "/resolve/" in asked[1]]
        return [r for m, path, r in files if m == method and path.endswith(ending)]


def etag(path: str, content: bytes) -> str:
    """Return the hub's checksum: sha256 of a large file, the git hash of a small text."""
    if path.endswith(SMALL):
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return hashlib.sha256(content).hexdigest()


def point_to(endpoint: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the hub library of this process use this server and this cache."""
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "AGENT_HARNESSES_PATH": str(home / "harnesses.json"),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """Answer on a free port of this machine while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else every small answer waits 40 ms

        def log_message(self, *_: object) -> None:
            """Keep quiet: `requests` is the log."""

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            wanted = self.headers.get("Range", "")
            hub.requests.append((self.command, self.path.partition("?")[0], wanted))
            hub.tokens.append(self.headers.get("Authorization", ""))
            if hub.refusal is not None:
                status, code = hub.refusal
                return self._send(status, {"X-Error-Code": code}, b"")
            path = self.path.partition("?")[0].lstrip("/")
            if path.startswith(f"api/models/{hub.repo}/revision/"):
                return self._list(path.rpartition("/")[2])
            if not path.startswith(f"{hub.repo}/resolve/"):
                return self._send(404, {"X-Error-Code": "RepoNotFound"}, b"")
            revision, _, name = path.removeprefix(f"{hub.repo}/resolve/").partition("/")
            if revision not in (hub.commit, "main"):
                return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"")
            if name not in hub.files:
                return self._send(404, {"X-Error-Code": "EntryNotFound"}, b"")
            return self._file(name, wanted)

        def _list(self, revision: str) -> None:
            if revision not in (hub.commit, "main"):
                return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"")
            siblings = [{"rfilename": n, "size": len(c)} for n, c in hub.files.items()]
            listing = {"id": hub.repo, "sha": hub.commit, "siblings": siblings}
            return self._send(200, {}, json.dumps(listing).encode())

        def _file(self, name: str, wanted: str) -> None:
            content = hub.files[name]
            head = {"X-Repo-Commit": hub.commit, "ETag": f'"{etag(name, content)}"'}
            if hub.storage and not name.endswith(SMALL):
                head["X-Linked-ETag"], head["X-Linked-Size"] = head.pop("ETag"), str(len(content))
                head["Location"] = f"{hub.storage}{self.path}"
                return self._send(302, head, b"elsewhere")
            if self.command == "HEAD":
                return self._send(200, head, content)
            body, status = hub.instead.get(name, content), 200
            if wanted and not hub.ignore_range:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    return self._send(416, {}, b"")
                head["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body, status = body[start:], 206
            if name == hub.stall_in and self.command == "GET":
                self._send(status, head, body, 100)
                hub.stalled.set()
                hub.released.wait(30)
                return None
            cuts = hub.cut_after.get(name)
            return self._send(status, head, body, cuts.pop(0) if cuts else None)

        def _send(
            self, status: int, head: dict[str, str], body: bytes, cut: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in head.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")  # also ends the connection, and its thread
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
