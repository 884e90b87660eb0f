"""A call in a thread of its own is left behind, and holds nothing afterwards."""

import gc
import threading
from collections.abc import Callable
from threading import Event

import pytest

from llava_edge import Llava, Options, PictureError
from llava_edge.runtime import answer
from llava_edge.runtime.aside import LeftBehind, aside


def test_it_returns_and_raises_what_the_call_does() -> None:
    assert aside(lambda check: threading.current_thread().name) == "llava-edge-aside"
    with pytest.raises(ZeroDivisionError):
        aside(lambda check: 1 // 0)


def test_the_call_hears_that_nobody_waits() -> None:
    begun, go_on, heard = Event(), Event(), Event()

    def call(check: Callable[[], None]) -> None:
        begun.set()
        check()
        go_on.wait()
        with pytest.raises(LeftBehind):
            check()
        heard.set()

    def check() -> None:
        if begun.is_set():
            raise TimeoutError("enough")

    with pytest.raises(TimeoutError, match="enough"):
        aside(call, check)
    go_on.set()
    assert heard.wait(60)


def test_a_form_that_takes_long_is_given_up(model: Llava, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = Event()
    monkeypatch.setattr(answer, "Constraint", lambda options, grammars: go_on.wait())
    *_, last = model.stream("Which?", options=Options(choices=("a", "b"), timeout=0.05))
    go_on.set()
    assert last.finish == "timeout"


def test_what_a_call_aside_raises_leaves_nothing_behind() -> None:
    gc.collect()
    gc.disable()  # what is in no cycle goes without it
    try:
        gone = Event()

        class Held:
            def __del__(self) -> None:
                gone.set()

        def call(check: object) -> None:
            held = Held()
            raise PictureError(f"{held} is no picture.")

        try:
            aside(call)
        except PictureError:
            pass
        assert gone.wait(10)
    finally:
        gc.enable()
    for thread in threading.enumerate():
        if thread.name == "llava-edge-aside":
            thread.join()
