"""What a terminal shows of long work before a stage; nothing goes to a file or a pipe."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")


def track(items: Sequence[T], words: str) -> Iterator[T]:
    """The items, under a bar that says in words what is done with them."""
    console = Console(stderr=True)
    shown = console.is_terminal and len(items) > 0
    yield from rich_track(items, words, console=console, disable=not shown)


def reading_records() -> AbstractContextManager[object]:
    """Show that files of records are being read."""
    return Console(stderr=True).status("Reading records")
