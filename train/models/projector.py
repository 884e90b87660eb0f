"""The projector, which turns a vision tower's rows into rows that the language model reads."""

import torch
from torch import Tensor, nn
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from llava_edge.train.models.llava_kind import AnyConfig


class LinearProjector(nn.Module):
    """LLaVA v1's projector: one linear layer, in the place of transformers' two."""

    def __init__(self, config: AnyConfig) -> None:
        super().__init__()
        inputs, outputs = config.vision_config.hidden_size, config.text_config.hidden_size
        self.linear_1 = nn.Linear(inputs, outputs, bias=config.multimodal_projector_bias)

    def forward(self, image_features: Tensor) -> Tensor:
        rows: Tensor = self.linear_1(image_features)
        return rows


def new_projector(config: AnyConfig) -> nn.Module:
    """A random projector of the config's `mm_projector_type`, in fp32: rows [.., C] -> [.., D]."""
    kind = LinearProjector if config.mm_projector_type == "linear" else LlavaMultiModalProjector
    projector: nn.Module = kind(config).to(torch.float32)
    return projector
