"""Questions about a picture: the tower, and the first token with a new and a known picture."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from llava_edge.bench.answer_stages import StageTime, questions
from llava_edge.bench.call_runtime import pixels, timed, unseen
from llava_edge.bench.defaults import PROMPT
from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut, timing, timings
from llava_edge.bench.gpu.models import open_model, roofline_of
from llava_edge.bench.roofline import Roofline
from llava_edge.bench.summary import summarize
from llava_edge.core.array_types import Floats
from llava_edge.runtime.model import Llava

FIRST = "TTFT, new picture"
TOWER = "vision tower and projector"
SIZE = (640, 480)  # of the picture that is drawn


def measure(campaign: Campaign, name: str) -> Iterator[Finding | LeftOut]:
    """The tower alone, then all stages with pictures, each of which is new to the encoder."""
    model = open_model(campaign, name)
    if model.vision.not_recorded:
        yield LeftOut("a CUDA graph of the tower", model.vision.not_recorded)
    roof = roofline_of(campaign, model)
    path = drawn_picture(campaign.models)
    new = (unseen(path, number) for number in count())
    yield _tower(model, pixels(model, next(new)), campaign.amounts.runs, roof)
    runs = [list(questions(model, new, PROMPT)) for _ in range(1 + campaign.amounts.runs)]
    samples = [sample for run in runs[1:] for sample in run]  # the first warms up
    first = [sample.seconds for sample in samples if sample.name == FIRST]
    others = (sample for sample in samples if sample.kind != "encode" and sample.name != FIRST)
    yield timing(FIRST, summarize(first), least=_least(samples, roof))
    yield from timings(others, roof)


def _tower(model: Llava, seen: Floats, runs: int, roof: Roofline | None) -> Finding:
    """The vision graph alone, given pixels [n, 3, H, W]."""
    seconds = [timed(lambda: model.vision.rows(seen, SIZE))[0] for _ in range(1 + runs)]
    least = roof.encode(len(seen)) if roof else None
    return timing(TOWER, summarize(seconds[1:]), least=least)


def drawn_picture(folder: Path) -> Path:
    """A JPEG file of coloured clouds, about as large as a photograph; the same each time."""
    path = folder / "picture.jpg"
    if not path.exists():
        clouds = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(clouds).resize(SIZE).save(path, quality=90)
    return path


def _least(samples: list[StageTime], roof: Roofline | None) -> float | None:
    """The roofline of a first token: the arithmetic of the tower and of the prompt."""
    if roof is None:
        return None
    tokens = next(sample.amount for sample in samples if sample.kind == "prefill")
    tiles = next(sample.amount for sample in samples if sample.kind == "encode")
    return roof.encode(tiles) + roof.prefill(tokens)
