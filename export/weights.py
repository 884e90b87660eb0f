"""`weights.bin`: tensors are appended one at a time and referred to by where they lie."""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llava_edge.config import TensorRef

ALIGNMENT = 4096  # bytes; a page, so that onnxruntime can map each tensor where it lies
INLINE = 1024  # bytes; a smaller tensor stands in the graph itself


class WeightFile:
    """The open `weights.bin` of a bundle that is being written; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def __enter__(self) -> "WeightFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, array: NDArray[Any]) -> TensorRef:
        """Write an array, little-endian and row-major, at the next multiple of 4096 bytes."""
        self._file.seek(-self._file.tell() % ALIGNMENT, 1)
        offset = self._file.tell()
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        self._file.write(little.data)
        return TensorRef(offset, array.shape, array.dtype.name)

    def tensor(self, name: str, array: NDArray[Any]) -> ir.TensorProtocol:
        """A graph's tensor: inline where it is small, else appended and referred to."""
        if array.nbytes < INLINE:
            return ir.tensor(np.ascontiguousarray(array), name=name)
        return self.refer(name, self.append(array))

    def refer(self, name: str, ref: TensorRef) -> ir.TensorProtocol:
        """A graph's tensor whose bytes lie in the file already."""
        dtype = np.dtype(ref.dtype)
        return ir.ExternalTensor(
            self._path.name,
            ref.offset,
            int(np.prod(ref.shape)) * dtype.itemsize,
            ir.DataType.from_numpy(dtype),
            shape=ir.Shape(ref.shape),
            name=name,
            base_dir=self._path.parent,
        )
