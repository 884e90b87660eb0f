"""Which device runs a bundle, with how many threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from llava_edge.config import DeviceName
from llava_edge.errors import BundleError, LlavaEdgeError, UsageError

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Device:
    """What runs the graphs; `threads` 0 leaves the number to onnxruntime."""

    name: str
    graph: DeviceName  # whose graphs of a bundle it runs
    provider: str  # onnxruntime's execution provider
    extra: str  # of llava-edge, which installs the provider
    memory: Literal["cpu", "cuda", "dml"] = "cpu"  # where the KV cache lies
    threads: int = 0
    note: str = ""  # why it is not the one that was hoped for

    @property
    def kv_type(self) -> str:
        """numpy's name for the numbers in the KV cache."""
        return "float32" if self.graph == "cpu" else "float16"


CPU = Device("cpu", "cpu", "CPUExecutionProvider", "cpu")
# In the order in which "auto" tries them.
GPUS = (
    Device("cuda", "gpu", "CUDAExecutionProvider", "gpu", "cuda"),
    Device("directml", "gpu", "DmlExecutionProvider", "directml", "dml"),
    Device("coreml", "gpu", "CoreMLExecutionProvider", "cpu"),
    Device("openvino", "gpu", "OpenVINOExecutionProvider", "openvino"),
)
NAMES = ("auto", CPU.name, *(gpu.name for gpu in GPUS))


def candidates(name: str, graphs: tuple[DeviceName, ...]) -> list[Device]:
    """The devices to try for a name, in that order, for a bundle with these graphs.

    Raises UsageError for an unknown name, one that onnxruntime was not built for, or one that the
    bundle has no graph for.
    """
    if name not in NAMES:
        raise UsageError(f"The device {name!r} is not supported; choose one of {', '.join(NAMES)}.")
    providers = onnxruntime_library().get_available_providers()
    there = [gpu for gpu in GPUS if gpu.provider in providers and "gpu" in graphs]
    if name == "auto":
        return [*there, *([_cpu()] if "cpu" in graphs else [])]
    device = _cpu() if name == CPU.name else next(gpu for gpu in GPUS if gpu.name == name)
    if device.provider not in providers:
        raise UsageError(
            f"The onnxruntime installed here has no {device.provider}; in an environment without "
            f"another onnxruntime, run `pip install 'llava-edge[{device.extra}]'`."
        )
    if device.graph not in graphs:
        raise BundleError(
            f"The bundle was exported for {' and '.join(graphs)} only; export it again with "
            f"--devices {device.graph}, or choose another device than {name}."
        )
    return [device]


def works(device: Device, graph: Path) -> str:
    """Why a device cannot run a graph as a whole, or nothing where it can.

    A provider that takes only some nodes, or none, would leave the work to the CPU in silence.
    """
    try:
        _session(graph, device, {"session.disable_cpu_ep_fallback": "1"})
    except Exception as error:  # onnxruntime's errors share no narrower base
        return " ".join(str(error).split())[:200]
    return ""


def open_graph(path: Path, device: Device, *, often: bool) -> "onnxruntime.InferenceSession":
    """Load an ONNX graph of a bundle; raises BundleError where onnxruntime refuses it.

    For a graph that runs `often`, once a token, threads stay awake and memory is kept between runs.
    """
    entries = {"session.force_spinning_stop": "0" if often else "1"}
    try:
        return _session(path, device, entries, arena=often)
    except Exception as error:  # onnxruntime's errors share no narrower base
        reason = " ".join(str(error).split())
        raise BundleError(
            f"onnxruntime {onnxruntime_library().__version__} cannot load {path} ({reason}); "
            "export the bundle again or upgrade onnxruntime."
        ) from error


def onnxruntime_library() -> ModuleType:
    """Imported late: the package also trains and exports, and starts faster without."""
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise LlavaEdgeError(
            "Running a bundle needs onnxruntime, which is not installed; "
            "run `pip install 'llava-edge[cpu]'`."
        ) from error


def _session(
    path: Path, device: Device, entries: dict[str, str], *, arena: bool = False
) -> "onnxruntime.InferenceSession":
    onnxruntime = onnxruntime_library()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.threads
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 3  # errors only; they are raised as well
    # Straight from the allocator, or the arena rounds each weight up and never gives back.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    with _plain_attention():
        return onnxruntime.InferenceSession(str(path), options, providers=[device.provider])


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Tell GroupQueryAttention's CPU kernel to compute a whole row of scores at once.

    For prompts in chunks that takes half the time of its tiled kernel, and for a token a tenth
    less (onnxruntime 1.32). The kernel looks for this when a session is made, and only there.
    """
    name = "ORT_GQA_DISABLE_FLASH_ATTENTION"
    before = os.environ.get(name)
    os.environ[name] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _cpu() -> Device:
    return replace(CPU, threads=_threads())


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
