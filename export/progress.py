"""The progress bar of an export: it advances with the weights that are read."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

from numpy.typing import NDArray

from llava_edge.export.checkpoint import LazyTensor


@contextmanager
def progress_bar(tensors: Mapping[str, LazyTensor]) -> Iterator[dict[str, LazyTensor]]:
    """The same tensors; on a terminal, a bar on standard error shows how much of them was read."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("Exporting", BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=sum(prod(tensor.shape) for tensor in tensors.values()))
        yield {
            name: _counted(tensor, lambda count: bar.advance(task, count))
            for name, tensor in tensors.items()
        }


def _counted(tensor: LazyTensor, advance: Callable[[int], None]) -> LazyTensor:
    def read() -> NDArray[Any]:
        array = tensor.read()
        advance(array.size)
        return array

    return LazyTensor(tensor.shape, read)
