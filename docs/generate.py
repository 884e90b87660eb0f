"""Writes docs/cli.md and docs/api.md, which the code itself is the source of.

make docs
"""

from pathlib import Path

from api_reference import api_reference
from cli_reference import cli_reference

DOCS = Path(__file__).parent


def references() -> dict[Path, str]:
    """What each generated file holds."""
    return {DOCS / "cli.md": cli_reference(), DOCS / "api.md": api_reference()}


if __name__ == "__main__":
    for path, text in references().items():
        path.write_text(text, encoding="utf-8")
