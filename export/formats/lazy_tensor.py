"""A tensor that stays on disk until it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from llava_edge.export.quantization.blocks import Blocks
from llava_edge.export.quantization.nf4 import Nf4


@dataclass(frozen=True)
class LazyTensor:
    """The shape of a tensor, and `read()`, which fetches it from disk anew each time.

    A matrix that is quantized already and that a bundle can keep as it is has `blocks()` as well;
    of one that it cannot keep, `unkept` says why. Of both, `read()` gives the dequantized matrix.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray[Any, Any]]
    blocks: Callable[[], Blocks | Nf4] | None = None
    unkept: str = ""
    dtype: str = ""  # safetensors' name of the numbers on disk, where they come from a file
