"""A prompt format out of a chat template: what stays the same around words that are known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.export.prompts.conversations import Style
from llava_edge.export.prompts.picture_places import PicturePlaces, picture_places
from llava_edge.export.prompts.probes import (
    ANSWER,
    FIRST,
    LAST,
    QUESTION,
    ROLES,
    SECOND,
    SYSTEM,
    Probed,
    UnlikeError,
    common_start,
    probe,
)
from llava_edge.export.prompts.render_template import TemplateRenderer

NAME = "template"  # of a format that is a checkpoint's own


@dataclass(frozen=True)
class Derived:
    """A template's format as far as a PromptConfig can say it, and how the template takes turns."""

    prompt: PromptConfig
    style: Style
    dated: bool  # whether it writes today's date


def derive_prompt(
    renderer: TemplateRenderer, special: Sequence[str], images: Sequence[str], bos: str
) -> Derived:
    """Derive the format of a chat template.

    `special` are the tokenizer's special tokens, `images` those that may stand for a picture, the
    likeliest first, and `bos` is what begins a text unless the template writes it. Raises
    UnlikeError, and CheckpointError for a template that cannot be rendered.
    """
    probed = probe(renderer, images)
    places = picture_places(probed)
    head, opened = probed.around("question", FIRST)
    _, answer, between, _ = probed.around("two", FIRST, ANSWER, SECOND)
    head, between = places.before(head), places.before(between)
    system = _system(probed, places)
    end = _answers_end(probed, between, special)
    between = between[len(end) :]
    user_prefix = _common_end(head, between, system[1] if system else head)
    separator = between.removesuffix(user_prefix)
    stops = [token for token in _special(end or separator, special) if not head.startswith(token)]
    prompt = PromptConfig(
        name=NAME,
        bos="" if bos and head.startswith(bos) else bos,
        opening=head.removesuffix(user_prefix),
        system_prefix=system[0] if system else None,
        system_suffix=system[1].removesuffix(user_prefix) if system else "",
        user_prefix=user_prefix,
        user_suffix=opened,
        assistant_prefix="",
        answer_prefix=answer[len(opened) :] if answer.startswith(opened) else "",
        assistant_suffix=end,
        turn_separator=separator,
        image_suffix=places.suffix,
        stop=tuple(stops[:1]),
        stop_strings=(end.strip(),) if end.strip() and not stops else (),
        pictures=places.place,
        image_prefix=places.prefix,
        words_prefix=places.words_prefix,
        words_gap=places.gap,
        image_token=places.image,
        trimmed=tuple(role for role in ROLES if probed.trims(role)),
    )
    return Derived(prompt, probed.style, _is_dated(renderer, probed, images[0]))


def _system(probed: Probed, places: PicturePlaces) -> tuple[str, str] | None:
    """What stands before system words, and between them and the first question."""
    try:
        before, after, _ = probed.around("system", SYSTEM, FIRST)
    except UnlikeError:
        return None
    return before, places.before(after)


def _answers_end(probed: Probed, between: str, special: Sequence[str]) -> str:
    """What ends an answer, whether another turn follows or not: up to a special token, or words."""
    try:
        last = probed.around("ended", FIRST, ANSWER, SECOND, LAST)[-1]
    except UnlikeError:  # as where the template takes no conversation that ends in an answer
        last = between
    common = common_start(between, last)
    for token in _special(common, special):
        return common[: common.index(token) + len(token)]
    # White space is encoded with what follows it, and so belongs there.
    return common.rstrip() if probed.texts["ended"] is not None else ""


def _special(text: str, special: Sequence[str]) -> list[str]:
    """The special tokens in a text, in their order."""
    longest = sorted(special, key=len, reverse=True)
    return re.findall("|".join(map(re.escape, longest)) or r"(?!)", text)


def _common_end(*texts: str) -> str:
    return common_start(*(text[::-1] for text in texts))[::-1]


def _is_dated(renderer: TemplateRenderer, probed: Probed, image: str) -> bool:
    if "strftime_now" not in renderer.template.text:
        return False
    later = replace(renderer, now=renderer.now + timedelta(days=1000))
    return later([QUESTION.for_template(probed.style, image)]) != [probed.texts["question"]]
