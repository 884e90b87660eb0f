"""What a bundle is compared with its original on: conversations about pictures, and text."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.picture import PictureSource
from llava_edge.core.prompt import Message, Picture, Text, render
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.record_types import Record
from llava_edge.errors import RecordError
from llava_edge.export.progress_bars import step_bar
from llava_edge.runtime.scoring import Sample

QUESTIONS = (
    "What is in the picture?",
    "Describe the picture in detail.",
    "Which colours do you see?",
    "How many shapes are there, and where are they?",
)
ANSWER = 32  # tokens of an original's own answer
WINDOW = 256  # tokens of a text that are looked at together
_TEXT = Path(__file__).with_name("sample_text.txt")
_COLOURS = ("crimson", "gold", "seagreen", "royalblue", "orchid", "sienna", "white", "black")


class Original(Protocol):
    """The model that answers questions about drawn pictures."""

    def encode(self, source: PictureSource) -> Floats: ...
    def embed(self, ids: list[int]) -> Floats: ...
    def answer(self, rows: Floats, stop: Collection[int], tokens: int) -> list[int]: ...


def conversation_samples(
    original: Original,
    prompt: PromptConfig,
    stop: Collection[int],
    tokenizer: Tokenizer,
    records: Sequence[Record] | None,
    count: int,
) -> Iterator[Sample]:
    """The first of the records, or else drawn pictures with what the original says of them.

    What it says ends at an id of `stop`.
    Records about several pictures are left out; raises RecordError where no others are there.
    """
    if records is not None:
        usable = [record for record in records if len(record.images) < 2]
        if not usable:
            raise RecordError("All records are about several pictures; give some about one.")
        for record in usable[:count]:
            segments = tuple(render(record.messages, prompt, tokenizer))
            yield Sample(segments, next(iter(record.images), None))
        return
    for number in step_bar("Asking about drawn pictures", range(count)):
        question = QUESTIONS[number % len(QUESTIONS)]
        message = Message("user", [Picture(), question])
        segments = tuple(render([message], prompt, tokenizer))
        picture = draw_picture(number)
        rows = Sample(segments, picture).rows(original.embed, original.encode(picture))
        answer = Text(tuple(original.answer(rows, stop, ANSWER)), learned=True)
        yield Sample((*segments, answer), picture)


def text_samples(tokenizer: Tokenizer, text: str | None = None) -> list[Sample]:
    """A text, by default one of everyday subjects, in windows of equal length."""
    words = _TEXT.read_text(encoding="utf-8") if text is None else text
    ids = tokenizer.encode([(words, False)])
    windows = (ids[start : start + WINDOW] for start in range(0, len(ids), WINDOW))
    return [Sample((Text(tuple(window)),)) for window in windows if len(window) > WINDOW // 2]


def draw_picture(number: int) -> Image.Image:
    """A picture of plain shapes on a gradient, always the same one for a number."""
    random = np.random.default_rng(number)
    width, height = (int(side) for side in random.integers(240, 640, 2))
    across, down = np.linspace(0, 1, width), np.linspace(0, 1, height)
    corners = random.integers(0, 256, (2, 3))
    shade = (down[:, None] + across[None, :])[..., None] / 2
    pixels = corners[0] * (1 - shade) + corners[1] * shade + random.normal(0, 6, (height, width, 1))
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for colour in random.choice(_COLOURS, int(random.integers(2, 5)), replace=False):
        size = int(random.integers(40, min(width, height) // 2))
        left, top = int(random.integers(0, width - size)), int(random.integers(0, height - size))
        box = (left, top, left + size, top + size)
        (draw.ellipse, draw.rectangle)[int(random.integers(2))](box, fill=str(colour))
    return picture
