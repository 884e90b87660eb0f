"""Where a chat template writes pictures, and what it writes around them."""

from dataclasses import dataclass
from typing import Literal

from llava_edge.export.prompts.probes import FIRST, SECOND, Probed, UnlikeError, common_start


@dataclass(frozen=True)
class PicturePlaces:
    """The fields of a PromptConfig that say it; see there."""

    image: str = ""
    place: Literal["as_written", "in_place", "first"] = "as_written"
    prefix: str = ""
    suffix: str = "\n"  # as LLaVA has it
    words_prefix: str = ""
    gap: str = ""

    def before(self, text: str) -> str:
        """What stands before a user's words, without the words' own prefix."""
        return text.removesuffix(self.words_prefix)


def picture_places(probed: Probed) -> PicturePlaces:
    """Raises UnlikeError where pictures stand neither before the words nor at their places."""
    if not probed.image:
        return PicturePlaces()
    plain, _ = probed.around("question", FIRST)
    pictured, _ = probed.around("picture first", FIRST)
    if probed.image not in pictured:
        raise UnlikeError("writes pictures after the words")
    before, _, after = pictured.partition(probed.image)
    begun = common_start(plain, before)
    words_prefix, prefix = plain[len(begun) :], before[len(begun) :]
    last, _ = probed.around("picture last", FIRST)
    if probed.image in last:
        gap = probed.around("picture between", FIRST, SECOND)[1]
        suffix = after.removesuffix(words_prefix)
        return PicturePlaces(probed.image, "first", prefix, suffix, words_prefix, gap)
    return PicturePlaces(probed.image, "in_place", prefix, after, words_prefix)
