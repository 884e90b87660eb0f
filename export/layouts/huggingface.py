"""LLaVA and LLaVA-NeXT as transformers saves them, whole or without their language model."""

from dataclasses import replace
from pathlib import Path

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.prequantized import open_model_weights
from llava_edge.export.layouts.base_model import (
    check_same_text,
    check_sum,
    nearest_tokenizer,
    open_language_model,
    read_named_base,
    with_head,
)
from llava_edge.export.layouts.llava_config import LlavaConfig, read_llava_config
from llava_edge.export.layouts.named_tower import is_whole, laid_over_tower
from llava_edge.export.layouts.opened_layout import OpenedLayout
from llava_edge.export.layouts.tensor_names import respell
from llava_edge.export.prompts.chat_sources import ChatSources
from llava_edge.export.towers.known_towers import read_own_tower
from llava_edge.hub.preprocessor_config import read_preprocessor_config
from llava_edge.hub.tokenizer_file import read_tokenizer_file


def open_huggingface(
    folder: Path, file: Section, base: Path | None, vision_tower: Path | None
) -> OpenedLayout:
    """Open the folder whose config.json is `file`; `base` is the language model of base.json.

    `vision_tower` has what the folder lacks of its tower. Raises CheckpointError where it is
    broken, unsupported or lacks its base, UsageError where one of them is given that is not needed.
    """
    config = read_llava_config(file)
    weights, method = open_model_weights(folder, file)
    tensors = respell(weights, folder)
    if vision_tower is not None:
        tensors = _with_tower(tensors, folder, config, vision_tower)
    image = read_preprocessor_config(folder, config.tower.usual, config.tower.image_size)
    config = replace(config, tower=config.tower.shown(image.size))
    named = read_named_base(folder)
    if named is None:
        if base is not None:
            raise UsageError(
                f"A base is given ({base}), but {folder} holds a language model of its own; "
                "leave the base out."
            )
        config = replace(config, text=with_head(config.text, tensors))
        own = vision_tower is None and _fits_transformers(config)
        tokenizer = read_tokenizer_file(folder)
        chat = ChatSources((folder,))
        return OpenedLayout(config, image, tokenizer, folder, tensors, chat, method, own)
    if base is None:
        raise CheckpointError(
            f"{folder} needs the language model {named.name} as its base; give the path of "
            f"{named.file} with --base."
        )
    check_sum(base, named)
    language = open_language_model(base)
    check_same_text(config.text, language.text, folder)
    tokenizer, tokenizer_from = nearest_tokenizer(folder, language)
    return OpenedLayout(
        replace(config, text=with_head(config.text, language.tensors)),
        image,
        tokenizer,
        tokenizer_from,
        language.tensors | tensors,
        language.chat.under(folder),
        language.method or method,
        provenance={"base": named.name, "base_sha256": named.sha256},
    )


def _with_tower(
    tensors: dict[str, LazyTensor], folder: Path, config: LlavaConfig, vision_tower: Path
) -> dict[str, LazyTensor]:
    if is_whole(tensors, config.tower, config.feature_layers):
        raise UsageError(
            f"A vision tower is given ({vision_tower}), but {folder} holds one of its own; "
            "leave it out."
        )
    if read_own_tower(Section.from_file(vision_tower / "config.json")) != config.tower:
        raise CheckpointError(
            f"{vision_tower} is not the vision tower that vision_config in "
            f"{folder / 'config.json'} describes; give the one that the checkpoint was trained on."
        )
    return laid_over_tower(tensors, vision_tower, config.tower, config.feature_layers)


def _fits_transformers(config: LlavaConfig) -> bool:
    """Whether transformers builds this tower and projector by itself."""
    return config.tower.in_transformers and config.projector_layers == 2
