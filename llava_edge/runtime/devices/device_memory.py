"""Tensors that stay in a device's memory, and runs of a graph that always use the same ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from llava_edge.errors import DeviceError, UsageError
from llava_edge.runtime.devices.device import Device, onnxruntime_library, reason

if TYPE_CHECKING:
    import onnxruntime

T = TypeVar("T")
EAGER = -1  # onnxruntime's gpu_graph_id for a run that is neither recorded nor replayed
Numbers = npt.NDArray[np.generic]


class DeviceTensor:
    """A tensor of one shape and type; it keeps the session alive whose allocator it is from."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        device: Device,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
    ) -> None:
        self._zeros = (tuple(shape), np.dtype(dtype))
        # The process-wide allocator would take up to twice as much, and keep it.
        self.value = session.create_ortvalue_from_shape_and_type(shape, dtype, device.memory, 0)
        self.write(np.zeros(*self._zeros))

    def write(self, numbers: Numbers) -> None:
        """Copy all of the tensor's numbers from the host."""
        # onnxruntime looks at how many there are, and not at their type.
        assert (numbers.shape, numbers.dtype) == self._zeros
        self.value.update_inplace(numbers)

    def read(self) -> Numbers:
        """Copy all of its numbers to the host."""
        numbers: Numbers = self.value.numpy()
        return numbers


class FixedRun:
    """Runs of one shape, whose inputs and outputs stay in place.

    Where the device records CUDA graphs, a run is recorded at once under `graph_id`, and all others
    replay it, without Python or onnxruntime starting a kernel; `failure` says why not, if so.
    `host` are inputs in the host's memory, which a replay does not read again.
    """

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        device: Device,
        inputs: Mapping[str, DeviceTensor],
        outputs: Mapping[str, DeviceTensor],
        graph_id: int,
        host: Mapping[str, Numbers] | None = None,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.failure = ""
        self._session = session
        self._binding = session.io_binding()
        for name, tensor in inputs.items():
            self._binding.bind_ortvalue_input(name, tensor.value)
        for name, tensor in outputs.items():
            self._binding.bind_ortvalue_output(name, tensor.value)
        for name, numbers in (host or {}).items():
            self._binding.bind_cpu_input(name, numbers)
        self._options = run_options(EAGER)
        if device.records:
            self._record(graph_id)

    def __call__(self) -> None:
        """Compute the outputs from what the inputs hold."""
        self._session.run_with_iobinding(self._binding, self._options)

    def _record(self, graph_id: int) -> None:
        eager, self._options = self._options, run_options(graph_id)
        try:
            self()
        except Exception as error:  # onnxruntime's errors share no narrower base
            self._options, self.failure = eager, reason(error)
            self()


def compute(call: Callable[[], T]) -> T:
    """What a call of onnxruntime returns; its errors are raised as a DeviceError."""
    try:
        return call()
    except UsageError:  # the graph is closed
        raise
    except Exception as error:  # onnxruntime's errors share no narrower base
        cause = reason(error)
        raise DeviceError(
            f"onnxruntime failed ({cause}); {_way_out(cause)}, or choose another device."
        ) from error


def _way_out(cause: str) -> str:
    if "memory" in cause.lower():
        return "load the model with a smaller context"
    if cause.startswith("CUDA failure"):  # after which nothing works in this process any more
        return "start the program again"
    return "load the model again"


def run_options(graph_id: int = EAGER) -> "onnxruntime.RunOptions":
    """Options of a run that is recorded or replayed under an id, or of one that is not."""
    options = onnxruntime_library().RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return options
