"""Python programs in processes that have the training stack imported from the start.

To import it takes a new process several seconds. One process imports it once, and is copied for
each program: the standard library's fork server. Where there is none, on Windows, each process
imports it as usual.
"""

import gc
import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from tempfile import TemporaryDirectory

IMPORTED = (
    "pytest",  # with which each process begins, since the one that starts it is pytest's
    "llava_edge.cli.main",
    "llava_edge.export.sensitivity",
    "llava_edge.export.verify",
    "llava_edge.train.train",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llava.modeling_llava",
)
PATIENCE = 300  # seconds, for a process that waits for ever
COPIES = "forkserver" in multiprocessing.get_all_start_methods()
_context = multiprocessing.get_context("forkserver" if COPIES else "spawn")
if COPIES:
    _context.set_forkserver_preload(list(IMPORTED))


def run(*words: object, **environment: str) -> CompletedProcess[str]:
    """As `python WORDS` does, of a module (`-m NAME ...`) or a file (`FILE ...`)."""
    (ended,) = run_together(1, *words, **environment)
    return ended


def run_together(count: int, *words: object, **environment: str) -> list[CompletedProcess[str]]:
    """So many processes of a program, which find each other as those that torchrun starts."""
    program = [str(word) for word in words]
    with TemporaryDirectory() as folder:
        begun = []
        for rank, meeting in enumerate(_meetings(count)):
            streams = Path(folder) / str(rank)
            streams.mkdir()
            settings = {**os.environ, **meeting, **environment}
            process = _context.Process(target=_run, args=(program, settings, streams))
            process.start()
            begun.append((process, streams))
        return [_ended(process, program, streams) for process, streams in begun]


def _meetings(count: int) -> list[dict[str, str]]:
    """The environment of each process."""
    if count == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def _run(program: Sequence[str], settings: dict[str, str], streams: Path) -> None:
    """In the new process."""
    gc.freeze()
    os.environ.clear()
    os.environ.update(settings)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT), number)
    if program[0] == "-m":
        sys.argv = list(program[1:])
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(program)
        runpy.run_path(program[0], run_name="__main__")


def _ended(process: BaseProcess, program: Sequence[str], streams: Path) -> CompletedProcess[str]:
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise TimeoutExpired(program, PATIENCE)
    out, error = ((streams / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    return CompletedProcess(program, process.exitcode, out, error)
