"""`weights.bin`: each tensor is made and appended once, however many graphs refer to it."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.core.bundle_config import TensorRef

ALIGNMENT = 4096  # bytes; a page, so that onnxruntime can map each tensor where it lies
INLINE = 1024  # bytes; a smaller tensor stands in the graphs themselves

T = TypeVar("T")
Array = NDArray[Any]
Stored = TensorRef | Array  # where a tensor lies, or a small one itself


def dtype_of(stored: Stored) -> np.dtype[Any]:
    """numpy's type, bfloat16 included."""
    name = str(stored.dtype)
    return np.dtype(getattr(ml_dtypes, name, name))


class WeightsBin:
    """The open `weights.bin` of a bundle that is being written; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._made: dict[str, object] = {}

    def __enter__(self) -> "WeightsBin":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def flush(self) -> None:
        """Let others read what was appended."""
        self._file.flush()

    def append(self, array: Array) -> TensorRef:
        """Write an array, little-endian and row-major, at the next multiple of 4096 bytes."""
        self._file.seek(-self._file.tell() % ALIGNMENT, 1)
        offset = self._file.tell()
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        self._file.write(little.reshape(-1).view(np.uint8).data)
        return TensorRef(offset, array.shape, array.dtype.name)

    def put(self, array: Array) -> Stored:
        """Keep an array as it is where it is small, else append it."""
        return np.ascontiguousarray(array) if array.nbytes < INLINE else self.append(array)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returned when that name was first asked for."""
        if name not in self._made:
            self._made[name] = make()
        return cast(T, self._made[name])

    def tensor(self, name: str, stored: Stored) -> ir.TensorProtocol:
        """A graph's tensor: external data, or inline."""
        if not isinstance(stored, TensorRef):
            return ir.tensor(stored, name=name)
        dtype = dtype_of(stored)
        return ir.ExternalTensor(
            self._path.name,
            stored.offset,
            int(np.prod(stored.shape)) * dtype.itemsize,
            ir.DataType.from_numpy(dtype),
            shape=ir.Shape(stored.shape),
            name=name,
            base_dir=self._path.parent,
        )
