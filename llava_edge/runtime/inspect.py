"""`llava-edge inspect`: what a bundle is, what it will take, and whether its files are whole."""

from dataclasses import dataclass
from pathlib import Path

from llava_edge.core.bundle import find_bundle, read_bundle, verify_checksums
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.runtime.arguments import checked_path
from llava_edge.runtime.devices.device import CUDA
from llava_edge.runtime.expected_memory import ExpectedMemory, expected_memory


@dataclass(frozen=True)
class Inspection:
    """A bundle whose files are whole, and the memory that it is expected to take, in bytes."""

    path: Path
    config: BundleConfig  # what bundle.json says
    memory: ExpectedMemory  # on a CPU
    gpu_memory: ExpectedMemory | None  # on an NVIDIA GPU; None for a bundle without graphs for one


def inspect(bundle: Path | str | None = None) -> Inspection:
    """Check the size and sha256 of every file of a bundle, and say what the bundle is.

        print(llava_edge.inspect("bundle").config.quantization)

    Without a name it is the bundle that `$LLAVA_EDGE_BUNDLE` names, or else the demo's. Raises
    BundleError where the bundle is missing, damaged or of another format version.
    """
    path = find_bundle(None if bundle is None else checked_path("bundle", bundle))
    config = read_bundle(path)
    verify_checksums(path, config)
    return Inspection(
        path=path,
        config=config,
        memory=expected_memory(config),
        gpu_memory=expected_memory(config, CUDA) if "gpu" in config.devices else None,
    )
