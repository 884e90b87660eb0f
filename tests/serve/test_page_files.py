"""The page's files: typed, fresh, and allowed nothing but themselves."""

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from running_server import ask, serving
from starlette.applications import Starlette

from llava_edge.serve.page_files import page_routes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page" / "parts").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<!doctype html><p>é")
    (tmp_path / "page" / "parts" / "app.js").write_text("1")
    (tmp_path / "page" / "notes.py").write_text("secret")
    (tmp_path / "outside.js").write_text("secret")
    return tmp_path / "page"


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    with serving(Starlette(routes=page_routes(folder))) as port:
        yield port


def test_files_have_their_types_and_the_policy(port: int) -> None:
    index = ask(port, "/")
    assert index.body == "<!doctype html><p>é".encode() == ask(port, "/index.html").body
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert index.headers["x-content-type-options"] == "nosniff"
    policy = index.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    script = ask(port, "/parts/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["content-security-policy"] == policy
    head = Request(f"http://127.0.0.1:{port}/", method="HEAD")
    with urlopen(head) as reply:
        assert reply.headers["content-length"] == str(len(index.body))


def test_a_file_is_sent_again_only_when_it_has_changed(port: int, folder: Path) -> None:
    first = ask(port, "/parts/app.js")
    assert first.headers["cache-control"] == "no-cache"
    known = [("If-None-Match", first.headers["etag"])]
    again = ask(port, "/parts/app.js", known)
    assert (again.status, again.body) == (304, b"")
    (folder / "parts" / "app.js").write_text("2")
    changed = ask(port, "/parts/app.js", known)
    assert (changed.status, changed.body) == (200, b"2")
    assert ask(port, "/parts/app.js", [("Range", "bytes=0-0")]).status == 200  # not read


def test_nothing_else_is_sent(port: int) -> None:
    for target in ("/notes.py", "/../outside.js", "/%2e%2e/outside.js", "/parts", "//index.html"):
        assert ask(port, target).status == 404
    assert ask(port, "/", method="POST").status == 405


def test_a_folder_without_files_has_no_routes(tmp_path: Path) -> None:
    assert page_routes(tmp_path / "missing") == []
