"""The files beside a checkpoint's weights that transformers' processor and tokenizer read."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import ImageConfig, TilesConfig
from llava_edge.train.models.preprocessing import image_processor

# Of the language model's folder: what transformers' AutoTokenizer and generate() read there.
_COPIED = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json")  # of a LLaVA's processor


def write_preprocessing(
    image: ImageConfig,
    folder: Path,
    *,
    patch_size: int,
    image_tokens: int,
    select: str,
    token: str,
    tiles: TilesConfig | None = None,
) -> None:
    """Write how transformers' LlavaProcessor prepares a picture and its `token` in the prompt.

    With tiles it is LlavaNextProcessor; `image_tokens` are those of a view.
    """
    patches = (image.size // patch_size) ** 2
    dropped = 1 if select == "default" else 0
    processor: dict[str, object] = {
        "processor_class": "LlavaNextProcessor" if tiles else "LlavaProcessor",
        "image_token": token,
        "patch_size": patch_size,
        "vision_feature_select_strategy": select,
        "num_additional_image_tokens": image_tokens + dropped - patches,
    }
    _write(folder / "preprocessor_config.json", image_processor(image, tiles))
    _write(folder / "processor_config.json", processor)


def write_tokenizer(tokenizer: Tokenizer, sources: Sequence[Path], folder: Path) -> None:
    """Write the tokenizer, and copy the settings beside it from the first folder that has them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    copy_first(_COPIED, sources, folder)


def copy_first(names: Sequence[str], sources: Sequence[Path], folder: Path) -> None:
    """Copy each file from the first source that has it."""
    for name in names:
        source = next((source for source in sources if (source / name).exists()), None)
        if source is not None:
            shutil.copyfile(source / name, folder / name)


def _write(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
