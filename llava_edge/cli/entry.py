"""Where `llava-edge` begins: it works without the extra `cli`, and then says how to install it."""

from llava_edge.core.exit_on_error import run_command
from llava_edge.core.extras import needed_by


def main() -> None:
    """Run `llava-edge`; an error that the user can mend ends in one line and exit code 1 or 2."""
    run_command(_run)


def _run() -> None:
    with needed_by("The command line", "cli"):
        from llava_edge.cli.main import app
    app()
