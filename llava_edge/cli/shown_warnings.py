"""What the package warns of, printed for people."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Within it, warnings are printed, such as that a picture is nearly black."""
    logger, handler = logging.getLogger("llava_edge"), _Notes(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def note(text: str, style: str = "dim") -> None:
    """What is not the answer goes to stderr, so that pipes get the answer alone."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, style=style, markup=False)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())
