"""How long a bundle takes to load and to answer about a picture, and how much memory.

python -m llava_edge.bench.latency BUNDLE --image photo.jpg
"""

import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from PIL.Image import Image

from llava_edge.cli import run
from llava_edge.generation import Timings
from llava_edge.image import load_picture
from llava_edge.memory import peak_memory
from llava_edge.model import Llava, load


@dataclass(frozen=True)
class Latency:
    """Seconds and bytes; of the answers, the medians over all runs."""

    bundle: str
    threads: int  # 0: as many as onnxruntime chooses
    runs: int
    load_seconds: float
    encode_seconds: float
    prefill_seconds: float
    ttft_seconds: float
    tokens_per_second: float
    prompt_tokens: int
    generated_tokens: int
    peak_memory: int | None


def measure(bundle: Path | None, image: Path, prompt: str, *, tokens: int, runs: int) -> Latency:
    """Load a bundle and answer `runs` times about the picture, each time from nothing."""
    start = time.perf_counter()
    model = load(bundle)
    loaded = time.perf_counter() - start
    picture = load_picture(image)
    answers = [_answer(model, picture, run, prompt, tokens) for run in range(runs)]
    return Latency(
        bundle=model.config.name,
        threads=model.device.threads,
        runs=runs,
        load_seconds=loaded,
        encode_seconds=statistics.median(t.encode_seconds for t in answers),
        prefill_seconds=statistics.median(t.prefill_seconds for t in answers),
        ttft_seconds=statistics.median(t.ttft_seconds for t in answers),
        tokens_per_second=statistics.median(t.tokens_per_second for t in answers),
        prompt_tokens=answers[0].prompt_tokens,
        generated_tokens=answers[0].generated_tokens,
        peak_memory=peak_memory(),
    )


def _answer(model: Llava, picture: Image, run: int, prompt: str, tokens: int) -> Timings:
    box = (picture.width // 4, picture.height // 4, picture.width * 3 // 4, picture.height * 3 // 4)
    picture.paste((37 * run % 256, 90, 160), box)  # a picture that the encoder does not remember
    *_, last = model.stream(prompt, picture, max_tokens=tokens)
    return last.timings


def main(
    bundle: Annotated[
        Path | None, typer.Argument(help="The bundle's folder.", show_default="the demo's")
    ] = None,
    image: Annotated[Path, typer.Option(help="A picture.")] = Path("photo.jpg"),
    prompt: Annotated[str, typer.Option(help="What is asked.")] = "Describe the picture in detail.",
    tokens: Annotated[int, typer.Option(min=2, help="The longest answer.")] = 64,
    runs: Annotated[int, typer.Option(min=1, help="How many answers.")] = 5,
) -> None:
    """Print the latency of a bundle, line by line and then as one JSON line."""
    latency = asdict(measure(bundle, image, prompt, tokens=tokens, runs=runs))
    for name, value in latency.items():
        print(f"{name:18} {value:,.3f}" if isinstance(value, float) else f"{name:18} {value}")
    print(json.dumps(latency))


if __name__ == "__main__":
    run(lambda: typer.run(main))
