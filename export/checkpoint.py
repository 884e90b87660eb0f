"""Any checkpoint becomes one set of lazy tensors under one spelling."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.config import ImageConfig, PromptConfig
from llava_edge.errors import CheckpointError
from llava_edge.export.base_model import check_same_text, open_language_model, read_named_base
from llava_edge.export.checkpoint_config import (
    ClipConfig,
    EfficientNetLiteConfig,
    LlavaConfig,
    TextConfig,
    read_llava_config,
)
from llava_edge.export.checkpoint_section import Section
from llava_edge.export.lazy_tensor import LazyTensor
from llava_edge.export.lora import merge, open_adapter
from llava_edge.export.preprocessing import read_image_config
from llava_edge.export.safetensors_files import open_folder
from llava_edge.export.tensor_names import expected_shapes, respell, unused
from llava_edge.export.tokenizer_file import (
    check_vocabulary,
    choose_prompt,
    read_tokenizer_file,
)

__all__ = [
    "Checkpoint",
    "ClipConfig",
    "EfficientNetLiteConfig",
    "LazyTensor",
    "LlavaConfig",
    "TextConfig",
    "open_checkpoint",
]

LISTED = 10  # how many names an error lists of each kind


@dataclass(frozen=True)
class Checkpoint:
    """A LLaVA that is whole: `tensors` holds just what is computed with, in the right shapes."""

    name: str
    config: LlavaConfig
    image: ImageConfig
    prompt: PromptConfig
    tokenizer: Tokenizer
    tensors: Mapping[str, LazyTensor]
    provenance: dict[str, str]


def open_checkpoint(
    folder: Path, *, base: Path | None = None, prompt: str | None = None
) -> Checkpoint:
    """Open a Hugging Face LLaVA checkpoint, with its base and LoRA adapter where it has them.

    `base` is the GGUF file or Hugging Face folder that the checkpoint's base.json names. Raises
    CheckpointError where anything is missing, does not fit or is not supported.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder}; give a checkpoint's folder.")
    file = Section.from_file(folder / "config.json")
    config = read_llava_config(file)
    tensors = respell(open_folder(folder), folder)
    provenance = {"checkpoint": folder.resolve().name}
    named = read_named_base(folder, base)
    if named is None or base is None:
        tokenizer = read_tokenizer_file(folder)
    else:
        language_model = open_language_model(base)
        check_same_text(config.text, language_model.text, folder)
        tokenizer = language_model.tokenizer
        tensors = language_model.tensors | tensors
        provenance |= {"base": named.name, "base_sha256": named.sha256}
    if "lm_head.weight" in tensors:  # right also where it repeats the embeddings
        config = replace(config, text=replace(config.text, tied=False))
    adapter = open_adapter(folder)
    if adapter is not None:
        tensors = merge(tensors, adapter, folder)
        provenance["adapter"] = "LoRA"
    check_vocabulary(tokenizer, config.text.vocab_size, folder)
    return Checkpoint(
        name=_name(file, folder),
        config=config,
        image=read_image_config(folder, config.tower.image_size),
        prompt=choose_prompt(prompt, file, tokenizer),
        tokenizer=tokenizer,
        tensors=_checked(tensors, config, folder),
        provenance=provenance,
    )


def _name(file: Section, folder: Path) -> str:
    """What training called it, else the folder's name."""
    default = folder.resolve().name
    return file.section("llava_edge").text("name", default) if file.has("llava_edge") else default


def _checked(
    tensors: Mapping[str, LazyTensor], config: LlavaConfig, folder: Path
) -> dict[str, LazyTensor]:
    """Keep the tensors that are computed with, in order; all that is wrong goes into one error."""
    expected = expected_shapes(config)
    problems = {
        "lacks": [name for name in expected if name not in tensors],
        "has the unknown": [
            name for name in tensors if name not in expected and not unused(name, config)
        ],
        "misshapes": [
            f"{name} {list(tensors[name].shape)} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != shape
        ],
    }
    if any(problems.values()):
        what = "; ".join(f"{verb} {_listed(names)}" for verb, names in problems.items() if names)
        raise CheckpointError(
            f"{folder} does not fit its config.json: it {what}; fetch or save the whole "
            "checkpoint anew."
        )
    return {name: tensors[name] for name in expected}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
