"""Checkpoints of the original LLaVA repository (haotian-liu/LLaVA), whatever their folder's name.

Whole ones, a stage-1 `mm_projector.bin` on a language model, and LoRA adapters with
`non_lora_trainables.bin`; the vision tower inside or by name.
"""

import re
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.weight_files import has_weights, open_file, open_weights
from llava_edge.export.layouts.base_model import LanguageModel, open_language_model
from llava_edge.export.layouts.llava_config import (
    LlavaConfig,
    check_square,
    read_grid_pinpoints,
)
from llava_edge.export.layouts.opened_layout import OpenedLayout
from llava_edge.export.layouts.preprocessor_config import read_preprocessor_config
from llava_edge.export.layouts.tensor_names import respell
from llava_edge.export.towers.known_towers import read_own_tower
from llava_edge.export.towers.vision_tower import TOWER, VisionTower
from llava_edge.hub.find_model import find_model
from llava_edge.hub.tokenizer_file import has_tokenizer, read_tokenizer_file

TRAINED = ("mm_projector.bin", "non_lora_trainables.bin")  # beside a language model or an adapter
_PROJECTOR = re.compile(r"mlp(\d+)x_gelu")


def open_original(
    folder: Path, file: Section, base: Path | None, vision_tower: Path | None
) -> OpenedLayout:
    """Open the folder whose config.json is `file`.

    `base` and `vision_tower` stand for the ones that the checkpoint names. Raises CheckpointError.
    """
    _refuse_wrapped_pictures(file)
    where = _language_model(folder, file, base)
    language = open_language_model(where)
    own = {} if has_weights(folder) else _trained(folder)
    inside = any(name.startswith("vision_tower.") for name in language.tensors | own)
    tower_folder = vision_tower or find_model(
        file.text("mm_vision_tower"), "--vision-tower", weights=not inside
    )
    tower = read_own_tower(Section.from_file(tower_folder / "config.json"))
    image, tiles = _image(tower_folder, tower, file)
    tower = tower.shown(image.size)
    drop = _drops_first_row(file, tower)
    layers = _feature_layers(file, tower, drop_first_row=drop)
    tensors = {} if inside else _tower_tensors(tower_folder, tower, layers)
    tensors = tensors | language.tensors | own
    config = LlavaConfig(
        tower=tower,
        text=language.text,
        feature_layers=layers,
        drop_first_row=drop,
        projector_layers=_projector_layers(file),
        projector_bias=True,
        grid_pinpoints=_grid_pinpoints(file, tower, drop_first_row=drop) if tiles else (),
    )
    tokenizer = _tokenizer(folder, language)
    provenance = {"vision_tower": file.text("mm_vision_tower")}
    return OpenedLayout(
        config,
        image,
        tokenizer,
        tensors,
        language.method,
        provenance=provenance,
        language_model=(where,),
    )


def _tower_tensors(
    folder: Path, tower: VisionTower, feature_layers: tuple[int, ...]
) -> dict[str, LazyTensor]:
    """What the tower's own folder holds of it; a text model beside it is left out."""
    tensors = respell({f"{TOWER}.{name}": t for name, t in open_weights(folder).items()}, folder)
    parts = {name.split(".")[1] for name, _ in tower.shapes(feature_layers)}
    return {name: tensor for name, tensor in tensors.items() if name.split(".")[1] in parts}


def _language_model(folder: Path, file: Section, base: Path | None) -> Path:
    """Where the language model lies."""
    if has_weights(folder):
        if base is not None:
            raise UsageError(
                f"A base is given ({base}), but {folder} holds a language model of its own; "
                "leave the base out."
            )
        return folder
    return base or find_model(_named_base(folder, file), "--base")


def _named_base(folder: Path, file: Section) -> str:
    adapter = folder / "adapter_config.json"
    if adapter.exists():
        return Section.from_file(adapter).text("base_model_name_or_path")
    if not (folder / "mm_projector.bin").exists():
        raise CheckpointError(
            f"{folder} holds neither a language model nor mm_projector.bin nor an adapter; give "
            "the folder of a whole checkpoint."
        )
    if not file.has("_name_or_path"):
        raise CheckpointError(
            f"{file.where} does not say which language model {folder} builds on; "
            "name it with --base."
        )
    return file.text("_name_or_path")


def _trained(folder: Path) -> dict[str, LazyTensor]:
    """What was trained beside the language model: the projector, and with tiles the newline."""
    tensors: dict[str, LazyTensor] = {}
    for name in TRAINED:
        if (folder / name).exists():
            tensors |= respell(open_file(folder / name), folder)
    return tensors


def _image(folder: Path, tower: VisionTower, file: Section) -> tuple[ImageConfig, bool]:
    """Preprocessing by the tower's file and image_aspect_ratio, and whether pictures are tiled."""
    image = read_preprocessor_config(folder, tower)
    aspect = file.text("image_aspect_ratio", "square")
    if aspect == "pad":
        return replace(image, mode="pad", shortest_edge=None), False
    if aspect == "square":
        return image, False
    if aspect == "anyres":
        file.choice("mm_patch_merge_type", ("spatial_unpad",))
        return image, True
    raise CheckpointError(
        f'{file.where} gives "{aspect}" as image_aspect_ratio, but "square", "pad" and "anyres" '
        "are what export supports; choose another checkpoint."
    )


def _grid_pinpoints(
    file: Section, tower: VisionTower, *, drop_first_row: bool
) -> tuple[tuple[int, int], ...]:
    """The (height, width) that pictures are cut at; the file has (width, height)."""
    check_square(file, tower, drop_first_row=drop_first_row)
    return tuple((height, width) for width, height in read_grid_pinpoints(file, tower))


def _feature_layers(file: Section, tower: VisionTower, *, drop_first_row: bool) -> tuple[int, ...]:
    value = file.values.get("mm_vision_select_layer")
    if type(value) is not int:
        raise CheckpointError(
            f"{file.where} gives {value} as mm_vision_select_layer, but the number of a hidden "
            "state was expected; correct the file."
        )
    tower.check_features((value,), file.where, drop_first_row=drop_first_row)
    return (value,)


def _drops_first_row(file: Section, tower: VisionTower) -> bool:
    feature = file.choice("mm_vision_select_feature", ("patch", "cls_patch"), "patch")
    return feature == "patch" and tower.has_class_token


def _projector_layers(file: Section) -> int:
    kind = file.text("mm_projector_type", "linear")
    match = _PROJECTOR.fullmatch(kind)
    if kind != "linear" and match is None:
        raise CheckpointError(
            f'{file.where} gives "{kind}" as mm_projector_type, but "linear" and "mlpNx_gelu" are '
            "what export supports; choose another checkpoint."
        )
    return int(match[1]) if match else 1


def _refuse_wrapped_pictures(file: Section) -> None:
    if file.flag("mm_use_im_start_end", False):
        raise CheckpointError(
            f"{file.where} says mm_use_im_start_end = true (pictures stand between special "
            "tokens), which export does not support; choose a later LLaVA."
        )


def _tokenizer(folder: Path, language: LanguageModel) -> Tokenizer:
    if has_tokenizer(folder) or language.tokenizer is None:
        return read_tokenizer_file(folder)
    return language.tokenizer
