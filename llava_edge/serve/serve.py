"""The verb `serve`: OpenAI's API and a page over a bundle, until it is told to end."""

import logging
from pathlib import Path

from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.serve.answer_desk import AnswerDesk
from llava_edge.serve.app import make_app
from llava_edge.serve.http_server import HttpServer, listening_socket, url_of
from llava_edge.serve.metrics import Metrics
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.serve_settings import SERVE_DEFAULTS, ServeSettings

_log = logging.getLogger(__name__)


def serve(
    bundle: Path | str | None = None,
    device: str = "auto",
    *,
    context: int | None = None,
    gpu_memory: int | None = None,
    alias: str | None = None,
    settings: ServeSettings = SERVE_DEFAULTS,
) -> None:
    """Serve a bundle until SIGTERM or Ctrl-C.

    - bundle, device, context, gpu_memory: as `llava_edge.load` takes them.
    - alias: the name that clients are told, instead of the bundle's own.

    Where it is served and every request, without its words, are logged at level INFO by the logger
    "llava_edge". Raises UsageError for an address that cannot be had, and what `load` raises.
    """

    def load_model(path: Path) -> Llava:
        contexts = settings.parallel
        return load(path, device, context=context, contexts=contexts, gpu_memory=gpu_memory)

    host = ModelHost(bundle, alias, load_model)
    listening = listening_socket(settings.guards.host, settings.port)
    url = url_of(listening, settings.guards.host)
    _log.info("%s will be at %s once it is loaded. Ctrl-C ends the server.", host.id, url)
    make_server(host, settings).run([listening])
    if host.failure is not None:
        raise host.failure


def make_server(host: ModelHost, settings: ServeSettings) -> HttpServer:
    """A server that loads the host's bundle once it runs; it ends if that fails."""
    metrics = Metrics()
    desk = AnswerDesk(settings.parallel, settings.queue, metrics)
    app = make_app(host, desk, metrics, settings)
    return HttpServer(app, settings.stop_seconds, host.start, desk.close)
