"""`bench serve` on a real server with a tiny bundle: what it counts, and what it refuses."""

import json
from pathlib import Path

import pytest

from llava_edge.bench.serving.own_server import own_server
from llava_edge.bench.serving.serve_bench import serve_bench, serve_json
from llava_edge.bench.serving.serve_load import LoadPlan
from llava_edge.bench.serving.streamed_request import ChatServer
from llava_edge.errors import LlavaEdgeError


def test_a_server_is_measured_and_left(tiny_bundle: Path, photo_file: Path) -> None:
    plan = LoadPlan(photo_file, "What is it?", 4, clients=(1, 3), questions=2)
    seen: list[int] = []
    found = serve_bench(
        tiny_bundle, plan, rounds=2, parallel=2, soak=40, device="cpu", watch=seen.append
    )
    rows = [(load.clients, load.picture, load.first.runs) for load in found.load]
    assert rows == [(1, "new", 4), (1, "known", 4), (3, "new", 12), (3, "known", 12)]
    assert all(load.throughput.runs == 2 and load.throughput.minimum > 0 for load in found.load)
    assert found.overhead is not None and found.soak is not None
    assert found.overhead.api.runs == found.overhead.http.runs == 8
    assert (found.soak.requests, found.soak.given_up, found.soak.failed) == (40, 12, 0)
    assert found.soak.after.descriptors <= found.soak.before.descriptors + 2
    assert max(seen) == 40
    assert json.loads(serve_json(found))["load"][0]["clients"] == 1


def test_what_another_server_says_is_measured_alike(tiny_bundle: Path, photo_file: Path) -> None:
    plan = LoadPlan(photo_file, "What is it?", 3, clients=(2,), questions=1)
    with own_server(tiny_bundle, "cpu", 2) as own:
        found = serve_bench(tiny_bundle, plan, rounds=1, parallel=2, url=own.url, device="cpu")
        assert (found.server, found.parallel, found.overhead) == (own.url, None, None)
        answer = ChatServer(own.url).ask("What is it?", photo_file.read_bytes(), 3)
        assert answer.tokens == 3 and answer.cached_tokens > 0
        assert 0 < answer.first < answer.seconds
        with pytest.raises(LlavaEdgeError, match="status 400"):
            ChatServer(own.url).ask("What is it?", b"no picture", 3)
    assert not own.process.is_running()
    with pytest.raises(LlavaEdgeError, match="gave no answer"):
        ChatServer(own.url).ask("What is it?", None, 3)


def test_what_cannot_be_served_or_asked(tmp_path: Path) -> None:
    with pytest.raises(LlavaEdgeError, match=r"llava-edge serve failed .*; serve the bundle by"):
        with own_server(tmp_path, "cpu", 1):
            pass
    with pytest.raises(LlavaEdgeError, match="no address of a server"):
        ChatServer("localhost:80")
