"""How a program ends on an error that its user can mend."""

import sys
from collections.abc import Callable

from llava_edge.errors import LlavaEdgeError, UsageError


def run_command(command: Callable[[], object]) -> None:
    """Call `command`; a LlavaEdgeError is printed as one line and ends the program.

    The exit code is then 1, or 2 for a UsageError, as other programs have it.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a character
    try:
        command()
    except LlavaEdgeError as error:
        if sys.stderr is not None:  # as it is in an app that was frozen without a console
            sys.stderr.write(f"Error: {error}\n")
        sys.exit(2 if isinstance(error, UsageError) else 1)
