"""`llava-edge bench serve`: a server under load, beside the API, and in the long run."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from llava_edge.bench.call_runtime import open_bundle
from llava_edge.bench.machine_info import Machine, describe_machine
from llava_edge.bench.serving.own_server import OwnServer, own_server
from llava_edge.bench.serving.serve_load import LoadPlan, LoadResult, serve_load
from llava_edge.bench.serving.serve_overhead import Overhead, serve_overhead
from llava_edge.bench.serving.serve_soak import Soak, serve_soak
from llava_edge.bench.serving.streamed_request import ChatServer


@dataclass(frozen=True)
class ServeBench:
    """What was measured of a server; None for what was not asked for."""

    server: str
    date: str
    machine: Machine
    parallel: int | None  # of llava-edge's own
    load: tuple[LoadResult, ...]
    overhead: Overhead | None
    soak: Soak | None


def serve_bench(
    bundle: Path | str | None,
    plan: LoadPlan,
    *,
    rounds: int,
    parallel: int,
    soak: int = 0,
    url: str | None = None,
    device: str = "auto",
    watch: Callable[[int], None] = lambda done: None,
) -> ServeBench:
    """Measure llava-edge's server for a bundle, or the one at `url`; raises LlavaEdgeError."""
    started = nullcontext(None) if url else own_server(bundle, device, parallel)
    with started as own:
        server = ChatServer(own.url if own else str(url))
        load = serve_load(server, plan, rounds)
        soaked = _soak(server, own, plan, soak, watch) if own and soak else None
        # The API is loaded last, so that it takes no memory from the load.
        model = open_bundle(bundle, device)
        beside = serve_overhead(model, server, plan, 4 * rounds) if own else None
    return ServeBench(
        server=url or model.config.name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(model.device),
        parallel=None if url else parallel,
        load=tuple(load),
        overhead=beside,
        soak=soaked,
    )


def serve_json(found: ServeBench) -> str:
    """The result as one line of JSON."""
    return json.dumps(asdict(found))


def _soak(
    server: ChatServer, own: OwnServer, plan: LoadPlan, requests: int, watch: Callable[[int], None]
) -> Soak:
    return serve_soak(server, own.process, plan.image.read_bytes(), requests, watch)
