"""A server that speaks as the Hugging Face hub does, and holds one model."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

NAME = "somebody/tiny-llava"
CHUNK = 10 * 2**20  # bytes: what the client writes at once, and so what it goes on from
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """One model; a file in `breaks` breaks off in the middle, as often as it stands there."""

    folder: Path
    breaks: list[str]
    sent: list[tuple[str, int]]  # files, and from which byte on
    paths: list[str]  # of all requests

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.paths.append(path)
        if path.startswith("/api/models/somebody/gated"):
            return self._refuse(403, "GatedRepo")
        if path.startswith("/api/models/somebody/down"):
            return self._refuse(503, "Overloaded")
        if path.startswith("/api/models/somebody/garbled"):
            return self._json("<html>", as_it_is=True)
        if path.startswith(f"/api/models/{NAME}/tree/"):
            return self._json(self._tree())
        if path.startswith(f"/api/models/{NAME}"):
            return self._json(self._about())
        if match := re.fullmatch(rf"/{NAME}/resolve/{COMMIT}/(.+)", path):
            return self._file(match[1], body)
        return self._refuse(404, "RepoNotFound")

    def _about(self) -> dict[str, Any]:
        files = sorted(path.name for path in self.folder.iterdir())
        siblings = [{"rfilename": name} for name in files]
        return {"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": siblings, "private": False}

    def _tree(self) -> list[dict[str, Any]]:
        files = sorted(self.folder.iterdir())
        kind = {"type": "file", "oid": COMMIT}
        return [{**kind, "path": path.name, "size": path.stat().st_size} for path in files]

    def _json(self, content: object, *, as_it_is: bool = False) -> None:
        data = (str(content) if as_it_is else json.dumps(content)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, code: int, reason: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", reason)
        self.send_header("X-Error-Message", reason)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, name: str, body: bool) -> None:
        data = (self.folder / name).read_bytes()
        start = int(re.findall(r"\d+", self.headers.get("Range", "bytes=0-"))[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not body:
            return
        self.sent.append((name, start))
        if name in self.breaks:
            self.breaks.remove(name)
            self.wfile.write(data[start : max(start, len(data) // 2)])
            self.connection.close()
            return
        self.wfile.write(data[start:])


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, type[Hub]]]:
    """A hub whose model has the files of a folder: its address, and what it was asked for."""
    handler = type("OneHub", (Hub,), {"folder": folder, "breaks": [], "sent": [], "paths": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()


def settings(endpoint: str, cache: Path) -> dict[str, str]:
    """The environment of a process that asks this hub, which is read when its client is imported.

    Without Xet, since the hub's address is then the only one.
    """
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "*",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HF_HUB_ETAG_TIMEOUT": "2",
    }
