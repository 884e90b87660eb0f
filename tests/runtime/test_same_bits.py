"""What is cached, and how a prompt is cut in chunks, changes no bit, on any kind of processor."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import same_bits
from sessions import EXACT

from llava_edge.export.export import export
from llava_edge.export.quantization.precision import Precision

QEMU = shutil.which("qemu-x86_64")
PRECISIONS = {
    "blocks-of-32": Precision(),
    "symmetric": Precision(symmetric=True),
    "blocks-of-64": Precision(block_size=64, eight_bits=frozenset({"layers.0.mlp.down_proj"})),
    "blocks-of-128": Precision(block_size=128, head_bits=4),
    "exact": EXACT,
}
PROCESSORS = {
    "this processor": [sys.executable],
    "AVX2 without AVX-512": [str(QEMU), "-cpu", "max", sys.executable],
}


@pytest.fixture(scope="module")
def bundles(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("bundles")
    for name, precision in PRECISIONS.items():
        export(tiny_checkpoint, folder / name, precision=precision, devices=("cpu",))
    return [str(folder / name) for name in PRECISIONS]


@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_prompt_read_in_any_way_gives_the_same_bits(processor: str, bundles: list[str]) -> None:
    if processor != "this processor" and QEMU is None:
        pytest.skip("qemu-user, which imitates a processor without AVX-512, is not installed")
    command = [*PROCESSORS[processor], same_bits.__file__, *bundles]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
