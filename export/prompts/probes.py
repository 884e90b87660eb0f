"""Conversations of known words, by which a chat template shows what it writes around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from llava_edge.core.bundle_config import Role
from llava_edge.export.prompts.conversations import Exchange, Style, turn
from llava_edge.export.prompts.render_template import TemplateRenderer

SYSTEM, FIRST, ANSWER, SECOND, LAST = "qzsystem", "qzfirst", "qzanswer", "qzsecond", "qzlast"
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
QUESTION = Exchange((turn("user", FIRST),))
_TWO = (*QUESTION.turns, turn("assistant", ANSWER), turn("user", SECOND))
_WHOLE = (turn("system", SYSTEM), *_TWO)
_PROBES = {
    "question": QUESTION.turns,
    "two": _TWO,
    "ended": (*_TWO, turn("assistant", LAST)),
    "system": (turn("system", SYSTEM), *QUESTION.turns),
    "picture first": (turn("user", None, FIRST),),
    "picture last": (turn("user", FIRST, None),),
    "picture between": (turn("user", FIRST, None, SECOND),),
    "plain system": _WHOLE,
    "plain user": _TWO,
    "plain assistant": _TWO,
    "spaced system": (turn("system", f" \n{SYSTEM}\t "), *_TWO),
    "spaced user": (turn("user", f" \n{FIRST}\t "), *_TWO[1:]),
    "spaced assistant": (_TWO[0], turn("assistant", f" \n{ANSWER}\t "), _TWO[2]),
}


class UnlikeError(Exception):
    """The template writes conversations in no form of ours; the message says what it does."""


@dataclass(frozen=True)
class Probed:
    """What a template makes of the probes; `image` is what it writes for a picture, or ""."""

    style: Style
    image: str
    texts: dict[str, str | None]

    def around(self, probe: str, *words: str) -> list[str]:
        """The text of a probe, cut at words that stand in it once each and in this order.

        Raises UnlikeError where they do not.
        """
        rest = self.texts[probe]
        if rest is None:
            raise UnlikeError("refuses such a conversation")
        if any(rest.count(word) != 1 for word in words):
            raise UnlikeError("leaves out or repeats what is said")
        found = []
        for word in words:
            if word not in rest:
                raise UnlikeError("changes the order of what is said")
            before, _, rest = rest.partition(word)
            found.append(before)
        return [*found, rest]

    def tells(self, probe: str, *words: str) -> bool:
        """Whether these words stand in the text of a probe, and not in a list that is shown."""
        text = self.texts[probe]
        if text is None or any(key in text for key in ("'type':", '"type":')):
            return False
        return all(word in text for word in words)

    def trims(self, role: Role) -> bool:
        """Whether the white space around what somebody says is lost."""
        plain = self.texts[f"plain {role}"]
        return plain is not None and self.texts[f"spaced {role}"] == plain


def probe(renderer: TemplateRenderer, images: Sequence[str]) -> Probed:
    """Render the probes in each style and keep the one in which the template says most.

    `images` may be what stands for a picture. Raises UnlikeError where no style tells the words,
    and CheckpointError for a template that cannot be rendered.
    """
    styles: tuple[Style, ...] = get_args(Style)
    asked = [
        Exchange(turns).for_template(style, images[0])
        for style in styles
        for turns in _PROBES.values()
    ]
    texts = iter(renderer(asked))
    found = []
    for style in styles:
        told = {name: next(texts) for name in _PROBES}
        found.append(Probed(style, _image(told, images) if style != "strings" else "", told))
    best = max(found, key=_told)
    if not best.tells("question", FIRST):
        raise UnlikeError("does not say what the user asks")
    return best


def _told(probed: Probed) -> tuple[bool, bool, bool]:
    words = probed.tells("two", FIRST, ANSWER, SECOND)
    return words, bool(probed.image), probed.tells("system", SYSTEM)


def _image(texts: dict[str, str | None], images: Sequence[str]) -> str:
    plain, pictured = (texts[name] or "" for name in ("question", "picture first"))
    return next((each for each in images if pictured.count(each) > plain.count(each)), "")


def common_start(*texts: str) -> str:
    """What all texts begin with."""
    shortest = min(texts, key=len)
    for place, character in enumerate(shortest):
        if any(text[place] != character for text in texts):
            return shortest[:place]
    return shortest
