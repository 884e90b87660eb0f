"""Which devices there are, and with how many threads a CPU computes."""

import re
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from llava_edge.core.bundle_config import DeviceName
from llava_edge.core.extras import needed_by
from llava_edge.core.machine import usable_cores
from llava_edge.errors import BundleError, UsageError


@dataclass(frozen=True)
class Device:
    """What runs the graphs; `threads` 0 leaves the number to onnxruntime."""

    name: str
    graph: DeviceName  # whose graphs of a bundle it runs
    provider: str  # onnxruntime's execution provider
    extra: str  # of llava-edge, which installs the provider
    memory: str = "cpu"  # onnxruntime's name for where the KV cache lies
    separate: bool = False  # whether that is another memory than the host's
    records: bool = False  # CUDA graphs
    chunk: int = 128  # tokens of a prompt that are read at once
    plugin: str = ""  # the module that brings the provider
    threads: int = 0


# A chunk is large enough for full speed, and small enough for an answer to be ended while a prompt
# is read, and for what is computed of it to fit beside the weights.
CPU = Device("cpu", "cpu", "CPUExecutionProvider", "cpu")
CUDA = Device(
    "cuda", "gpu", "CUDAExecutionProvider", "gpu", "cuda", separate=True, records=True, chunk=1024
)
WEBGPU = Device(
    "webgpu",
    "gpu",
    "WebGpuExecutionProvider",
    "webgpu",
    "webgpu",
    separate=True,
    chunk=256,
    plugin="onnxruntime_ep_webgpu",
)
OPENVINO = Device(
    "openvino",
    "gpu",
    "OpenVINOExecutionProvider",
    "openvino",
    plugin="onnxruntime_ep_openvino",
)
TENSORRT_RTX = Device(
    "tensorrt-rtx",
    "gpu",
    "NvTensorRTRTXExecutionProvider",
    "tensorrt-rtx",
    plugin="onnxruntime_ep_nv_tensorrt_rtx",
)
GPUS = (CUDA, WEBGPU, TENSORRT_RTX, OPENVINO)  # in the order in which "auto" tries them
# What matters of errors that begin with places in onnxruntime's source.
_CAUSE = re.compile(
    r"CUDA failure \d+: [^;]*|Failed to allocate[^;]*|Available memory of[^;]*|cuDNN is un[^;]*"
    r"|Failed to get a WebGPU adapter[^;]*"
)
NAMES = ("auto", CPU.name, *(gpu.name for gpu in GPUS))


def candidates(name: str, graphs: tuple[DeviceName, ...]) -> list[Device]:
    """The devices to try for a name, in that order, for a bundle with these graphs.

    Raises UsageError for an unknown name, BundleError where the bundle has no graph for it.
    """
    if not isinstance(name, str) or name not in NAMES:
        raise UsageError(f"The device {name!r} is not supported; choose one of {', '.join(NAMES)}.")
    if name == "auto":
        gpus = [gpu for gpu in GPUS if "gpu" in graphs and _is_installed(gpu)]
        found = [*gpus, *([_cpu()] if "cpu" in graphs else [])]
        if not found:
            raise BundleError(
                "The bundle was exported for gpu only, and no library for a GPU is installed here; "
                f"install one of the extras {', '.join(gpu.extra for gpu in GPUS)}, or export it "
                "again with --devices cpu,gpu."
            )
        return found
    device = _cpu() if name == CPU.name else next(gpu for gpu in GPUS if gpu.name == name)
    if device.graph not in graphs:
        raise BundleError(
            f"The bundle was exported for {' and '.join(graphs)} only; export it again with "
            f"--devices {device.graph}, or choose another device than {name}."
        )
    return [device]


def onnxruntime_library() -> ModuleType:
    """onnxruntime, imported late: the package also trains and exports, and starts faster without.

    Raises LlavaEdgeError where it is not installed or does not load.
    """
    with needed_by("Running a bundle", "cpu"):
        return import_module("onnxruntime")


def reason(error: Exception) -> str:
    """What onnxruntime says, in a line that is short enough for a sentence."""
    text = " ".join(str(error).split())
    found = _CAUSE.search(text)
    return found[0].strip() if found else text[-300:]


def _is_installed(gpu: Device) -> bool:
    if gpu.plugin:
        return find_spec(gpu.plugin) is not None
    return gpu.provider in onnxruntime_library().get_available_providers()


def _cpu() -> Device:
    return replace(CPU, threads=usable_cores())
