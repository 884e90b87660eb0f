"""A conversation in the pieces of its prompt format: the words in their order, and pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llava_edge.core.bundle_config import PromptConfig, Role
from llava_edge.errors import PromptError

IMAGE = "<image>"  # where LLaVA's records say that a picture stands


@dataclass(frozen=True)
class Picture:
    """A picture among the words of a message.

    - source: a path, the bytes of a file, a Pillow picture, or what `encode_image` returned.
    """

    source: object = None  # None where only its place matters


Part = str | Picture


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

        Message("user", ["What differs between ", Picture("a.jpg"), " and ", Picture("b.jpg"), "?"])

    - role: "system", "user" or "assistant".
    - content: words, or words and pictures in their order. Words are taken as they are: whatever
      they say, no picture and no special token is meant.
    - learned: whether the training loss counts an answer.
    """

    role: Role
    content: str | Sequence[Part]
    learned: bool = True


@dataclass(frozen=True)
class WrittenMessage:
    """A turn as LLaVA's records write it: `<image>` in its words is a picture's place.

    Words after that may begin with the prompt format's `image_suffix`. `learned` says whether the
    training loss counts an answer.
    """

    role: Role
    text: str
    learned: bool = True


AnyMessage = Message | WrittenMessage


@dataclass(frozen=True)
class Words:
    """Special tokens in `text` count as such where it is trusted, as only the format's own is."""

    text: str
    trusted: bool = True
    learned: bool = False  # whether the training loss counts it


Piece = Words | Picture


def pieces(
    messages: Sequence[AnyMessage], prompt: PromptConfig, *, first: bool = True
) -> Iterator[Piece]:
    """The pieces after the format's `bos`; see `llava_edge.core.prompt.render`, which raises alike.

    `first=False` begins with the turn separator.
    """
    system, turns = _parted(messages) if first else (None, messages)
    yield from _opening(prompt, system) if first else [Words(prompt.turn_separator)]
    for position, message in enumerate(turns):
        _check_role(message, position)
        if message.role == "user":
            yield Words(prompt.turn_separator * (position > 0) + prompt.user_prefix)
            yield from _user(_parts(message, prompt), prompt)
            yield Words(prompt.user_suffix + prompt.assistant_prefix)
        else:
            said, learned = trimmed(_words(message), "assistant", prompt), message.learned
            yield Words(prompt.answer_prefix, learned=learned)
            yield Words(said, trusted=False, learned=learned)
            yield Words(prompt.assistant_suffix, learned=learned)


def as_text(messages: Sequence[AnyMessage], prompt: PromptConfig) -> str:
    """A conversation as it is written, with the image token, or `<image>`, for a picture."""
    picture = prompt.image_token or IMAGE
    found = pieces(messages, prompt)
    return prompt.bos + "".join(p.text if isinstance(p, Words) else picture for p in found)


def trimmed(text: str, role: Role, prompt: PromptConfig) -> str:
    """A role's words without the white space around them, where the format leaves that out."""
    return text.strip() if role in prompt.trimmed else text


def _parted(messages: Sequence[AnyMessage]) -> tuple[str | None, Sequence[AnyMessage]]:
    """The system words, None where there are none, and the turns of user and assistant."""
    if messages and messages[0].role == "system":
        return _words(messages[0]), messages[1:]
    return None, messages


def _opening(prompt: PromptConfig, system: str | None) -> Iterator[Words]:
    if system is None or not prompt.user_words:
        yield Words(prompt.opening)
        return
    if prompt.system_prefix is None:
        raise PromptError(
            f'The prompt format "{prompt.name}" has no place for system words; leave them out or '
            "put them into the first question."
        )
    yield Words(prompt.system_prefix)
    yield Words(trimmed(system, "system", prompt), trusted=False)
    yield Words(prompt.system_suffix)


def _check_role(message: AnyMessage, position: int) -> None:
    if message.role == "system":
        raise PromptError(
            "System words stand after another turn, but a conversation begins with them; "
            "put them first."
        )
    expected = ("user", "assistant")[position % 2]
    if message.role != expected:
        raise PromptError(
            f"Turn {position + 1} is the {message.role}'s, but the {expected}'s was expected; "
            "let user and assistant take turns, beginning with the user."
        )


def _words(message: AnyMessage) -> str:
    """What is said where no picture can stand."""
    if isinstance(message, WrittenMessage):
        return message.text
    if isinstance(message.content, str):
        return message.content
    if any(isinstance(part, Picture) for part in message.content):
        raise PromptError(
            f"A picture stands in words of the role {message.role}; only the user can show one."
        )
    return "".join(part for part in message.content if isinstance(part, str))


def _parts(message: AnyMessage, prompt: PromptConfig) -> list[Part]:
    """What the user says, without the format's image_suffix, except where that is no part of it."""
    as_written = prompt.pictures == "as_written"
    if isinstance(message, WrittenMessage):
        before, *rest = message.text.split(IMAGE)
        parts: list[Part] = [before]
        for words in rest:
            parts += [Picture(), words if as_written else words.removeprefix(prompt.image_suffix)]
    else:
        parts = [message.content] if isinstance(message.content, str) else list(message.content)
        if as_written:
            parts = list(_spaced(parts, prompt.image_suffix))
    return parts or [""]


def _spaced(parts: Sequence[Part], suffix: str) -> Iterator[Part]:
    """The parts with a suffix after each picture."""
    for part in parts:
        yield part
        if isinstance(part, Picture):
            yield suffix


def _user(parts: list[Part], prompt: PromptConfig) -> Iterator[Piece]:
    """What the user says, by the format's `pictures`."""
    if not prompt.user_words:
        yield from (part for part in parts if isinstance(part, Picture))
    elif prompt.pictures == "as_written":
        yield from map(_piece, _trimmed_ends(parts, prompt))
    else:
        said = [p if isinstance(p, Picture) else trimmed(p, "user", prompt) for p in parts]
        said = [part for part in said if part != ""] or [""]
        yield from (_first if prompt.pictures == "first" else _in_place)(said, prompt)


def _first(parts: list[Part], prompt: PromptConfig) -> Iterator[Piece]:
    for part in parts:
        if isinstance(part, Picture):
            yield from _picture(part, prompt)
    words = (part for part in parts if isinstance(part, str) and part)
    yield Words(prompt.words_prefix)
    yield Words(prompt.words_gap.join(words), trusted=False)


def _in_place(parts: list[Part], prompt: PromptConfig) -> Iterator[Piece]:
    if isinstance(parts[0], str):
        yield Words(prompt.words_prefix)
    for part in parts:
        yield from _picture(part, prompt) if isinstance(part, Picture) else [_piece(part)]


def _picture(picture: Picture, prompt: PromptConfig) -> Iterator[Piece]:
    yield Words(prompt.image_prefix)
    yield picture
    yield Words(prompt.image_suffix)


def _piece(part: Part) -> Piece:
    return part if isinstance(part, Picture) else Words(part, trusted=False)


def _trimmed_ends(parts: list[Part], prompt: PromptConfig) -> list[Part]:
    """The parts without the white space around all of them, where the format leaves that out."""
    if "user" in prompt.trimmed:
        parts = list(parts)
        if isinstance(parts[0], str):
            parts[0] = parts[0].lstrip()
        if isinstance(parts[-1], str):
            parts[-1] = parts[-1].rstrip()
    return parts
