"""The machine that ran a benchmark: processor, memory, accelerator and versions."""

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from llava_edge.core.machine import usable_cores
from llava_edge.core.version import __version__
from llava_edge.runtime.devices.device import CPU, Device

INSTRUCTIONS = {  # numpy's name for them, and the usual one; the widest first
    "AVX512VNNI": "AVX-512 VNNI",
    "AVX512F": "AVX-512",
    "AVX2": "AVX2",
    "ASIMDDP": "NEON with dot products",
    "ASIMD": "NEON",
}


@dataclass(frozen=True)
class Machine:
    """A machine, and what a model really used of it."""

    cpu: str
    threads: int
    memory: int | None  # bytes
    gpu: str | None
    provider: str  # onnxruntime's execution provider
    system: str
    python: str
    onnxruntime: str
    llava_edge: str
    instructions: str | None = None  # of the processor, which decide the kernels that run


def describe_machine(device: Device) -> Machine:
    """This machine, with a model loaded on `device`."""
    return Machine(
        cpu=_cpu(),
        threads=threads(device),
        memory=psutil.virtual_memory().total,
        gpu=_nvidia("name") if device.provider != CPU.provider else None,
        provider=device.provider,
        system=platform.platform(terse=True),
        python=platform.python_version(),
        onnxruntime=library_version("onnxruntime", "onnxruntime-gpu"),
        llava_edge=__version__,
        instructions=instructions(),
    )


def instructions() -> str | None:
    """The widest instructions of this processor that kernels are written for."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as found
    except ImportError:  # numpy 1
        return None
    return next((name for feature, name in INSTRUCTIONS.items() if found.get(feature)), None)


def threads(device: Device) -> int:
    """How many threads compute; onnxruntime's own choice is the number of cores."""
    return device.threads or usable_cores()


def gpu_memory(device: Device) -> int | None:
    """Bytes that all programs take on the GPU; None without a GPU or an answer of its driver."""
    used = _nvidia("memory.used") if device.provider != CPU.provider else None
    return int(used) * 2**20 if used and used.isdigit() else None


def library_version(*names: str) -> str:
    """The version of the first of these packages that is installed."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not installed"


def _cpu() -> str:
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _nvidia(field: str) -> str | None:
    return _output("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits")


def _output(*command: str) -> str | None:
    """The first line that a program prints, None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None
