"""What an export costs: seconds, peak memory, and the bytes that it writes.

    python -m llava_edge.bench.export_cost CHECKPOINT [OPTION ...]

Options are those of `llava-edge export`. The bundle is removed again, and it is not verified, since
that would need the original in memory.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from llava_edge.core.bundle import read_bundle
from llava_edge.core.machine import peak_memory


@dataclass(frozen=True)
class ExportCost:
    """Seconds and bytes of one export, which runs in a process of its own."""

    checkpoint: str
    options: str
    seconds: float
    peak_memory: int | None
    bundle_size: int
    bits_per_weight: float


def measure(checkpoint: Path, options: list[str]) -> ExportCost:
    """Export once, beside the checkpoint; raises CalledProcessError where that fails."""
    with TemporaryDirectory(dir=checkpoint.resolve().parent) as folder:
        out = Path(folder) / "bundle"
        command = [sys.executable, "-m", "llava_edge", "export", str(checkpoint), str(out)]
        start = time.perf_counter()
        subprocess.run([*command, "--no-verify", *options], check=True)
        seconds = time.perf_counter() - start
        config = read_bundle(out)
    return ExportCost(
        checkpoint=checkpoint.name,
        options=" ".join(options),
        seconds=seconds,
        peak_memory=peak_memory(of_children=True),
        bundle_size=config.size,
        bits_per_weight=config.quantization.bits_per_weight,
    )


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m llava_edge.bench.export_cost CHECKPOINT [OPTION ...]")
    try:
        cost = asdict(measure(Path(sys.argv[1]), sys.argv[2:]))
    except subprocess.CalledProcessError as error:  # which has said why
        sys.exit(error.returncode)
    for name, value in cost.items():
        print(f"{name:16} {value:,.1f}" if isinstance(value, float) else f"{name:16} {value}")
    print(json.dumps(cost))
