"""Ollama's paths for programs that know no other server; `serve --ollama` has them."""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, TypeVar

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from llava_edge.core.bundle import WEIGHTS_BIN
from llava_edge.serve.answer_route import AnswerRoute
from llava_edge.serve.api_request import ApiRequest
from llava_edge.serve.completion_request import CompletionRequest
from llava_edge.serve.json_body import decoded
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.model_pool import ModelPool
from llava_edge.serve.ollama_reply import (
    OllamaReply,
    Words,
    chat_words,
    generate_words,
    timestamp,
)
from llava_edge.serve.ollama_request import (
    ChatAsked,
    GenerateAsked,
    OllamaRequest,
    chat_completion,
    generate_completion,
)
from llava_edge.serve.served_model import ServedModel

VERSION = "0.12.11"  # of Ollama, whose API this is; some clients refuse versions before 0.6

_Asked = TypeVar("_Asked", bound=OllamaRequest)


class Named(Struct):
    """A request to /api/show; `name` is what older clients send."""

    model: str | None = None
    name: str | None = None


def ollama_routes(
    pool: ModelPool, route: Callable[[Callable[[bytes], ApiRequest]], AnswerRoute]
) -> list[Route]:
    """The routes; that of `/` is used where no page stands there."""

    async def running(request: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(request: Request) -> Response:
        return JSONResponse({"version": VERSION})

    async def tags(request: Request) -> Response:
        return JSONResponse({"models": list(map(_listed, pool.hosts))})

    async def loaded(request: Request) -> Response:
        found = [_running(host, host.loaded) for host in pool.hosts if host.loaded]
        return JSONResponse({"models": found})

    async def show(request: Request) -> Response:
        asked = decoded(await request.body(), Named)
        return JSONResponse(_shown(pool.named(asked.model or asked.name or "")))

    chat = route(_reader(ChatAsked, chat_completion, chat_words))
    generate = route(_reader(GenerateAsked, generate_completion, generate_words))
    return [
        Route("/", running),
        Route("/api/version", version),
        Route("/api/tags", tags),
        Route("/api/ps", loaded),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/chat", chat, methods=["POST"]),
        Route("/api/generate", generate, methods=["POST"]),
    ]


def _reader(
    kind: type[_Asked], completion: Callable[[_Asked], CompletionRequest], words: Words
) -> Callable[[bytes], ApiRequest]:
    """What reads the requests of a path."""

    def read(body: bytes) -> ApiRequest:
        began, asked = perf_counter_ns(), decoded(body, kind)
        found = completion(asked)
        return ApiRequest(
            asked=found,
            stream=asked.stream is not False,
            whole=lambda served, pieces: OllamaReply(served, words, began).whole(pieces),
            events=lambda served: OllamaReply(served, words, began),
            nothing=lambda served: OllamaReply(served, words, began).nothing("load"),
            places=[f"messages[{number}]" for number in range(len(found.messages))],
        )

    return read


def _listed(host: ModelHost) -> dict[str, Any]:
    """A model as /api/tags has it."""
    config = host.config
    return {
        "name": host.id,
        "model": host.id,
        "modified_at": timestamp(host.created),
        "size": sum(record.size for record in config.files.values()),
        "digest": config.files[WEIGHTS_BIN].sha256,
        "details": {
            "parent_model": "",
            "format": "onnx",
            "family": "llava",
            "families": ["llava"],
            "parameter_size": _rounded(config.quantization.weights),
            "quantization_level": f"Q{config.quantization.bits}",
        },
    }


def _running(host: ModelHost, served: ServedModel) -> dict[str, Any]:
    """A model as /api/ps has it."""
    listed = _listed(host)
    del listed["modified_at"]
    return {**listed, "size_vram": 0, "context_length": served.model.decoder.context}


def _shown(host: ModelHost) -> dict[str, Any]:
    """A model as /api/show has it; the template is not Ollama's, and is left out."""
    config = host.config
    listed, decoder = _listed(host), config.decoder
    return {
        "modified_at": listed["modified_at"],
        "details": listed["details"],
        "capabilities": ["completion", "vision"],
        "model_info": {
            "general.architecture": "llava",
            "general.basename": config.name,
            "general.parameter_count": config.quantization.weights,
            "llava.context_length": decoder.context_length,
            "llava.embedding_length": decoder.hidden_size,
            "llava.block_count": decoder.num_layers,
            "llava.vocab_size": decoder.vocab_size,
        },
    }


def _rounded(parameters: int) -> str:
    """A number of parameters as a model's name has it."""
    if parameters < 10**9:
        return f"{parameters / 10**6:.0f}M"
    return f"{parameters / 10**9:.1f}B"
