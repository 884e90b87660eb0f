"""The turns of a request as the runtime's messages."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from llava_edge.core.prompt import Message, Part, Picture
from llava_edge.serve.completion_request import ChatMessage, ContentPart, ImageUrl
from llava_edge.serve.wire_errors import WireError


class PictureUrl(NamedTuple):
    """Where a picture stands in the request, and what stands there."""

    place: str
    url: str


Read = Callable[[Sequence[PictureUrl]], Awaitable[list[bytes]]]

_SYSTEM = ("system", "developer")


def messages_of(turns: Sequence[ChatMessage], *, system_place: bool) -> list[Message]:
    """The conversation, in which roles alternate and the last turn is the user's.

    Turns of one role in a row are joined by a line's end, system turns at the beginning by a blank
    line. Where the prompt format has no place for system words (`system_place`), they stand before
    the first question. The source of a picture is its PictureUrl. Raises WireError.
    """
    found = [_message(turn, f"messages[{place}]") for place, turn in enumerate(turns)]
    joined = [_joined(list(group)) for _, group in groupby(found, key=lambda one: one.role)]
    if any(message.role == "system" for message in joined[1:]):
        raise _refusal("A system message stands after others; put it first.", "messages")
    if joined[-1].role != "user":
        raise _refusal("The last message is not the user's; end with a question.", "messages")
    if joined[0].role == "system" and not system_place:
        system, first, *rest = joined
        if first.role == "user":
            return [Message("user", (*system.content, "\n\n", *first.content)), *rest]
    return joined


async def with_pictures(messages: Sequence[Message], read: Read) -> list[Message]:
    """The messages with their pictures, whose bytes `read` gets from all URLs at once."""
    pictures = [p for message in messages for p in message.content if isinstance(p, Picture)]
    urls = [picture.source for picture in pictures if isinstance(picture.source, PictureUrl)]
    files = iter(await read(urls))
    return [
        replace(
            m, content=[Picture(next(files)) if isinstance(p, Picture) else p for p in m.content]
        )
        for m in messages
    ]


def _message(turn: ChatMessage, place: str) -> Message:
    if turn.role in _SYSTEM:
        return Message("system", _words(turn, place))
    if turn.role == "assistant":
        return Message("assistant", _words(turn, place))
    if turn.role == "user":
        return Message("user", tuple(_parts(turn, place)))
    raise _refusal(
        f"The role {turn.role[:40]!r} is not supported; give system, developer, user or assistant.",
        f"{place}.role",
    )


def _words(turn: ChatMessage, place: str) -> tuple[Part, ...]:
    parts = tuple(_parts(turn, place))
    if any(isinstance(part, Picture) for part in parts):
        raise _refusal(
            f"A picture stands in a message of the {turn.role}; put it into the user's.", place
        )
    return parts


def _parts(turn: ChatMessage, place: str) -> Iterator[Part]:
    """Words and pictures; a line's end stands between words that follow each other."""
    if isinstance(turn.content, str) or turn.content is None:
        yield turn.content or ""
        return
    after_words = False
    for number, part in enumerate(turn.content):
        found = _part(part, f"{place}.content[{number}]")
        if after_words and isinstance(found, str):
            yield "\n"
        yield found
        after_words = isinstance(found, str)


def _part(part: ContentPart, place: str) -> Part:
    if part.type == "text" and part.text is not None:
        return part.text
    if part.type == "image_url" and part.image_url is not None:
        url = part.image_url.url if isinstance(part.image_url, ImageUrl) else part.image_url
        return Picture(PictureUrl(f"{place}.image_url", url))
    if part.type in ("text", "image_url"):
        raise _refusal(f"A part of the type {part.type} lacks its {part.type}.", place)
    raise _refusal(
        f"A part of the type {part.type[:40]!r} is not supported; give text or image_url.",
        f"{place}.type",
    )


def _joined(messages: list[Message]) -> Message:
    """Messages of one role as one."""
    between = "\n\n" if messages[0].role == "system" else "\n"
    parts = list[Part]()
    for message in messages:
        parts += [between, *message.content] if parts else message.content
    return Message(messages[0].role, tuple(parts))


def _refusal(message: str, param: str) -> WireError:
    return WireError(400, message, param=param)
