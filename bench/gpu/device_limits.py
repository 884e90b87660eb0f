"""How fast the device copies and multiplies at best, for the rooflines.

Measured by onnxruntime and, if it is installed, by torch; the larger result counts. A copy reads
and writes, and both are counted. Numbers are random, since products of zeros take less power and
are faster.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut
from llava_edge.bench.machine_limits import fastest
from llava_edge.core.extras import needed_by
from llava_edge.runtime.devices.device import Device, onnxruntime_library
from llava_edge.runtime.devices.onnx_session import prepare

COPY = "copy, read and written"
PRODUCT = "fp16 product"
SIZES = {"full": (2**30, 8192), "tiny": (2**22, 256)}  # bytes copied; a matrix's rows and columns


def measure(campaign: Campaign) -> Iterator[Finding | LeftOut]:
    """The limits by each library."""
    prepare(campaign.gpu)
    size, side = SIZES[campaign.size]
    random = np.random.default_rng(0)
    numbers = random.standard_normal(size // 4, np.float32)
    matrix = random.standard_normal((side, side), np.float32).astype(np.float16)
    yield from _findings("onnxruntime", *_with_onnxruntime(campaign.gpu, numbers, matrix))
    if find_spec("torch") is None:
        yield LeftOut("limits by torch", "torch is not installed")
    else:
        yield from _findings("torch", *_with_torch(campaign.device, numbers, matrix))


def limits(campaign: Campaign) -> tuple[float, float] | None:
    """The most bytes and operations a second that were found; None if none were."""
    found = campaign.outcome("limits")
    bandwidth, peak = (found.value(name) if found else None for name in (COPY, PRODUCT))
    return (bandwidth * 1e9, peak * 1e12) if bandwidth and peak else None


def _findings(library: str, bandwidth: float, peak: float) -> Iterator[Finding]:
    yield Finding(COPY, bandwidth / 1e9, "GB/s", words=library)
    yield Finding(PRODUCT, peak / 1e12, "TFLOPS", words=library)


def _with_onnxruntime(
    device: Device, numbers: npt.NDArray[np.float32], matrix: npt.NDArray[np.float16]
) -> tuple[float, float]:
    copying = fastest(_node(device, "Neg", numbers))
    multiplying = fastest(_node(device, "MatMul", matrix, matrix))
    return 2 * numbers.nbytes / copying, 2 * len(matrix) ** 3 / multiplying


def _node(device: Device, operator: str, *inputs: npt.NDArray[np.generic]) -> Callable[[], object]:
    """A call that runs one operator, whose inputs and output lie in the device's memory."""
    with needed_by("`python -m llava_edge.bench.gpu`", "bench"):
        from onnx import helper
    onnxruntime = onnxruntime_library()
    names = [f"input.{place}" for place in range(len(inputs))]
    kind = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["output"])],
        operator,
        [
            helper.make_tensor_value_info(n, kind, a.shape)
            for n, a in zip(names, inputs, strict=True)
        ],
        [helper.make_tensor_value_info("output", kind, inputs[0].shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[device.provider])
    binding = session.io_binding()
    for name, array in zip(names, inputs, strict=True):
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array, device.memory, 0)
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("output", device.memory)
    return lambda: session.run_with_iobinding(binding)


def _with_torch(
    device: str, numbers: npt.NDArray[np.float32], matrix: npt.NDArray[np.float16]
) -> tuple[float, float]:
    import torch

    source, factor = (torch.from_numpy(array).to(device) for array in (numbers, matrix))
    target, product = torch.empty_like(source), torch.empty_like(factor)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def copy() -> None:
        target.copy_(source)
        wait()

    def multiply() -> None:
        torch.mm(factor, factor, out=product)
        wait()

    return 2 * numbers.nbytes / fastest(copy), 2 * len(matrix) ** 3 / fastest(multiply)
