"""What a sample may say that no record can mean: each kind has a name and a sentence."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from llava_edge.core.prompt import IMAGE
from llava_edge.data.record_types import BadRecord

SPOKEN = ("video", "videos", "audio", "audios")
TOOLS = ("tools", "functions", "tool_calls", "function_call", "tool_call_id")
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
PREFERENCES = ("chosen", "rejected")
LOSS = ("loss", "train", "weight")  # by which trainers leave an answer or a sample out
# Keys that are obeyed or refused, so that none of them is left aside.
MEANT = frozenset((*SPOKEN, *TOOLS, *THOUGHTS, *PREFERENCES, *LOSS))
_PLACE = re.compile(r"<\|?\s*(?:image|video|audio)[ _-]?\d*\s*\|?>", re.IGNORECASE)


class SampleError(Exception):
    """Carries what is wrong with a sample up to where its record would have been."""

    def __init__(self, problem: str, sentence: str) -> None:
        super().__init__(sentence)
        self.record = BadRecord(problem, sentence)


def refuse_other_media(holder: Mapping[str, Any]) -> None:
    """Raise SampleError for videos, sounds, tools, thoughts, or answers to choose between."""
    if MEANT.isdisjoint(holder):
        return
    if named := _first(holder, SPOKEN):
        raise SampleError(
            "video or sound", f"holds {named}, but pictures are what is read; drop the record."
        )
    if named := _first(holder, TOOLS):
        raise SampleError(
            "tool calls", f"holds {named}, but turns of words are what is read; drop the record."
        )
    if named := _first(holder, THOUGHTS):
        raise SampleError(
            "reasoning",
            f"holds {named} beside an answer, which would be lost; write it into the answer or "
            "drop the key.",
        )
    if named := _first(holder, PREFERENCES):
        raise SampleError(
            "preference data",
            f"holds {named}, answers to choose between, but one conversation is what is read; "
            "train on preferences with TRL, or write the better answer as a conversation.",
        )


def refuse_other_places(text: str) -> None:
    """Raise SampleError where a turn names a picture in another way, or a video or a sound."""
    if "<" not in text:
        return
    for found in _PLACE.findall(text):
        if found != IMAGE:
            raise SampleError(
                f"{IMAGE} written otherwise",
                f"says {found}, but {IMAGE} is what stands for a picture; write that, or other "
                "words.",
            )


def is_learned(holder: Mapping[str, Any]) -> bool:
    """What `loss`, `train` or `weight` say: false and 0 leave an answer out of the loss.

    Raises SampleError for weights between.
    """
    for name in () if MEANT.isdisjoint(holder) else LOSS:
        value = holder.get(name)
        if value is None or value == 1:
            continue
        if value == 0:
            return False
        raise SampleError(
            "weights", f"gives {value!r} as {name}, but 0 or 1 (false or true) is what is read."
        )
    return True


def _first(holder: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if holder.get(name)), None)
