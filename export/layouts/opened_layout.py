"""What a checkpoint of any layout is opened as, and the check that its tensors fit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from llava_edge.core.bundle_config import ImageConfig, QuantizedBefore
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.finite import only_finite
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.layouts.tensor_names import unused
from llava_edge.export.layouts.tensor_shapes import expected_shapes

LISTED = 10  # how many names an error lists of each kind


@dataclass(frozen=True)
class OpenedLayout:
    """A LLaVA's parts, its tensors under the canonical spelling."""

    config: LlavaConfig
    image: ImageConfig
    tokenizer: Tokenizer
    tensors: dict[str, LazyTensor]
    method: QuantizedBefore | None = None  # where the language model is quantized already
    loads_in_transformers: bool = False  # as it is, with nothing beside its folder
    provenance: dict[str, str] = field(default_factory=dict)
    language_model: tuple[Path, ...] = ()  # where it lies, if elsewhere


def check_tensors(
    tensors: Mapping[str, LazyTensor], config: LlavaConfig, folder: Path
) -> dict[str, LazyTensor]:
    """Keep the tensors that are computed with, in their own order.

    Raises CheckpointError, with all that is wrong, where any are missing, unknown or misshapen.
    """
    expected = expected_shapes(config)
    problems = {
        "lacks": [name for name in expected if name not in tensors],
        "has the unknown": [
            name
            for name, tensor in tensors.items()
            if name not in expected and not unused(name, config) and not _zero_bias(name, tensor)
        ],
        "has the wrong shape for": [
            f"{name} {list(tensors[name].shape)} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != shape
        ],
    }
    if any(problems.values()):
        what = "; ".join(f"{verb} {_listed(names)}" for verb, names in problems.items() if names)
        raise CheckpointError(
            f"{folder} does not fit its config.json: it {what}; fetch the whole checkpoint again."
        )
    return {name: only_finite(name, tensors[name]) for name in expected}


def _zero_bias(name: str, tensor: LazyTensor) -> bool:
    """AutoGPTQ writes biases, all zero, for layers that have none."""
    return name.endswith(".bias") and len(tensor.shape) == 1 and not np.any(tensor.read())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
