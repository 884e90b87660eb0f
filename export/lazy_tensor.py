"""A tensor that stays on disk until it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LazyTensor:
    """The shape of a tensor, and `read()`, which fetches it from disk anew each time."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray[Any, Any]]
