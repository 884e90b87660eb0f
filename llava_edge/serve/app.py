"""The server as an ASGI app: its routes, and what stands around them."""

from dataclasses import replace

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llava_edge.errors import LlavaEdgeError
from llava_edge.serve.answer_desk import AnswerDesk
from llava_edge.serve.completions import Completions
from llava_edge.serve.error_replies import as_wire_error
from llava_edge.serve.guards.guarded import guarded
from llava_edge.serve.metrics import Metrics
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.page_files import page_routes
from llava_edge.serve.request_log import logged, note_result
from llava_edge.serve.serve_settings import ServeSettings
from llava_edge.serve.status_routes import status_routes
from llava_edge.serve.wire_errors import WireError


def make_app(
    host: ModelHost, desk: AnswerDesk, metrics: Metrics, settings: ServeSettings
) -> ASGIApp:
    """The app of a server; nothing in it is a middleware that would hide a client's going."""
    completions = Completions(host, desk, settings)
    page = page_routes()
    routes = [
        Route("/v1/chat/completions", completions, methods=["POST"]),
        *status_routes(host, metrics),
        *page,
    ]
    faults = (WireError, LlavaEdgeError, HTTPException, Exception)
    app = Starlette(routes=routes, exception_handlers={fault: _refused for fault in faults})
    app.router.redirect_slashes = False
    guards = settings.guards
    open_paths = guards.open_paths | {"/v1/health", *(route.path for route in page)}
    return logged(guarded(app, replace(guards, open_paths=open_paths)), metrics)


async def _refused(request: Request, error: Exception) -> Response:
    refusal = as_wire_error(error)
    note_result(request.scope, refusal)
    return Response(refusal.body(), refusal.status, refusal.headers, media_type="application/json")
