"""Reads and writes a projector's weights, in the original LLaVA's mm_projector.bin among others.

The original numbers the layers of a sequence, `mm_projector.0` and `mm_projector.2` around the
GELU; a linear projector is `mm_projector` itself.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llava_edge.errors import TrainingError
from llava_edge.train.models.llava_kind import NEWLINE, AnyLlava, newline_of

FILE = "mm_projector.bin"
PICKLED = (FILE, "non_lora_trainables.bin")  # of the original's folders
_NAME = re.compile(r"(?:.*\.)?(?:(?:mm_projector|multi_modal_projector)\.(.+)|(image_newline))")
_LAYERS = {"0": "linear_1", "2": "linear_2", "": "linear_1"}  # theirs, ours


def save_projector(model: AnyLlava, path: Path) -> None:
    """Write the projector as the original LLaVA's `--pretrain_mm_mlp_adapter` reads it.

    The tensors keep the precision that they were trained in, fp32.
    """
    projector = model.model.multi_modal_projector
    layers = {"linear_1": "0.", "linear_2": "2."} if hasattr(projector, "linear_2") else {}
    tensors = {}
    for name, tensor in projector.state_dict().items():
        layer, _, part = name.partition(".")
        tensors[f"model.mm_projector.{layers.get(layer, '')}{part}"] = tensor.detach().cpu().clone()
    if (newline := newline_of(model)) is not None:
        tensors[f"model.{NEWLINE}"] = newline.detach().cpu().clone()
    torch.save(tensors, path)


def load_projector(model: AnyLlava, path: Path) -> None:
    """Load the projector, and nothing else, from a file or a checkpoint's folder.

    A file is a `mm_projector.bin` or safetensors; what stands before `mm_projector.` in its
    names does not matter. A folder is a checkpoint of this package, of transformers or of the
    original LLaVA. With tiles the newline is read too, where it is there. Raises TrainingError if
    there is no projector, or one of other shapes.
    """
    tensors = _read(path)
    projector, own = model.model.multi_modal_projector, newline_of(model)
    newline = tensors.pop(NEWLINE, None)
    found = {name: list(tensor.shape) for name, tensor in sorted(tensors.items())}
    wanted = {name: list(t.shape) for name, t in sorted(projector.state_dict().items())}
    if newline is not None and own is not None:
        found[NEWLINE], wanted[NEWLINE] = list(newline.shape), list(own.shape)
    if found != wanted:
        raise TrainingError(
            f"The projector in {path} has {_listed(found)}, but this tower, language model and "
            f"kind of projector need {_listed(wanted)}; give the weights of such a projector, or "
            "correct the recipe."
        )
    projector.load_state_dict(tensors)
    if newline is not None and own is not None:
        own.data.copy_(newline)


def _read(path: Path) -> dict[str, Tensor]:
    """The projector's tensors under transformers' names."""
    for file in _files(path):
        try:
            tensors = _open(file)
        except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as e:
            reason = " ".join(str(e).split())[:200]
            if isinstance(e, pickle.UnpicklingError):  # which torch explains by its own options
                reason = "it is no file of tensors"
            raise TrainingError(
                f"The projector's file {file} cannot be read ({reason}); give a mm_projector.bin, "
                "a safetensors file or a checkpoint's folder."
            ) from e
        if tensors:
            return tensors
    raise TrainingError(
        f"{path} holds no projector; give a mm_projector.bin, a safetensors file or a checkpoint's "
        "folder that does."
    )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    pickled = [path / name for name in PICKLED if (path / name).exists()]
    shards = [*sorted(path.glob("*.safetensors")), *sorted(path.glob("pytorch_model*.bin"))]
    return [*pickled, *shards]


def _open(file: Path) -> dict[str, Tensor]:
    """The projector's tensors of one file; of safetensors the other ones are not read."""
    if file.suffix == ".safetensors":
        with safe_open(file, "pt") as opened:
            names = _projector_names(opened.keys())
            return {own: opened.get_tensor(name) for name, own in names.items()}
    content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise ValueError("it holds no tensors by name")
    return {own: content[name] for name, own in _projector_names(content).items()}


def _projector_names(names: Mapping[str, Tensor] | list[str]) -> dict[str, str]:
    matches = {name: match[1] or match[2] for name in names if (match := _NAME.fullmatch(name))}
    return {name: _transformers_name(rest) for name, rest in matches.items()}


def _transformers_name(name: str) -> str:
    if name == NEWLINE:
        return name
    layer, _, part = name.rpartition(".")
    return f"{_LAYERS.get(layer, layer)}.{part}"


def _listed(shapes: Mapping[str, list[int]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
