"""The kinds of LLaVA that are trained: transformers' Llava, and with tiles its LlavaNext."""

import math
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from llava_edge.core.bundle_config import TilesConfig

AnyConfig: TypeAlias = LlavaConfig | LlavaNextConfig
AnyLlava: TypeAlias = LlavaForConditionalGeneration | LlavaNextForConditionalGeneration
NEWLINE = "image_newline"  # of LlavaNext: the row that ends each line of a picture's tiles


def new_config(tiles: TilesConfig | None, **values: Any) -> AnyConfig:
    """A configuration of these values; with tiles LlavaNext's."""
    if tiles is None:
        return LlavaConfig(**values)
    return LlavaNextConfig(**values, image_grid_pinpoints=[list(p) for p in tiles.grid_pinpoints])


def read_llava_config(folder: Path) -> AnyConfig:
    """What a checkpoint's config.json says; raises transformers' OSError or ValueError."""
    config: AnyConfig = AutoConfig.from_pretrained(folder)
    return config


def model_class(config: AnyConfig) -> type[AnyLlava]:
    """The class of transformers that a configuration is of."""
    tiled = isinstance(config, LlavaNextConfig)
    kind: type[AnyLlava]
    kind = LlavaNextForConditionalGeneration if tiled else LlavaForConditionalGeneration
    return kind


def new_newline(config: AnyConfig) -> nn.Parameter | None:
    """A random newline [D] in fp32, as transformers draws it; None where pictures have no tiles."""
    if not isinstance(config, LlavaNextConfig):
        return None
    size = config.text_config.hidden_size
    return nn.Parameter(torch.randn(size) / math.sqrt(size))


def newline_of(model: AnyLlava) -> nn.Parameter | None:
    """The model's newline, if it has one."""
    newline: nn.Parameter | None = getattr(model.model, NEWLINE, None)
    return newline


def join_views(model: AnyLlava, rows: Tensor, image_sizes: Tensor | None) -> Tensor:
    """Projected rows of views [n, T, D] -> those of the pictures, in order [T', D].

    With tiles, transformers' LlavaNext joins each picture's by its size in `image_sizes` [m, 2].
    """
    newline = newline_of(model)
    if newline is None:
        return rows.flatten(0, 1)
    if image_sizes is None:  # no rows, but what learns must have a gradient on every device
        return torch.cat([rows.flatten(0, 1), newline[:0, None].expand(0, len(newline))])
    config = model.config
    side, pairs = config.vision_config.image_size, config.image_grid_pinpoints
    sizes = image_sizes.tolist()
    counts = [image_size_to_num_patches(size, pairs, side) for size in sizes]
    select = config.vision_feature_select_strategy
    packed, _ = model.pack_image_features(rows.split(counts), sizes, select, newline)
    return torch.cat(packed)
