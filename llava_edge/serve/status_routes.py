"""GET: which models there are, whether they are ready, and what has been counted."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_edge.serve.metrics import Metrics
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.wire_errors import WireError


def status_routes(host: ModelHost, metrics: Metrics) -> list[Route]:
    """The routes of the model list, of health, and of the metrics."""

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(host)]})

    async def model(request: Request) -> Response:
        if (id := request.path_params["id"]) != host.id:
            raise WireError(
                404,
                f"The model {id[:80]!r} is not here; this server has {host.id!r}.",
                "not_found_error",
                "model_not_found",
                "model",
            )
        return JSONResponse(_model(host))

    async def health(request: Request) -> Response:
        host.model()  # raises while it is loading
        return JSONResponse({"status": "ok"})

    async def figures(request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    return [
        Route("/v1/models", models),
        Route("/v1/models/{id:path}", model),
        Route("/health", health),
        Route("/v1/health", health),
        Route("/metrics", figures),
    ]


def _model(host: ModelHost) -> dict[str, Any]:
    """A model as OpenAI lists it, with what llama-server tells besides."""
    config, served = host.config, host.loaded
    meta: dict[str, Any] = {
        "n_ctx_train": config.decoder.context_length,
        "size": sum(record.size for record in config.files.values()),
    }
    if served is not None:
        meta["n_ctx"] = served.model.decoder.context
        meta["device"] = served.model.device.name
    return {
        "id": host.id,
        "object": "model",
        "created": host.created,
        "owned_by": "llava-edge",
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "meta": meta,
    }
