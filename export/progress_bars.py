"""The progress bars of an export."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.quantization.blocks import Blocks

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def note(text: str) -> None:
    """Say something beside the result, on standard error."""
    from rich.console import Console

    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)


@contextmanager
def reading_bar(about: str, tensors: Mapping[str, LazyTensor]) -> Iterator[dict[str, LazyTensor]]:
    """The same tensors; a bar on a terminal's standard error shows how much of them was read."""
    with _bar(about) as bar:
        task = bar.add_task("", total=sum(prod(tensor.shape) for tensor in tensors.values()))
        yield {
            name: _counted(tensor, lambda count: bar.advance(task, count))
            for name, tensor in tensors.items()
        }


def step_bar(about: str, items: Iterable[T]) -> Iterator[T]:
    """The same items; a bar on a terminal's standard error shows how many were worked on."""
    items = list(items)
    with _bar(about) as bar:
        task = bar.add_task("", total=len(items))
        for item in items:
            yield item
            bar.advance(task)


def _bar(about: str) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (about, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _counted(tensor: LazyTensor, advance: Callable[[int], None]) -> LazyTensor:
    def read() -> NDArray[Any]:
        array = tensor.read()
        advance(array.size)
        return array

    def blocks() -> Blocks:
        assert tensor.blocks is not None
        made = tensor.blocks()
        advance(prod(tensor.shape))
        return made

    return LazyTensor(tensor.shape, read, blocks if tensor.blocks else None)
