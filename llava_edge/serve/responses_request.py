"""What a client sends to /v1/responses, as far as it is read, as a chat completion."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from llava_edge.serve.completion_request import (
    ChatMessage,
    CompletionRequest,
    ContentPart,
    NamedSchema,
    ResponseFormat,
)
from llava_edge.serve.wire_errors import WireError

# What the fields of a chat completion are called here.
NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "schema": "text.format.schema",
}
_FORMATS = ("text", "json_object", "json_schema")


class InputPart(Struct):
    """Words (`input_text`, and `output_text` of an answer before) or a picture (`input_image`)."""

    type: str
    text: str | None = None
    image_url: str | None = None


class InputItem(Struct):
    """A turn of the conversation; `type` may be left out."""

    type: str | None = None
    role: str | None = None
    content: str | list[InputPart] | None = None


class TextFormat(Struct, omit_defaults=True):
    """The form of an answer: `text`, `json_object` or `json_schema`; the reply repeats it."""

    type: str
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextSettings(Struct):
    """What `text` says of the answer."""

    format: TextFormat | None = None


class ResponsesRequest(Struct):
    """OpenAI's request, without tools and without what a server would have to remember."""

    input: str | list[InputItem]
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: TextSettings | None = None
    metadata: dict[str, str] | None = None
    tool_choice: object = None
    previous_response_id: object = None
    conversation: object = None
    background: bool | None = None


def as_completion(asked: ResponsesRequest) -> tuple[CompletionRequest, Sequence[str]]:
    """The same request as a chat completion, and the place of each of its messages.

    Raises WireError for what cannot be said there, or would need what the server does not keep.
    """
    _refuse_memory(asked)
    if isinstance(asked.input, str):
        places, messages = ["input"], [ChatMessage("user", asked.input)]
    else:
        places = [f"input[{number}]" for number in range(len(asked.input))]
        messages = [_message(item, place) for item, place in zip(asked.input, places, strict=True)]
    if not messages:
        raise _refusal("input is empty; give words, or a list that ends with a question.", "input")
    if asked.instructions:
        messages.insert(0, ChatMessage("system", asked.instructions))
        places.insert(0, "instructions")
    completion = CompletionRequest(
        messages=messages,
        model=asked.model,
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        response_format=_form(asked.text.format if asked.text else None),
        tool_choice=asked.tool_choice,
    )
    return completion, places


def _refuse_memory(asked: ResponsesRequest) -> None:
    for name in ("previous_response_id", "conversation", "background"):
        if getattr(asked, name):
            raise _refusal(
                f"The server keeps no responses; leave {name} out and send the whole conversation.",
                name,
                "unsupported_value",
            )


def _message(item: InputItem, place: str) -> ChatMessage:
    if item.type not in (None, "message"):
        raise _refusal(
            f"An item of the type {item.type[:40]!r} is not supported; give messages.",
            f"{place}.type",
        )
    if item.role is None:
        raise _refusal("A message lacks its role; give user, assistant or system.", f"{place}.role")
    if not isinstance(item.content, list):
        return ChatMessage(item.role, item.content)
    parts = [_part(part, f"{place}.content[{number}]") for number, part in enumerate(item.content)]
    return ChatMessage(item.role, parts)


def _part(part: InputPart, place: str) -> ContentPart:
    if part.type in ("input_text", "output_text") and part.text is not None:
        return ContentPart("text", text=part.text)
    if part.type == "input_image" and part.image_url is not None:
        return ContentPart("image_url", image_url=part.image_url)
    if part.type in ("input_text", "output_text", "input_image"):
        lacking = "image_url" if part.type == "input_image" else "text"
        raise _refusal(f"A part of the type {part.type} lacks its {lacking}.", place)
    raise _refusal(
        f"A part of the type {part.type[:40]!r} is not supported; give input_text, output_text or "
        "input_image.",
        f"{place}.type",
    )


def _form(form: TextFormat | None) -> ResponseFormat | None:
    if form is None:
        return None
    if form.type not in _FORMATS:
        raise _refusal(
            f"The type of text.format is not known; give {', '.join(_FORMATS)}.",
            "text.format.type",
            "unsupported_value",
        )
    if form.type == "json_schema" and form.schema is None:
        raise _refusal("text.format lacks its schema.", "text.format.schema")
    return ResponseFormat(form.type, NamedSchema(form.schema))


def _refusal(message: str, param: str, code: str | None = None) -> WireError:
    return WireError(400, message, code=code, param=param)
