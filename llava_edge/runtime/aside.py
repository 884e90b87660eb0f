"""A call in a thread of its own, which is left behind where nobody waits for it any longer."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Event, Thread
from typing import TypeVar

from llava_edge.runtime.devices.fair_lock import HEARS_CTRL_C, nothing

T = TypeVar("T")


class LeftBehind(Exception):
    """Nobody waits for the call any longer."""


def aside(call: Callable[[Callable[[], None]], T], check: Callable[[], None] = nothing) -> T:
    """What a call returns that may take long, and raises what it raises.

    `check` is called now and then; where it raises, or at Ctrl-C, the thread is left behind. The
    call is given what it should call now and then itself: that raises LeftBehind from then on.
    """
    check()
    left = Event()
    outcome: Future[T] = Future()

    def check_wanted() -> None:
        if left.is_set():
            raise LeftBehind

    Thread(
        target=_run, args=(call, check_wanted, outcome), name="llava-edge-aside", daemon=True
    ).start()
    try:
        while not outcome.done():
            wait([outcome], HEARS_CTRL_C)
            check()
        return outcome.result()
    except BaseException:
        left.set()
        raise
    finally:
        del outcome  # or an error would hold itself, and the picture, by its traceback


def _run(
    call: Callable[[Callable[[], None]], T], check: Callable[[], None], outcome: Future[T]
) -> None:
    try:
        outcome.set_result(call(check))
    except BaseException as error:
        outcome.set_exception(error)
    finally:
        del outcome  # as above
