"""What a caller asks, checked as far as no picture need be read for it."""

from collections.abc import Sequence
from typing import get_args

from llava_edge.core.bundle_config import PromptConfig, Role
from llava_edge.core.prompt import IMAGE, Message, Part, Picture
from llava_edge.core.prompt_pieces import pieces
from llava_edge.errors import PromptError
from llava_edge.runtime.arguments import refusal
from llava_edge.runtime.turn import Images, checked_image, images_of

_ROLES = get_args(Role)
_EXPECTED = "a string, or llava_edge.Message(...) or a list of them"


def asked_question(prompt: str | Message, image: Images, config: PromptConfig) -> Message:
    """A user's turn; pictures stand before the words, or where these say `<image>`.

    Raises UsageError for arguments of other types, and PromptError where places and pictures
    differ in number.
    """
    if isinstance(prompt, Message):
        if image is not None:
            raise refusal("image", image, "pictures in the message, or a string as prompt")
        (message,) = asked_messages(prompt, None, config)
        return message
    if not isinstance(prompt, str):
        raise refusal("prompt", prompt, "a string, or llava_edge.Message(...)")
    check_words("prompt", prompt)
    return Message("user", _placed(prompt, [Picture(one) for one in images_of(image)], config))


def asked_messages(
    messages: str | Message | Sequence[Message], system: str | None, config: PromptConfig
) -> list[Message]:
    """A conversation, whose content is a tuple of parts and whose last turn is the user's.

    Raises UsageError for other types, and PromptError where the roles do not alternate, for a
    picture that the user does not show, and for system words without a place in the format.
    """
    given = [messages] if isinstance(messages, Message) else messages
    if not isinstance(given, Sequence) or not given or isinstance(given, str):
        raise refusal("prompt", messages, _EXPECTED)
    found = [_checked(message) for message in given]
    if system is not None:
        check_words("system", system)
        found.insert(0, Message("system", (system,)))
    for _ in pieces(found, config):  # which raises for what no format could write
        pass
    if found[-1].role != "user":
        raise PromptError(
            f"The last message is the {found[-1].role}'s; end with the user's, which is answered."
        )
    return found


def check_words(name: str, words: object) -> None:
    """Raise UsageError for what is no string, and PromptError for one that is not whole."""
    if not isinstance(words, str):
        raise refusal(name, words, "a string")
    try:
        words.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise PromptError(
            f"The {name} has half a character at place {error.start} "
            f"({words[error.start]!r}); leave it out."
        ) from error


def _placed(prompt: str, pictures: list[Picture], config: PromptConfig) -> tuple[Part, ...]:
    """The words, with pictures before them or in the places that they name."""
    if not pictures or IMAGE not in prompt:
        return (*pictures, prompt)
    before, *rest = prompt.split(IMAGE)
    if len(rest) != len(pictures):
        raise PromptError(
            f"The prompt has {len(rest)} {IMAGE} places for {len(pictures)} pictures; "
            f"write {IMAGE} once for each picture, or not at all."
        )
    parts: list[Part] = [before]
    for picture, words in zip(pictures, rest, strict=True):
        parts += [picture, words.removeprefix(config.image_suffix)]
    return tuple(parts)


def _checked(message: object) -> Message:
    if not isinstance(message, Message):
        raise refusal("prompt", message, _EXPECTED)
    if message.role not in _ROLES:
        raise refusal("role", message.role, f"one of {', '.join(_ROLES)}")
    content = message.content
    if isinstance(content, Picture) or not isinstance(content, Sequence):
        raise refusal("content", content, "words, or a list of words and llava_edge.Picture(...)")
    parts = (content,) if isinstance(content, str) else tuple(content)
    for part in parts:
        if isinstance(part, Picture):
            checked_image(part.source)
        else:
            check_words("message", part)
    return Message(message.role, parts)
