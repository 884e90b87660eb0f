"""The runtime's calls that benchmarks make, and pictures that it has not seen yet."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from llava_edge.core.array_types import Floats
from llava_edge.core.picture import load_picture, preprocess
from llava_edge.core.tiles import cut
from llava_edge.runtime.answer import Timings
from llava_edge.runtime.chat import Chat
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.runtime.options import Options
from llava_edge.runtime.prefix_cache import PrefixCache
from llava_edge.runtime.turn import Images

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds that a call took, and what it returned."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def open_bundle(bundle: Path | str | None, device: str, context: int | None = None) -> Llava:
    """Load a bundle."""
    return load(bundle, device, context=context)


def ask(
    asked: Llava | Chat, prompt: str, image: Images = None, *, tokens: int
) -> tuple[str, Timings]:
    """The whole answer of a model or a chat, and its timings."""
    pieces = list(asked.stream(prompt, image, Options(max_tokens=tokens)))
    return "".join(piece.text for piece in pieces), pieces[-1].timings


def pixels(model: Llava, picture: bytes) -> Floats:
    """Decode and preprocess a picture -> what the vision tower sees, [n, 3, H, W]."""
    tiles, image = model.config.vision.tiles, model.config.vision.image
    decoded = load_picture(picture)
    return cut(decoded, image, tiles) if tiles else preprocess(decoded, image)[None]


def unseen(path: Path, number: int) -> bytes:
    """The file of a picture with a box painted on it, whose colour the number chooses."""
    picture = load_picture(path)
    width, height = picture.size
    colour = (37 * number % 256, 90 + number // 256 % 128, 160)
    picture.paste(colour, (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    file = io.BytesIO()
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    picture.save(file, "JPEG" if is_jpeg else "PNG", quality=95)
    return file.getvalue()


class TokenReader:
    """The language model alone: it reads ids and tells the likeliest next one."""

    def __init__(self, model: Llava) -> None:
        self._cache = PrefixCache(model.decoder)

    def forget(self) -> None:
        """Begin with an empty KV cache."""
        self._cache.cut(0)

    def read(self, ids: list[int]) -> int:
        """Append ids to the KV cache, in chunks as for a prompt -> the likeliest id after them."""
        cache = self._cache
        if len(ids) == 1:
            return cache.top(ids[0]).id
        for _ in cache.prefill([*cache.items, *ids]):
            pass
        return int(cache.logits.argmax())
