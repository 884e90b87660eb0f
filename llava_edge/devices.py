"""Which device runs a bundle, with how many threads."""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from llava_edge.config import DeviceName
from llava_edge.errors import BundleError, LlavaEdgeError, UsageError

if TYPE_CHECKING:
    import onnxruntime

NAMES = ("auto", "cpu")


@dataclass(frozen=True)
class Device:
    """What really runs the graphs; `threads` 0 leaves the number to onnxruntime."""

    name: str
    graph: DeviceName  # whose graphs of a bundle it runs
    provider: str  # onnxruntime's execution provider
    threads: int


def choose(name: str) -> Device:
    """The device that a name stands for on this machine; raises UsageError for an unknown name."""
    if name not in NAMES:
        raise UsageError(f"The device {name!r} is not supported; choose one of {', '.join(NAMES)}.")
    return Device("cpu", "cpu", "CPUExecutionProvider", _threads())


def open_graph(path: Path, device: Device, *, spin: bool) -> "onnxruntime.InferenceSession":
    """Load an ONNX graph of a bundle; raises BundleError where onnxruntime refuses it.

    `spin` keeps the threads awake between runs, for a graph that runs once a token.
    """
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.threads
    options.log_severity_level = 3  # errors only; they are raised as well
    options.add_session_config_entry("session.force_spinning_stop", "0" if spin else "1")
    # Straight from the allocator, or the arena rounds each weight up and never gives back.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[device.provider])
    except Exception as error:  # onnxruntime's errors share no narrower base
        reason = " ".join(str(error).split())
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} cannot load {path} ({reason}); "
            "export the bundle again or upgrade onnxruntime."
        ) from error


def _onnxruntime() -> ModuleType:
    """Imported late: the package also trains and exports, and starts faster without."""
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise LlavaEdgeError(
            "Running a bundle needs onnxruntime, which is not installed; "
            "run `pip install 'llava-edge[cpu]'`."
        ) from error


def _threads() -> int:
    """Physical cores that this process may use, where the system tells; else 0.

    onnxruntime's own default counts the machine's cores, even in a container with two of them.
    """
    if not hasattr(os, "sched_getaffinity"):
        return 0
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    """The logical CPUs on the same core, as Linux writes them."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return topology.read_text().strip()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """CPUs that the container's time quota amounts to."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return os.cpu_count() or 1
