"""The verb `serve`: OpenAI's API and a page over bundles, until it is told to end."""

import logging
from collections.abc import Sequence
from pathlib import Path

from llava_edge.errors import UsageError
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.serve.answer_desk import AnswerDesk
from llava_edge.serve.app import make_app
from llava_edge.serve.http_server import HttpServer, listening_socket, url_of
from llava_edge.serve.metrics import Metrics
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.model_memory import ModelMemory
from llava_edge.serve.model_pool import ModelPool
from llava_edge.serve.serve_settings import SERVE_DEFAULTS, ServeSettings

_log = logging.getLogger(__name__)


def serve(
    bundles: Sequence[Path | str] = (),
    device: str = "auto",
    *,
    context: int | None = None,
    gpu_memory: int | None = None,
    alias: str | None = None,
    settings: ServeSettings = SERVE_DEFAULTS,
) -> None:
    """Serve bundles until SIGTERM or Ctrl-C.

    - bundles: none for the one that `llava_edge.load` takes by default. A single one is loaded at
      once, several when they are asked for.
    - device, context, gpu_memory: as `llava_edge.load` takes them.
    - alias: the name that clients are told of a single bundle, instead of its own.

    Where they are served and every request, without its words, are logged at level INFO by the
    logger "llava_edge". Raises UsageError for an address that cannot be had and for bundles of one
    name, and what `load` raises for a single bundle.
    """

    def load_model(path: Path) -> Llava:
        contexts = settings.parallel
        return load(path, device, context=context, contexts=contexts, gpu_memory=gpu_memory)

    if alias is not None and len(bundles) > 1:
        raise UsageError("An alias names one bundle; leave it out to serve several.")
    hosts = [ModelHost(bundle, alias, load_model) for bundle in bundles or (None,)]
    memory = ModelMemory.on_device(
        hosts,
        settings.memory,
        device,
        context=context,
        contexts=settings.parallel,
        gpu_memory=gpu_memory,
    )
    pool = make_pool(hosts, memory, settings)
    listening = listening_socket(settings.guards.host, settings.port)
    url = url_of(listening, settings.guards.host)
    if len(hosts) == 1:
        _log.info("%s will be at %s once it is loaded. Ctrl-C ends the server.", hosts[0].id, url)
    else:
        names = ", ".join(host.id for host in hosts)
        _log.info(
            "At %s each is loaded when it is asked for: %s. Ctrl-C ends the server.", url, names
        )
    make_server(pool, settings).run([listening])
    if pool.failure is not None:
        raise pool.failure


def make_pool(
    hosts: Sequence[ModelHost], memory: ModelMemory, settings: ServeSettings
) -> ModelPool:
    """The models of a server; as many questions may wait for one as may wait for an answer."""
    limit = settings.parallel + settings.queue
    return ModelPool(hosts, memory, unload_after=settings.unload_after, limit=limit)


def make_server(pool: ModelPool, settings: ServeSettings) -> HttpServer:
    """A server that loads a single bundle once it runs; it ends if that fails."""
    metrics = Metrics()
    desk = AnswerDesk(settings.parallel, settings.queue, metrics)
    app = make_app(pool, desk, metrics, settings)

    def finish() -> None:
        pool.close()
        desk.close()

    return HttpServer(app, settings.stop_seconds, pool.start, finish)
