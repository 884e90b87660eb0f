"""What a command reaches outside of itself, as strace sees it: addresses, and files written."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(
    STRACE is None, reason="strace, which sees what compiled libraries do, is not installed"
)
CALLS = "%network,/^(open|creat|mkdir|rename|link|symlink)"
# What would keep telemetry quiet for another reason than our own doing.
SILENCERS = re.compile(r"CI|.*_CI|CI_.*|GITHUB_.*|ORT_.*|HF_.*|.*TELEMETRY.*|DO_NOT_TRACK")
FOLDERS = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR")

_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?"([\d.:a-f]+)"')
_CREATES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")
_QUOTED = re.compile(r'(?:AT_FDCWD|\d+)?(?:<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Trace:
    """Where a command and its children connected or sent to, and every path that they wrote."""

    addresses: frozenset[str]  # HOST:PORT of the internet protocols, loopback included
    written: frozenset[Path]

    def outside(self, *folders: Path) -> list[Path]:
        """What was written elsewhere than in these folders."""
        return sorted(
            path for path in self.written if not any(path.is_relative_to(f) for f in folders)
        )


def own_folders(folder: Path, **more: str) -> dict[str, str]:
    """An environment whose user folders are empty and below `folder`, and which silences nobody."""
    kept = {name: value for name, value in os.environ.items() if not SILENCERS.fullmatch(name)}
    own = {name: str(folder / name) for name in FOLDERS}
    for path in own.values():
        Path(path).mkdir(parents=True, exist_ok=True)
    return {**kept, **own, "PYTHONDONTWRITEBYTECODE": "1", **more}


def under_strace(command: Sequence[object], log: Path) -> list[str]:
    """The command that runs another one, its children too, and writes what they do to a log.

    strace keeps signals to itself: one that is to end the command goes to its only child.
    """
    assert STRACE is not None
    words = [STRACE, "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log)]
    return [*words, *map(str, command)]


def traced(
    command: Sequence[object], folder: Path, stdin: str = "", **more: str
) -> tuple[subprocess.CompletedProcess[str], Trace]:
    """Run a command to its end in `folder`, whose subfolders are all that it knows of a user's."""
    log = folder / "trace.log"
    done = subprocess.run(
        under_strace(command, log),
        input=stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        env=own_folders(folder, **more),
    )
    return done, read_trace(log, folder)


def read_trace(log: Path, folder: Path) -> Trace:
    """What a log tells of a command that ran in `folder`."""
    lines = log.read_text(errors="replace").splitlines()
    succeeded = [line for line in lines if not re.search(r"= -1 E(?!INPROGRESS)", line)]
    return Trace(
        frozenset(address for line in lines for address in _addresses(line)),
        frozenset(path for line in succeeded for path in _written(line, folder)),
    )


def _addresses(line: str) -> Iterator[str]:
    if _call(line).startswith(("connect(", "send")):
        yield from (f"{host}:{port}" for port, host in _ADDRESS.findall(line))


def _written(line: str, folder: Path) -> Iterator[Path]:
    call = _call(line)
    if call.startswith("open") and not _CREATES.search(call):
        return
    if not re.match(r"open|creat|mkdir|rename|link|symlink", call):
        return
    where, name = _QUOTED.findall(call)[-1]  # the last: where a rename goes to
    path = Path(where or folder, name)
    if path.parts[1] not in ("dev", "proc"):
        yield path


def _call(line: str) -> str:
    """What stands after the number of the process."""
    return line.split(maxsplit=1)[-1]
