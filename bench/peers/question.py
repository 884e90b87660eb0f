"""Two questions about a picture, as text and in the forms that runtimes read."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llava_edge.bench.call_runtime import timed, unseen
from llava_edge.core.prompt import Message, Picture, Segment, render
from llava_edge.runtime.model import Llava

FOLLOW_UP = "And what else is in it?"
ANSWER = "There are several things in the picture, some of them large."
ANSWER_TOKENS = 16  # of llava-edge, which answers by itself; about as many


@dataclass(frozen=True)
class PeerQuestion:
    """Two turns about one picture; peers take `answer` for their own to the first."""

    picture: str  # the path of a file that no encoder has seen
    prompt: str
    rows: str  # the path of the bundle's image embeddings of it, a .npy file
    before: tuple[int, ...]  # ids
    after: tuple[int, ...]
    answer: tuple[int, ...]
    follow_up_prompt: str
    follow_up: tuple[int, ...]  # ids from the end of the answer to the next
    image_tokens: int
    tower_seconds: float  # from the file to the rows

    @property
    def tokens(self) -> int:
        """How many tokens the first turn has."""
        return len(self.before) + self.image_tokens + len(self.after)

    def fields(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def make_question(
    model: Llava, image: Path, prompt: str, number: int, folder: Path
) -> PeerQuestion:
    """Paint the picture, encode it and write both into `folder`."""
    picture, rows = folder / f"{number}{image.suffix}", folder / f"{number}.npy"
    picture.write_bytes(unseen(image, number))
    seconds, encoded = timed(lambda: model.encode_image(picture))
    np.save(rows, encoded.rows)
    config, tokenizer = model.config.prompt, model.tokenizer
    segments = render([Message("user", [Picture(), prompt])], config, tokenizer)
    place = next(i for i, segment in enumerate(segments) if isinstance(segment, Picture))
    second = render([Message("user", FOLLOW_UP)], config, tokenizer, first=False)
    answer = tokenizer.encode([(ANSWER, False)])
    end = tokenizer.encode([(config.assistant_suffix, True)], after=answer[-1])
    return PeerQuestion(
        picture=str(picture),
        prompt=prompt,
        rows=str(rows),
        before=_ids(segments[:place]),
        after=_ids(segments[place + 1 :]),
        answer=tuple(answer),
        follow_up_prompt=FOLLOW_UP,
        follow_up=(*end, *_ids(second)),
        image_tokens=len(encoded.rows),
        tower_seconds=seconds,
    )


def _ids(segments: list[Segment]) -> tuple[int, ...]:
    return tuple(
        id for segment in segments if not isinstance(segment, Picture) for id in segment.ids
    )
