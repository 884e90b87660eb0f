"""NVIDIA's driver, asked directly: why CUDA cannot be used, and how much memory a GPU has free.

onnxruntime only prints what is missing, and then computes on the CPU.
"""

import contextlib
import ctypes
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from llava_edge.core.extras import install_command
from llava_edge.errors import DeviceError
from llava_edge.runtime.devices.device import onnxruntime_library

CUDA = 13_000  # that onnxruntime-gpu is built for, as the driver counts
DRIVER = 580  # the first that supports it
CAPABILITY = (7, 5)  # of a GPU, at least
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
INSTALL = f"run `{install_command('gpu')}` in an environment without another onnxruntime"


@dataclass(frozen=True)
class GpuMemory:
    """Bytes of a GPU's memory."""

    free: int
    total: int


def check_cuda() -> None:
    """Raise DeviceError where driver, GPU or libraries are missing or too old."""
    driver = _driver()
    version = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    if version.value < CUDA:
        supported = f"{version.value // 1000}.{version.value % 1000 // 10}"
        raise DeviceError(
            f"The NVIDIA driver supports CUDA {supported}, and onnxruntime-gpu needs "
            f"{CUDA // 1000}; install driver {DRIVER} or newer."
        )
    if code := driver.cuInit(0):
        found = "finds no GPU" if code == NO_DEVICE else f"does not start (error {code})"
        raise DeviceError(
            f"The NVIDIA driver {found}; look at what nvidia-smi says, and at CUDA_VISIBLE_DEVICES."
        )
    _check_capability(driver)
    _load_libraries()


def gpu_memory() -> GpuMemory | None:
    """Of the GPU that is used, which is the first; None where the driver does not say."""
    try:
        driver = _driver()
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        device, context = ctypes.c_int(), ctypes.c_void_p()
        for name, *arguments in (  # each answers 0, or the number of an error
            ("cuInit", 0),
            ("cuDeviceGet", ctypes.byref(device), 0),
            ("cuDevicePrimaryCtxRetain", ctypes.byref(context), device),
            ("cuCtxPushCurrent_v2", context),
            ("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total)),
            ("cuCtxPopCurrent_v2", ctypes.byref(context)),
        ):
            if getattr(driver, name)(*arguments):
                return None
    except (DeviceError, AttributeError):
        return None
    return GpuMemory(free.value, total.value)


def _check_capability(driver: ctypes.CDLL) -> None:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
    if (major.value, minor.value) < CAPABILITY:
        least = ".".join(map(str, CAPABILITY))
        raise DeviceError(
            f"The NVIDIA GPU has compute capability {major.value}.{minor.value}, and "
            f"onnxruntime-gpu needs {least} (RTX 20 or newer); choose another device."
        )


def _driver() -> ctypes.CDLL:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise DeviceError(
            f"No NVIDIA driver is installed ({name} is missing); install driver {DRIVER} or newer, "
            "or choose another device."
        ) from error


def _load_libraries() -> None:
    """Load what the provider needs from NVIDIA's packages, then the provider itself."""
    onnxruntime = onnxruntime_library()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        onnxruntime.preload_dlls()
    if sys.platform == "win32":
        return
    folder = Path(str(onnxruntime.__file__)).parent / "capi"
    try:
        for name in ("shared", "cuda"):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"), os.RTLD_GLOBAL)
        ctypes.CDLL("libcudnn.so.9")  # which the provider looks for when a picture comes
    except OSError as error:
        raise DeviceError(f"CUDA needs a library that is missing ({error}); {INSTALL}.") from error
