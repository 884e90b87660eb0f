"""What PyInstaller is told of llava_edge: it finds this folder by an entry point."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """The folder of the hook, as PyInstaller's group of entry points `pyinstaller40` asks for."""
    return [str(Path(__file__).parent)]
