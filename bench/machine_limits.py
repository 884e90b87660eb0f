"""How fast this machine reads memory and computes, at best.

Memory: as many threads as the model uses each take numpy's maximum of their own array, which reads
it once; together the arrays are four times the largest cache. Arithmetic: one large matrix
product in onnxruntime, in float32 and of 8-bit integers (what MatMulNBits computes with on a CPU).
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llava_edge.core.extras import needed_by
from llava_edge.runtime.devices.device import onnxruntime_library

if TYPE_CHECKING:
    import onnxruntime

REPEATS = 5  # of which the fastest counts
SIDE = 2048  # of the matrices
MEGABYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Bytes a second, and operations a second (a multiplication and an addition are two)."""

    bandwidth: float
    float32: float
    int8: float


def measure_limits(threads: int, *, array_bytes: int | None = None, side: int = SIDE) -> Limits:
    """Measure the CPU with so many threads; by default the caches decide the size of the arrays."""
    return Limits(
        bandwidth=_bandwidth(threads, array_bytes or _beyond_caches()),
        float32=_operations("MatMul", side, threads),
        int8=_operations("MatMulInteger", side, threads),
    )


def _bandwidth(threads: int, size: int) -> float:
    arrays = [np.ones(size // threads // 4, np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:  # numpy computes outside of Python's lock
        seconds = fastest(lambda: list(pool.map(np.max, arrays)))
    return sum(array.nbytes for array in arrays) / seconds


def _beyond_caches() -> int:
    """Bytes that no cache holds."""
    sizes = [32 * MEGABYTE]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        sizes.append(int(path.read_text().strip().removesuffix("K")) * 1024)
    return 4 * max(sizes)


def _operations(operator: str, side: int, threads: int) -> float:
    random = np.random.default_rng(0)
    types = {"MatMul": (np.float32, np.float32), "MatMulInteger": (np.uint8, np.int8)}[operator]
    a, b = (random.integers(0, 100, (side, side)).astype(type_) for type_ in types)
    session = _product(operator, b, threads)
    return 2 * side**3 / fastest(lambda: session.run(None, {"a": a}))


def _product(
    operator: str, b: npt.NDArray[np.generic], threads: int
) -> "onnxruntime.InferenceSession":
    """A graph of one product with a constant, which is packed beforehand as weights are."""
    with needed_by("`llava-edge bench`", "bench"):
        from onnx import TensorProto, helper, numpy_helper
    onnxruntime = onnxruntime_library()
    whole = operator == "MatMulInteger"
    given, result = (
        (TensorProto.UINT8, TensorProto.INT32) if whole else (TensorProto.FLOAT, TensorProto.FLOAT)
    )
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", given, ["rows", len(b)])],
        [helper.make_tensor_value_info("c", result, ["rows", b.shape[1]])],
        [numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest repeat, after one that does not count."""
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
