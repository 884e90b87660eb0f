"""What every form of a checkpoint is opened as, before it is checked."""

from dataclasses import dataclass, field

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import ImageConfig, QuantizedBefore
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.llava_config import LlavaConfig


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
