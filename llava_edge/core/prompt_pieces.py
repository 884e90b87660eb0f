"""A conversation in the pieces of its prompt format: the words in their order, and pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llava_edge.core.bundle_config import PromptConfig, Role
from llava_edge.errors import PromptError

IMAGE = "<image>"  # where a message says that a picture stands


@dataclass(frozen=True)
class Message:
    """One turn: who speaks and the words, with `<image>` at each place where a picture stands.

    `learned` says whether the training loss counts an answer.
    """

    role: Role
    text: str
    learned: bool = True


@dataclass(frozen=True)
class Words:
    """Special tokens in `text` count as such where it is trusted, as only the format's own is."""

    text: str
    trusted: bool = True
    learned: bool = False  # whether the training loss counts it


Piece = Words | None  # None is a picture


def pieces(
    messages: Sequence[Message], prompt: PromptConfig, *, first: bool = True
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
            yield from _user(message.text, prompt)
            yield Words(prompt.user_suffix + prompt.assistant_prefix)
        else:
            said, learned = _trimmed(message.text, "assistant", prompt), message.learned
            yield Words(prompt.answer_prefix, learned=learned)
            yield Words(said, trusted=False, learned=learned)
            yield Words(prompt.assistant_suffix, learned=learned)


def as_text(messages: Sequence[Message], prompt: PromptConfig) -> str:
    """A conversation as it is written, with the image token, or `<image>`, for a picture."""
    picture = prompt.image_token or IMAGE
    found = pieces(messages, prompt)
    return prompt.bos + "".join(picture if piece is None else piece.text for piece in found)


def _parted(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """The system words, None where there are none, and the turns of user and assistant."""
    if messages and messages[0].role == "system":
        return messages[0].text, messages[1:]
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
    yield Words(_trimmed(system, "system", prompt), trusted=False)
    yield Words(prompt.system_suffix)


def _check_role(message: Message, position: int) -> None:
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


def _user(text: str, prompt: PromptConfig) -> Iterator[Piece]:
    """What the user says, by the format's `pictures`."""
    if not prompt.user_words:
        yield from [None] * text.count(IMAGE)
    elif prompt.pictures == "as_written":
        before, *rest = _trimmed(text, "user", prompt).split(IMAGE)
        yield Words(before, trusted=False)
        for words in rest:
            yield None
            yield Words(words, trusted=False)
    else:
        before, *rest = text.split(IMAGE)
        # The suffix is the format's own: a record or `picture_first` may have written it already.
        after = [words.removeprefix(prompt.image_suffix) for words in rest]
        said = [_trimmed(part, "user", prompt) for part in (before, *after)]
        yield from (_first if prompt.pictures == "first" else _in_place)(said, prompt)


def _first(words: list[str], prompt: PromptConfig) -> Iterator[Piece]:
    for _ in words[1:]:
        yield from _picture(prompt)
    yield Words(prompt.words_prefix)
    yield Words(prompt.words_gap.join(filter(None, words)), trusted=False)


def _in_place(words: list[str], prompt: PromptConfig) -> Iterator[Piece]:
    before, *rest = words
    if before or not rest:
        yield Words(prompt.words_prefix)
        yield Words(before, trusted=False)
    for part in rest:
        yield from _picture(prompt)
        yield Words(part, trusted=False)


def _picture(prompt: PromptConfig) -> Iterator[Piece]:
    yield Words(prompt.image_prefix)
    yield None
    yield Words(prompt.image_suffix)


def _trimmed(text: str, role: Role, prompt: PromptConfig) -> str:
    return text.strip() if role in prompt.trimmed else text
