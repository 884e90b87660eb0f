"""What HTTP costs over the API, and how soon a phone's picture is answered after its upload."""

import io
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from llava_edge.bench.serving.serve_load import LoadPlan
from llava_edge.bench.serving.streamed_request import ChatServer
from llava_edge.bench.summary import Ratio, Summary, ratio_by_rounds, summarize
from llava_edge.core.picture import load_picture
from llava_edge.runtime.model import Llava
from llava_edge.runtime.options import Options

PHONE = (4000, 3000)  # pixels: 12 MP


@dataclass(frozen=True)
class Overhead:
    """Seconds of whole answers about a known picture, and until a phone's has its first words."""

    api: Summary
    http: Summary
    ratio: Ratio  # http over api, round by round
    phone: Summary
    phone_bytes: int


def serve_overhead(model: Llava, server: ChatServer, plan: LoadPlan, rounds: int) -> Overhead:
    """Ask the same of both in turns; the model is in this process, the server in another."""
    picture, options = plan.image.read_bytes(), Options(max_tokens=plan.tokens)
    api, http = [], []
    for _ in range(rounds + 1):
        start = perf_counter()
        model.answer(plan.prompt, picture, options)
        api.append(perf_counter() - start)
        http.append(server.ask(plan.prompt, picture, plan.tokens).seconds)
    photographs = [_photograph(plan.image, number) for number in range(rounds)]
    phone = [server.ask(plan.prompt, file, 2).first for file in photographs]
    return Overhead(
        summarize(api[1:]),
        summarize(http[1:]),
        ratio_by_rounds(api[1:], http[1:]),
        summarize(phone),
        len(photographs[0]),
    )


def _photograph(image: Path, number: int) -> bytes:
    """The picture as large as a phone takes it, with some noise, as a JPEG file."""
    large = np.asarray(load_picture(image).resize(PHONE), np.int16)
    noise = np.random.default_rng(number).integers(-6, 7, large.shape, np.int16)
    file = io.BytesIO()
    Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()
