"""What an export says on its way: bars and notes, shown only where somebody asks for them."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.quantization.blocks import Blocks
from llava_edge.export.quantization.nf4 import Nf4

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


_logger = logging.getLogger("llava_edge")
_logger.addHandler(logging.NullHandler())  # or Python itself would print warnings
_shown: ContextVar[bool] = ContextVar("shown", default=False)


@contextmanager
def show_progress() -> Iterator[None]:
    """Within it, notes are printed on standard error, and bars are drawn where it is a terminal."""
    before = _shown.set(True)
    try:
        yield
    finally:
        _shown.reset(before)


def bars_are_drawn() -> bool:
    """Whether there is somebody to see a bar."""
    return _shown.get() and sys.stderr.isatty()


def note(text: str, level: int = logging.INFO) -> None:
    """Say something beside the result: printed where progress is shown, else to the logger."""
    if not _shown.get():
        _logger.log(level, text)
        return
    from rich.console import Console

    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)


@contextmanager
def reading_bar(about: str, tensors: Mapping[str, LazyTensor]) -> Iterator[dict[str, LazyTensor]]:
    """The same tensors; a bar shows how much of them was read."""
    if not bars_are_drawn():
        yield dict(tensors)
        return
    with _bar(about) as bar:
        task = bar.add_task("", total=sum(prod(tensor.shape) for tensor in tensors.values()))
        yield {
            name: _counted(tensor, lambda count: bar.advance(task, count))
            for name, tensor in tensors.items()
        }


def step_bar(about: str, items: Iterable[T]) -> Iterator[T]:
    """The same items; a bar shows how many were worked on."""
    if not bars_are_drawn():
        yield from items
        return
    items = list(items)
    with _bar(about) as bar:
        task = bar.add_task("", total=len(items))
        for item in items:
            yield item
            bar.advance(task)


def _bar(about: str) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = (about, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _counted(tensor: LazyTensor, advance: Callable[[int], None]) -> LazyTensor:
    def read() -> NDArray[Any]:
        array = tensor.read()
        advance(array.size)
        return array

    def blocks() -> Blocks | Nf4:
        assert tensor.blocks is not None
        made = tensor.blocks()
        advance(prod(tensor.shape))
        return made

    return replace(tensor, read=read, blocks=blocks if tensor.blocks else None)
