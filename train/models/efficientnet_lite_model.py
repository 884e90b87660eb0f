"""EfficientNet-lite as a vision tower: a frozen CNN whose two levels become image tokens.

The network is EfficientNet-lite (Tan and Le, arXiv 1905.11946, without squeeze-and-excitation and
with ReLU6). It is a transformers model, so `LlavaForConditionalGeneration` builds it by its
`model_type` as soon as this module is imported.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

LITE0_STAGES = (  # kernel, stride, expand ratio, channels, repeats
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class EfficientNetLiteModelConfig(PretrainedConfig):
    """The shape of the tower; the defaults are EfficientNet-lite0's."""

    model_type = "efficientnet_lite"

    def __init__(
        self,
        image_size: int = 288,
        stem_channels: int = 32,
        stages: tuple[tuple[int, ...], ...] = LITE0_STAGES,
        head_channels: int = 1280,
        fine_stage: int = 4,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.stem_channels = stem_channels
        self.stages = [list(stage) for stage in stages]
        self.head_channels = head_channels
        self.fine_stage = fine_stage
        kwargs["hidden_size"] = head_channels + 4 * self.stages[fine_stage][3]
        super().__init__(**kwargs)


class ConvNorm(nn.Module):
    """A convolution with TensorFlow's "SAME" padding, batch normalization and, mostly, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        height, width = (self._padding(size) for size in x.shape[-2:])
        # The odd pixel goes to the bottom and the right.
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.act else x

    def _padding(self, size: int) -> int:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        padding: int = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return padding


class Block(nn.Module):
    """A mobile inverted bottleneck: expand, depthwise, project, and the residual."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, ratio: int) -> None:
        super().__init__()
        inner = inputs * ratio
        self.expand = ConvNorm(inputs, inner, 1) if ratio != 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, outputs, 1, act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else self.expand(x)
        out: Tensor = self.project(self.depthwise(inner))
        return x + out if self.residual else out


class EfficientNetLiteModel(PreTrainedModel):
    """Pixels [n, 3, H, W] -> rows [n, H/32 * W/32, C + 4c].

    The head's map has C channels and stride 32. The map of stage `fine_stage` has c channels
    and stride 16: four of its pixels lie under each pixel of the head's map and are joined to
    it.
    """

    config_class = EfficientNetLiteModelConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"
    _no_split_modules = ("Block",)

    def __init__(self, config: EfficientNetLiteModelConfig) -> None:
        super().__init__(config)
        channels = config.stem_channels
        self.stem = ConvNorm(3, channels, 3, stride=2)
        self.blocks = nn.ModuleList()
        self._fine_block = 0
        for index, (kernel, stride, ratio, outputs, repeats) in enumerate(config.stages):
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                self.blocks.append(Block(channels, outputs, kernel, step, ratio))
                channels = outputs
            if index == config.fine_stage:
                self._fine_block = len(self.blocks) - 1
        self.head = ConvNorm(channels, config.head_channels, 1)
        self.post_init()

    def train(self, mode: bool = True) -> "EfficientNetLiteModel":
        """Stay in evaluation mode: a frozen tower's normalization statistics must not drift."""
        super().train(False)
        return self

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        x = self.stem(pixel_values)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self._fine_block:
                fine = x
        features = torch.cat([self.head(x), F.pixel_unshuffle(fine, 2)], dim=1)
        rows = features.flatten(2).transpose(1, 2)  # [n, T, C + 4c]
        return BaseModelOutputWithPooling(last_hidden_state=rows, hidden_states=(rows,))


AutoConfig.register("efficientnet_lite", EfficientNetLiteModelConfig)
AutoModel.register(EfficientNetLiteModelConfig, EfficientNetLiteModel)
