"""A hub on this machine: it serves the files of one repository over HTTP, and can stop sending in the middle."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c" * 40
NAME = "somebody/tiny"


@dataclass
class FakeHub:
    """Where it is, and what was asked of it.

    Attributes:
        asked: Files that were downloaded.
        stalls: Whether it sends one byte of each file and then nothing more.
    """

    files: dict[str, bytes]
    endpoint: str = ""
    stalls: bool = False
    asked: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: FakeHub, *words: object) -> None:
        self.hub = hub
        super().__init__(*words)  # type: ignore[arg-type]

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        place = self.path.partition("?")[0]
        if place.startswith(f"/api/models/{NAME}"):
            revision = place.partition("/revision/")[2] or COMMIT
            if revision not in (COMMIT, "main"):
                return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": name} for name in self.hub.files]
            info = {"id": NAME, "modelId": NAME, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            return self.send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        name = place.removeprefix(f"/{NAME}/resolve/{COMMIT}/")
        if name not in self.hub.files:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
        head = {"X-Repo-Commit": COMMIT, "ETag": f'"{name.encode().hex()}"'}
        if with_body:
            self.hub.asked.append(name)
        return self.send(200, self.hub.files[name], head, with_body=with_body)

    def send(self, status: int, content: bytes, head: dict[str, str], *, with_body: bool = True) -> None:
        self.send_response(status)
        for key, value in (head | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if with_body and self.hub.stalls and "ETag" in head:
            self.wfile.write(content[:1])
            self.wfile.flush()
            self.hub.over.wait()
        elif with_body:
            self.wfile.write(content)


@contextmanager
def fake_hub(folder: Path, *, stalls: bool = False) -> Iterator[FakeHub]:
    """Serve the files of `folder` as the commit `COMMIT` of the model `NAME`."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub = FakeHub(files, stalls=stalls)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, hub)) as server:
        server.daemon_threads, server.block_on_close = True, False
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        hub.over.set()
        server.shutdown()
