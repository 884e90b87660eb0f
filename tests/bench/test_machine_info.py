"""What a machine is and what it allows at best."""

import subprocess
import sys
from pathlib import Path

import pytest

from llava_edge.bench.machine_info import INSTRUCTIONS, describe_machine, library_version
from llava_edge.bench.machine_limits import measure_limits
from llava_edge.core.machine import peak_memory
from llava_edge.runtime.devices.device import CPU
from llava_edge.runtime.model import Llava


def test_a_machine(model: Llava) -> None:
    machine = describe_machine(model.device)
    assert machine.cpu and machine.threads >= 1
    assert machine.provider == "CPUExecutionProvider" and machine.gpu is None
    assert machine.onnxruntime == library_version("onnxruntime")
    assert library_version("no-such-package") == "not installed"


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux says what it found itself")
def test_the_instructions_are_the_widest_that_the_system_names() -> None:
    flags = {"avx512_vnni": "AVX512VNNI", "avx512f": "AVX512F", "avx2": "AVX2"}
    flags |= {"asimddp": "ASIMDDP", "asimd": "ASIMD"}
    named = set(Path("/proc/cpuinfo").read_text().split())
    expected = next((INSTRUCTIONS[own] for flag, own in flags.items() if flag in named), None)
    assert describe_machine(CPU).instructions == expected


def test_a_child_has_a_peak_of_its_own() -> None:
    own = peak_memory()
    code = "from llava_edge.core.machine import peak_memory; print(peak_memory())"
    command = [sys.executable, "-c", code]
    childs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert own is None or 10**7 < int(childs) < own  # which has torch in it


def test_limits_are_positive() -> None:
    limits = measure_limits(2, array_bytes=2**20, side=64)
    assert min(limits.bandwidth, limits.float32, limits.int8) > 0
