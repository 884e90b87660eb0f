"""What Ollama's clients send to /api/chat and /api/generate, as chat completions."""

from typing import Any

from msgspec import Struct

from llava_edge.serve.completion_request import (
    ChatMessage,
    CompletionRequest,
    ContentPart,
    ResponseFormat,
)
from llava_edge.serve.wire_errors import WireError

_FORMATS = (None, "", "json")
_TO_THE_END = (-1, -2)  # of the context, in Ollama's num_predict


class OllamaOptions(Struct):
    """How the answer is drawn and ended; what concerns Ollama's own engine is not read."""

    num_predict: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class OllamaRequest(Struct):
    """What both paths have in common."""

    model: str | None = None
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class OllamaMessage(Struct):
    """A turn; `images` are base64 text, without a `data:` URL's head."""

    role: str
    content: str | None = None
    images: list[str] | None = None


class ChatAsked(OllamaRequest):
    """A request to /api/chat."""

    messages: list[OllamaMessage] | None = None


class GenerateAsked(OllamaRequest):
    """A request to /api/generate."""

    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None


def chat_completion(asked: ChatAsked) -> CompletionRequest:
    """The same request as a chat completion; raises WireError."""
    return _completion(asked, list(map(_turn, asked.messages or ())))


def generate_completion(asked: GenerateAsked) -> CompletionRequest:
    """The same request as a chat completion of one question, or of none; raises WireError."""
    for name in ("suffix", "template", "context", "raw"):
        if getattr(asked, name):
            raise WireError(400, f"{name} is not supported; leave it out, or use /api/chat.")
    if not (asked.prompt or asked.images):
        return _completion(asked, [])
    turns = [ChatMessage("system", asked.system)] if asked.system else []
    question = _turn(OllamaMessage("user", asked.prompt, asked.images))
    return _completion(asked, [*turns, question])


def _completion(asked: OllamaRequest, messages: list[ChatMessage]) -> CompletionRequest:
    options = asked.options or OllamaOptions()
    return CompletionRequest(
        messages=messages,
        model=asked.model,
        max_tokens=-1 if options.num_predict in _TO_THE_END else options.num_predict,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        seed=options.seed,
        stop=options.stop,
        repeat_penalty=options.repeat_penalty,
        frequency_penalty=options.frequency_penalty,
        presence_penalty=options.presence_penalty,
        logprobs=asked.logprobs,
        top_logprobs=asked.top_logprobs,
        response_format=_form(asked.format),
    )


def _turn(message: OllamaMessage) -> ChatMessage:
    """A turn whose pictures stand before its words, as Ollama has them."""
    if not message.images:
        return ChatMessage(message.role, message.content)
    pictures = [ContentPart("image_url", image_url=image) for image in message.images]
    return ChatMessage(message.role, [*pictures, ContentPart("text", text=message.content or "")])


def _form(form: str | dict[str, Any] | None) -> ResponseFormat | None:
    if isinstance(form, dict):
        return ResponseFormat("json_object", schema=form)
    if form not in _FORMATS:
        raise WireError(400, 'format is neither "json" nor a JSON schema; give one of them.')
    return ResponseFormat("json_object") if form else None
