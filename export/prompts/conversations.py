"""Conversations in the form that chat templates take, and in ours."""

from dataclasses import dataclass
from typing import Any, Literal

from llava_edge.core.bundle_config import PromptConfig, Role
from llava_edge.core.prompt import IMAGE, WrittenMessage
from llava_edge.export.prompts.render_template import Conversation

# How a template takes what is said: as a list of parts, as a string, or the user's alone as parts.
Style = Literal["parts", "strings", "mixed"]


@dataclass(frozen=True)
class Utterance:
    """What somebody says: words, and None for a picture."""

    role: Role
    parts: tuple[str | None, ...]

    @property
    def pictures(self) -> int:
        return self.parts.count(None)


def turn(role: Role, *parts: str | None) -> Utterance:
    """A turn of these parts."""
    return Utterance(role, parts)


@dataclass(frozen=True)
class Exchange:
    """A conversation, which both a chat template and our own runtime can be given."""

    turns: tuple[Utterance, ...]

    def for_template(self, style: Style, image: str) -> Conversation:
        """As a template takes it; `image` is what stands for a picture in a string.

        An answer is asked for after a user's turn.
        """
        messages = [
            {"role": turn.role, "content": _content(turn, style, image)} for turn in self.turns
        ]
        return Conversation(messages, self.turns[-1].role == "user")

    def for_us(self, prompt: PromptConfig) -> list[WrittenMessage]:
        """As `llava_edge.core.prompt.render` takes it."""
        picture = IMAGE if prompt.pictures == "as_written" else IMAGE + prompt.image_suffix
        return [WrittenMessage(turn.role, _joined(turn, picture)) for turn in self.turns]


def _content(turn: Utterance, style: Style, image: str) -> str | list[dict[str, Any]]:
    if style == "parts" or (style == "mixed" and turn.role == "user"):
        return _parts(turn)
    return _joined(turn, image)


def _joined(turn: Utterance, picture: str) -> str:
    return "".join(picture if part is None else part for part in turn.parts)


def _parts(turn: Utterance) -> list[dict[str, Any]]:
    """A turn has words at any time, if only empty ones."""
    parts = turn.parts if any(part is not None for part in turn.parts) else (*turn.parts, "")
    return [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]
