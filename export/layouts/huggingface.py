"""LLaVA and LLaVA-NeXT as transformers saves them, whole or without their language model."""

from dataclasses import replace
from pathlib import Path

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.formats.prequantized import read_packed_format, unpack
from llava_edge.export.formats.weight_files import open_weights
from llava_edge.export.layouts.base_model import (
    check_same_text,
    check_sum,
    open_language_model,
    read_named_base,
    with_head,
)
from llava_edge.export.layouts.llava_config import LlavaConfig, read_llava_config
from llava_edge.export.layouts.opened_layout import OpenedLayout
from llava_edge.export.layouts.preprocessor_config import read_preprocessor_config
from llava_edge.export.layouts.tensor_names import respell
from llava_edge.hub.tokenizer_file import read_tokenizer_file


def open_huggingface(folder: Path, file: Section, base: Path | None) -> OpenedLayout:
    """Open the folder whose config.json is `file`; `base` is the language model of base.json.

    Raises CheckpointError where it is broken, unsupported or lacks its base, UsageError where one
    is given that is not needed.
    """
    config = read_llava_config(file)
    image = read_preprocessor_config(folder, config.tower)
    config = replace(config, tower=config.tower.shown(image.size))
    tensors = respell(open_weights(folder), folder)
    packed = read_packed_format(folder, file)
    if packed is not None:
        tensors = unpack(tensors, packed, folder)
    method = packed.method if packed else None
    named = read_named_base(folder)
    if named is None:
        if base is not None:
            raise UsageError(
                f"A base is given ({base}), but {folder} holds a language model of its own; "
                "leave the base out."
            )
        tokenizer = read_tokenizer_file(folder)
        config = replace(config, text=with_head(config.text, tensors))
        own = packed is None and _fits_transformers(config)
        return OpenedLayout(config, image, tokenizer, tensors, method, own)
    if base is None:
        raise CheckpointError(
            f"{folder} needs the language model {named.name} as its base; give the path of "
            f"{named.file} with --base."
        )
    check_sum(base, named)
    language = open_language_model(base)
    check_same_text(config.text, language.text, folder)
    tokenizer = language.tokenizer or read_tokenizer_file(folder)
    config = replace(config, text=with_head(config.text, language.tensors))
    provenance = {"base": named.name, "base_sha256": named.sha256}
    tensors = language.tensors | tensors
    return OpenedLayout(
        config,
        image,
        tokenizer,
        tensors,
        method,
        provenance=provenance,
        language_model=(base,),
    )


def _fits_transformers(config: LlavaConfig) -> bool:
    """Whether transformers builds this tower and projector by itself."""
    return config.tower.in_transformers and config.projector_layers == 2
