"""Any checkpoint becomes one set of lazy tensors under one spelling."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import ImageConfig, PromptConfig, QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.huggingface import open_huggingface
from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.layouts.lora import merge, open_adapter
from llava_edge.export.layouts.opened_layout import OpenedLayout, check_tensors
from llava_edge.export.layouts.original import open_original
from llava_edge.export.layouts.tokenizer_fit import check_vocabulary, choose_prompt
from llava_edge.export.towers.vision_tower import TOWER
from llava_edge.hub.find_model import find_model


@dataclass(frozen=True)
class Checkpoint:
    """A LLaVA that is whole: `tensors` holds just what is computed with, in the right shapes."""

    folder: Path
    name: str
    config: LlavaConfig
    image: ImageConfig
    prompt: PromptConfig
    tokenizer: Tokenizer
    tensors: Mapping[str, LazyTensor]
    method: QuantizedBefore | None  # where the language model is quantized already
    loads_in_transformers: bool  # as it is, with nothing beside its folder
    provenance: dict[str, str]
    file: Section  # config.json
    folders: tuple[Path, ...]  # that it is made of, whose settings count before those of the next
    unused: Mapping[str, LazyTensor]  # of the tower, which nothing is computed from


def open_checkpoint(
    checkpoint: Path | str,
    *,
    base: Path | str | None = None,
    vision_tower: Path | str | None = None,
    prompt: str | None = None,
) -> Checkpoint:
    """Open a LLaVA in any form that is known by its content; names are folders or the hub's.

    `base` is the language model (a folder or a GGUF file) or the LLaVA that the checkpoint builds
    on, `vision_tower` the folder of its tower; without them those that the checkpoint names are
    taken. Raises CheckpointError where anything is missing, does not fit or is not supported.
    """
    folder = find_model(checkpoint)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give a checkpoint's folder.")
    found_base = None if base is None else find_model(base, "--base")
    tower = None if vision_tower is None else find_model(vision_tower, "--vision-tower")
    file, source = _open(folder, found_base, tower)
    local = Path(checkpoint).expanduser().exists()
    name = folder.resolve().name if local else str(checkpoint)
    tensors, provenance = source.tensors, {"checkpoint": name, **source.provenance}
    adapter = open_adapter(folder)
    if adapter is not None:
        tensors = merge(tensors, adapter, folder)
        provenance["adapter"] = "LoRA"
    check_vocabulary(source.tokenizer, source.config.text.vocab_size, folder)
    return Checkpoint(
        folder=folder,
        name=_name(file, name),
        config=source.config,
        image=source.image,
        prompt=choose_prompt(prompt, file, source.tokenizer, source.config.text.model_type),
        tokenizer=source.tokenizer,
        tensors=check_tensors(tensors, source.config, folder),
        method=source.method,
        loads_in_transformers=source.loads_in_transformers and adapter is None,
        provenance=provenance,
        file=file,
        folders=tuple(dict.fromkeys([folder, Path(file.where).parent, *source.language_model])),
        unused={name: t for name, t in tensors.items() if _unused_of_tower(name, source.config)},
    )


def _open(
    folder: Path, base: Path | None, vision_tower: Path | None
) -> tuple[Section, OpenedLayout]:
    """The folder's config.json, and the checkpoint in the layout that it describes."""
    if not (folder / "config.json").exists() and (folder / "adapter_config.json").exists():
        found = base or _adapters_base(folder)
        if not found.is_dir():
            raise CheckpointError(
                f"{folder} is an adapter alone, and its base {found} is a file; give the folder of "
                "the LLaVA that it was trained on with --base."
            )
        return _open(found, None, vision_tower)
    file = Section.from_file(folder / "config.json")
    if file.has("mm_vision_tower"):
        return file, open_original(folder, file, base, vision_tower)
    if file.has("vision_config"):
        if vision_tower is not None:
            raise UsageError(
                f"A vision tower is given ({vision_tower}), but {folder} holds one of its own; "
                "leave it out."
            )
        return file, open_huggingface(folder, file, base)
    raise CheckpointError(
        f"{file.where} has neither vision_config nor mm_vision_tower, so it describes no LLaVA; "
        "give a LLaVA checkpoint."
    )


def _unused_of_tower(name: str, config: LlavaConfig) -> bool:
    return name.startswith(f"{TOWER}.") and config.tower.is_unused(name, config.feature_layers)


def _adapters_base(folder: Path) -> Path:
    config = Section.from_file(folder / "adapter_config.json")
    return find_model(config.text("base_model_name_or_path"), "--base")


def _name(file: Section, default: str) -> str:
    """What training called it, else the checkpoint's own name."""
    return file.section("llava_edge").text("name", default) if file.has("llava_edge") else default
