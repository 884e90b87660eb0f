"""What a client sends to /v1/chat/completions, as far as it is read; other fields are ignored."""

from typing import Annotated, Any

from msgspec import Meta, Struct

_Schema = dict[str, Any] | str


class ImageUrl(Struct):
    """A picture's URL, as OpenAI has it; others send the string alone."""

    url: str


class ContentPart(Struct):
    """Words (`text`) or a picture (`image_url`) of a message."""

    type: str
    text: str | None = None
    image_url: str | ImageUrl | None = None


class ChatMessage(Struct):
    """A turn of the conversation."""

    role: str
    content: str | list[ContentPart] | None = None


class NamedSchema(Struct):
    """The schema of a response format, which OpenAI's clients give a name."""

    schema: dict[str, Any] | None = None


class ResponseFormat(Struct):
    """The form of an answer: `text`, `json_object` or `json_schema`."""

    type: str
    json_schema: NamedSchema | None = None
    schema: dict[str, Any] | None = None  # llama-server's, with json_object


class StructuredOutputs(Struct):
    """vLLM's way to say the form of an answer."""

    json: _Schema | None = None
    regex: str | None = None
    choice: list[str] | None = None
    json_object: bool | None = None
    grammar: object = None
    structural_tag: object = None


class StreamOptions(Struct):
    """What a stream tells besides the words."""

    include_usage: bool | None = None


class CompletionRequest(Struct):
    """OpenAI's request with llama-server's and vLLM's additions; null is as good as not there."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_progress: bool | None = None

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    response_format: ResponseFormat | None = None
    json_schema: dict[str, Any] | None = None  # llama-server's
    structured_outputs: StructuredOutputs | None = None
    guided_json: _Schema | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    grammar: object = None

    n: int | None = None
    modalities: list[str] | None = None
    tools: object = None
    tool_choice: object = None
    functions: object = None
    function_call: object = None
