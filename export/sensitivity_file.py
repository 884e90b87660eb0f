"""What 4 bits cost in each linear layer, as it was measured, and which layers should keep 8."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from llava_edge.core.files import write_atomically
from llava_edge.core.strict import parse
from llava_edge.errors import CheckpointError
from llava_edge.export.graphs.decoder_graph import linear_layers
from llava_edge.export.layouts.checkpoint import Checkpoint

FILE = "sensitivity.json"  # beside a checkpoint, which then needs not be measured again


@dataclass(frozen=True)
class Sensitivity:
    """KL divergence from the original, in nats a token, with one linear layer alone at 4 bits."""

    scheme: str  # how integers and scales were found
    block_size: int
    tokens: int  # that were compared
    divergence: dict[str, float]


def choose_eight_bits(
    sensitivity: Sensitivity, checkpoint: Checkpoint, share: float
) -> frozenset[str]:
    """The linear layers where 8 bits gain most, at most that share of their weights in all."""
    sizes = {
        name: sum(_size(checkpoint, index, module) for module in modules)
        for index in range(checkpoint.config.text.num_layers)
        for name, modules in linear_layers(index)
    }
    if set(sizes) != set(sensitivity.divergence):
        raise CheckpointError(
            f"The sensitivity was measured on {len(sensitivity.divergence)} linear layers, but the "
            f"checkpoint has {len(sizes)} others; measure it again."
        )
    room = share * sum(sizes.values())
    chosen = []
    for name in sorted(sizes, key=lambda name: -sensitivity.divergence[name] / sizes[name]):
        if sizes[name] <= room:
            chosen.append(name)
            room -= sizes[name]
    return frozenset(chosen)


def read_sensitivity(path: Path) -> Sensitivity:
    """Raises CheckpointError where the file is none that this wrote."""
    try:
        return parse(Sensitivity, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a sensitivity ({error}); measure it again."
        ) from None


def write_sensitivity(path: Path, sensitivity: Sensitivity) -> None:
    """Write the file, whole or not at all."""
    write_atomically(path, json.dumps(asdict(sensitivity), indent=1) + "\n")


def _size(checkpoint: Checkpoint, index: int, module: str) -> int:
    rows, columns = checkpoint.tensors[f"language_model.layers.{index}.{module}.weight"].shape
    return rows * columns
