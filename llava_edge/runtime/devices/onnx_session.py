"""Opens a bundle's graphs on a device, as a whole or not at all."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llava_edge.errors import BundleError, DeviceError, UsageError
from llava_edge.runtime.devices.cuda_driver import INSTALL, check_cuda
from llava_edge.runtime.devices.device import CPU, CUDA, Device, onnxruntime_library, reason
from llava_edge.runtime.devices.plugins import register_plugin

if TYPE_CHECKING:
    import onnxruntime

# https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
_PROVIDER_OPTIONS: Mapping[str, Mapping[str, str]] = {
    CUDA.name: {
        "arena_extend_strategy": "kSameAsRequested",  # else memory is taken by powers of two
        "cudnn_conv_algo_search": "HEURISTIC",  # else each new number of pictures is tried out
        "sdpa_kernel": "3",  # flash and memory-efficient attention; cuDNN's plans again each shape
    },
}
_SESSION_ENTRIES: Mapping[str, Mapping[str, str]] = {
    CUDA.name: {
        "ep.cuda.fpa_intb_gemm": "1",  # products of few bits, see export/graphs/cuda_kernels.py
        # Variants are chosen for these numbers of rows at load; for others it would be in a prompt.
        "ep.cuda.fpa_intb_profile_m": "1,2,4,8,16,32,64,128,256,512,1024",
    },
}


CLOSED = "The model was closed; load the bundle again."


class OpenGraph:
    """A graph that is open until it is closed, which gives its memory back."""

    def __init__(self, session: "onnxruntime.InferenceSession") -> None:
        self._session: onnxruntime.InferenceSession | None = session

    @property
    def session(self) -> "onnxruntime.InferenceSession":
        """What runs it; raises UsageError where it is closed."""
        if self._session is None:
            raise UsageError(CLOSED)
        return self._session

    def check(self) -> None:
        """Raise UsageError where it is closed."""
        _ = self.session

    def close(self) -> None:
        """Let go of the session."""
        self._session = None


def prepare(device: Device) -> None:
    """Raise DeviceError, with the way out, where what a device needs is missing."""
    if device.graph != CPU.graph:
        onnxruntime_library().set_default_logger_severity(4)  # what it would print is raised
    if device.plugin:
        register_plugin(device)
    elif device.provider not in onnxruntime_library().get_available_providers():
        raise DeviceError(f"The onnxruntime installed here has no {device.provider}; {INSTALL}.")
    if device.name == CUDA.name:
        check_cuda()


def open_graph(
    path: Path,
    device: Device,
    *,
    often: bool,
    limit: int | None = None,
    profile: Path | None = None,
) -> "onnxruntime.InferenceSession":
    """Load an ONNX graph of a bundle, all of its nodes on the device.

    For a graph that runs `often`, once a token, threads stay awake and memory is kept between runs.
    `limit` is the most bytes that a GPU's runs may take; the session's end_profiling says which
    file, whose name begins with `profile`, tells what ran. Raises BundleError where onnxruntime
    refuses the graph, DeviceError where a GPU does.
    """
    try:
        return _session(path, device, often=often, limit=limit, profile=profile)
    except Exception as error:  # onnxruntime's errors share no narrower base
        if device.graph == CPU.graph:
            raise BundleError(
                f"onnxruntime {onnxruntime_library().__version__} cannot load {path} "
                f"({reason(error)}); export the bundle again or upgrade onnxruntime."
            ) from error
        raise DeviceError(
            f"The device {device.name} does not run {path.name} ({reason(error)}); choose another "
            "device."
        ) from error


def _session(
    path: Path, device: Device, *, often: bool, limit: int | None, profile: Path | None
) -> "onnxruntime.InferenceSession":
    onnxruntime = onnxruntime_library()
    options = onnxruntime.SessionOptions()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    options.intra_op_num_threads = device.threads
    options.enable_cpu_mem_arena = often
    options.log_severity_level = 4  # nothing; errors are raised
    # Or a GPU's arena keeps memory for every length of a prompt that it has seen.
    options.enable_mem_pattern = not device.separate
    entries = {
        "session.force_spinning_stop": "0" if often else "1",
        # Straight from the allocator, or the arena rounds each weight up and never gives back.
        "session.use_device_allocator_for_initializers": "1",
        **_SESSION_ENTRIES.get(device.name, {}),
    }
    if device.provider != CPU.provider:  # which would take in silence what the device does not
        entries["session.disable_cpu_ep_fallback"] = "1"
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    provider = (device.provider, _provider_options(device, limit))
    with _plain_attention():
        return onnxruntime.InferenceSession(
            str(path), options, providers=[provider], enable_fallback=0
        )


def _provider_options(device: Device, limit: int | None) -> dict[str, str]:
    options = dict(_PROVIDER_OPTIONS.get(device.name, {}))
    if device.records:
        options["enable_cuda_graph"] = "1"
    if device.name == CUDA.name and limit is not None:
        options["gpu_mem_limit"] = str(limit)
    return options


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
