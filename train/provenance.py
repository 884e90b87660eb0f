"""What a run was: its recipe with every default, versions, device, models, data and seed."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from llava_edge.core.version import __version__
from llava_edge.export.layouts.original import TRAINED
from llava_edge.hub.weights_sum import weights_sum
from llava_edge.train.models.init_checkpoint import init_name, open_init
from llava_edge.train.recipe import Recipe

RUN = "run.json"  # of a run's folder, and of each of its checkpoints
LIBRARIES = ("torch", "transformers", "accelerate", "peft")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin", *TRAINED)
END = 1 << 20  # bytes of a weights' file that tell it from another of its size


def provenance(recipe: Recipe, data_fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """The content of `run.json`."""
    return {
        "recipe": json.loads(json.dumps(asdict(recipe), default=Path.as_posix)),
        "versions": {
            "llava-edge": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "device": _device(),
        **_models(recipe),
        "data": dict(data_fingerprints),
        "seed": recipe.seed,
    }


def _models(recipe: Recipe) -> dict[str, Any]:
    if recipe.init is not None:
        checkpoint = open_init(recipe.init, recipe.prompt)
        names = {key: checkpoint.provenance.get(key) for key in ("base", "vision_tower")}
        files = _weight_files(checkpoint.folders)
        weights = [{"file": file.name, "sha256": weights_sum(file)} for file in files]
        return {"init": {"checkpoint": init_name(checkpoint), **names, "weights": weights}}
    return {
        "models": {
            "vision_tower": _fingerprint(Path(recipe.vision_tower)),
            "language_model": _fingerprint(Path(recipe.language_model)),
        }
    }


def _device() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def _weight_files(folders: Sequence[Path]) -> list[Path]:
    """Files of weights in folders; one that is a file itself is a GGUF model."""
    found = [file for folder in folders for each in WEIGHTS for file in sorted(folder.glob(each))]
    return [*found, *(path for path in folders if path.is_file())]


def _fingerprint(model: Path) -> str:
    """A hash of a folder's configuration and of the size and the end of each file of weights."""
    digest = hashlib.sha256((model / "config.json").read_bytes())
    for file in sorted((*model.glob("*.safetensors"), *model.glob("pytorch_model*.bin"))):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            stream.seek(max(size - END, 0))
            digest.update(stream.read())
    return digest.hexdigest()
