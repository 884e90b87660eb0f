"""The turns of a sample, in the shapes that people have.

LLaVA's and ShareGPT's `conversations` of `from` and `value`, and `messages` of `role` and
`content`, whose content is words or a list of typed parts; any mixture of them.
"""

from collections.abc import Mapping
from typing import Any, Literal

from llava_edge.core.prompt import IMAGE, WrittenMessage
from llava_edge.data.sample_faults import (
    MEANT,
    SampleError,
    is_learned,
    refuse_other_media,
    refuse_other_places,
)
from llava_edge.data.sample_pictures import NamedPicture, picture_of

LISTS = ("conversations", "messages", "conversation")
ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
}
_TOOL_ROLES = ("tool", "function", "function_call", "observation", "tool_call", "tool_response")
_PICTURES = ("image", "image_url", "input_image")
_TEXTS = ("text", "input_text", "output_text")
TURN_KEYS = {"from", "role", "value", "content", *MEANT}


def turns_of(sample: Mapping[str, Any]) -> tuple[list[WrittenMessage], list[NamedPicture | None]]:
    """A sample's turns, and the pictures of their parts: None for a part that only says where.

    Raises SampleError, and KeyError, TypeError or ValueError for what is no conversation.
    """
    messages: list[WrittenMessage] = []
    pictures: list[NamedPicture | None] = []
    if words := sample.get("system"):
        messages.append(WrittenMessage("system", _checked(words)))
    for turn in list_of(sample):
        message, own = _turn(turn)
        if message.role == "system" and message in messages:
            continue  # said by the key as well
        messages.append(message)
        pictures += own
    return messages, pictures


def list_of(sample: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The list of turns as the sample has it; raises SampleError where it has two."""
    given = [key for key in LISTS if sample.get(key) is not None]
    if len(given) > 1:
        raise SampleError(
            "two conversations", f"has both {given[0]} and {given[1]}; keep one of them."
        )
    turns = sample[given[0] if given else LISTS[0]]
    if not isinstance(turns, list):
        raise TypeError(f"{given[0] if given else LISTS[0]} is no list")
    return turns


def _turn(turn: Mapping[str, Any]) -> tuple[WrittenMessage, list[NamedPicture | None]]:
    role = _role(turn["from"] if "from" in turn else turn["role"])
    if len(turn) > 2:
        refuse_other_media(turn)
    learned = len(turn) == 2 or is_learned(turn)
    content = turn["value"] if "value" in turn else turn["content"]
    text, pictures = (content, []) if isinstance(content, str) else _joined(content)
    if role != "assistant":
        refuse_other_places(text)
    elif IMAGE in text:
        raise SampleError(
            f"{IMAGE} in an answer",
            f"says {IMAGE} in an answer, where no picture can stand; write other words or drop it.",
        )
    return WrittenMessage(role, _checked(text), learned or role != "assistant"), pictures


def _role(name: str) -> Literal["system", "user", "assistant"]:
    role = ROLES.get(name)
    if role is not None:
        return role
    if name in _TOOL_ROLES:
        raise SampleError(
            "tool calls",
            f"has a turn of a {name}, but turns of user and assistant are what is read; drop it.",
        )
    raise SampleError(
        "unknown role",
        f"has a turn of {name!r}, but {', '.join(ROLES)} are the names that are read.",
    )


def _joined(parts: list[Any]) -> tuple[str, list[NamedPicture | None]]:
    """Typed parts as words, a picture on a line of its own, and their pictures."""
    text, pictures = "", list[NamedPicture | None]()
    for part in parts:
        piece = part if isinstance(part, str) else _piece(part, pictures)
        if text and (text.endswith(IMAGE) or piece == IMAGE) and "\n" not in text[-1] + piece[:1]:
            text += "\n"
        text += piece
    if text.count(IMAGE) != len(pictures):
        raise SampleError(
            f"{IMAGE} count",
            f"says {IMAGE} in a part of words, beside parts that are pictures; write other words.",
        )
    return text, pictures


def _piece(part: Mapping[str, Any], pictures: list[NamedPicture | None]) -> str:
    kind = part["type"]
    if kind in _TEXTS:
        text = part["text"]
        if not isinstance(text, str):
            raise TypeError("a part's text is no text")
        return text
    if kind in _PICTURES:
        keys = (key for key in (*_PICTURES, "path", "url", "bytes") if part.get(key))
        value = part[key] if (key := next(keys, None)) else None
        pictures.append(None if value is None else picture_of(value))
        return IMAGE
    raise SampleError(
        "video or sound", f"has a part of the type {kind!r}, but text and image are what is read."
    )


def _checked(text: str) -> str:
    """The text; raises ValueError for half a surrogate pair, and AttributeError for no text."""
    if not text.isascii():
        text.encode()
    return text
