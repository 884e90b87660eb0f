"""A tensor that stays on disk until it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from llava_edge.export.quantization.blocks import Blocks


@dataclass(frozen=True)
class LazyTensor:
    """The shape of a tensor, and `read()`, which fetches it from disk anew each time.

    A matrix that is quantized already has `blocks()` as well; `read()` then dequantizes it.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray[Any, Any]]
    blocks: Callable[[], Blocks] | None = None
