"""What a run was: its recipe with every default, versions, device, data and seed."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import llava_edge
from llava_edge.train.recipe import Recipe

RUN = "run.json"  # of a run's folder, and of each of its checkpoints
LIBRARIES = ("torch", "transformers", "accelerate", "peft")


def provenance(recipe: Recipe, data_fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """What `run.json` says; all of it is JSON."""
    return {
        "recipe": _plain(asdict(recipe)),
        "versions": {
            "llava-edge": llava_edge.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "device": _device(),
        "data": dict(data_fingerprints),
        "seed": recipe.seed,
    }


def _device() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def _plain(value: Any) -> Any:
    """Paths as text and tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.as_posix() if isinstance(value, Path) else value
