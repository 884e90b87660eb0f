"""Tensors of `weights.bin` that the host reads itself."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from llava_edge.core.bundle_config import TensorRef
from llava_edge.errors import BundleError


def map_tensor(
    weights: Path, ref: TensorRef | None, shape: tuple[int, ...], *dtypes: str
) -> npt.NDArray[np.generic]:
    """Map a tensor that bundle.json describes; its pages are read when they are asked for.

    bfloat16 comes as uint16. Raises BundleError where it has not this shape and one of these types.
    """
    fits = ref is not None and ref.shape == shape and ref.dtype in dtypes and ref.offset >= 0
    if ref is None or not fits:
        raise BundleError(
            f"bundle.json describes a tensor in {weights} as {ref}, not as "
            f"{' or '.join(dtypes)} {list(shape)}; export the bundle again."
        )
    dtype = "uint16" if ref.dtype == "bfloat16" else ref.dtype
    try:
        mapped = np.memmap(weights, dtype=dtype, mode="r", offset=ref.offset, shape=shape)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{weights} is too short for the tensor {list(shape)} at byte {ref.offset:,}; "
            "export the bundle again."
        ) from error
    return np.asarray(mapped)  # a plain array over the same pages, quicker to index
