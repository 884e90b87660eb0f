"""What a program's memory is while it uses a bundle, and what comes back afterwards.

    python -m llava_edge.bench.resident_memory BUNDLE

Each row is the resident size of the process (psutil) after a step. Pages of files that are mapped
count too.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from PIL import Image

from llava_edge.core.exit_on_error import run_command
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.runtime.options import Options

IDLE = 2.0  # seconds
PICTURE = Image.effect_noise((640, 480), 60)


def steps(bundle: Path) -> Iterator[tuple[str, int]]:
    """What was done, and the bytes of the process after it."""
    import onnxruntime  # noqa: F401  (what its import takes is no bundle's)

    yield "before the bundle is loaded", resident()
    model = load(bundle, "cpu", idle_trim=IDLE)
    yield "loaded", resident()
    model.answer("What is this?", PICTURE, Options(max_tokens=20))
    yield "a short question about a picture", resident()
    long = half_a_context(model)
    *_, last = model.stream(long, options=Options(max_tokens=20))
    yield f"a prompt of {last.timings.prompt_tokens:,} tokens", resident()
    chat = model.chat()
    *_, last = chat.stream(long, options=Options(max_tokens=20))
    yield f"a chat of {last.timings.prompt_tokens:,} tokens beside it", resident()
    time.sleep(IDLE + 1)
    yield "idle: the prompt is forgotten, the chat is not", resident()
    chat.close()
    yield "chat.close()", resident()
    model.close()
    yield "model.close()", resident()


def half_a_context(model: Llava) -> str:
    """Words that fill half of the context."""
    tokens = len(model.tokenizer.encode([("word " * 100, False)]))
    return "word " * (100 * model.decoder.context // (2 * tokens))


def resident() -> int:
    """Bytes of memory that this process has."""
    size: int = psutil.Process().memory_info().rss
    return size


def _main(bundle: Path) -> None:
    for name, size in steps(bundle):
        print(f"{size / 1e6:8.1f} MB  {name}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m llava_edge.bench.resident_memory BUNDLE")
    run_command(lambda: _main(Path(sys.argv[1])))
