"""How long a model or a conversation may be used, and what is computed for it meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Condition, get_ident
from typing import Protocol, TypeVar
from weakref import WeakSet

from llava_edge.errors import UsageError
from llava_edge.runtime.devices.fair_lock import HEARS_CTRL_C
from llava_edge.runtime.idle_trim import IdleTrim
from llava_edge.runtime.interrupt import Interrupt, Interrupted

T = TypeVar("T")


class Closable(Protocol):
    """What is closed with what it is of, as a chat with its model."""

    def close(self) -> None:
        """Give its memory back."""


class Lifetime:
    """From the beginning to `close`, which ends what is being computed first.

    `refusal` is the sentence for those who come later; `within` is the lifetime that it is a part
    of; `idle` is told whenever something was computed.
    """

    def __init__(
        self,
        refusal: str,
        within: "Lifetime | None" = None,
        idle: IdleTrim | None = None,
    ) -> None:
        self._refusal = refusal
        self._within = within
        self._idle = idle
        self._closed = False
        self._changed = Condition()
        self._computing: list[int] = []  # the threads
        self._interrupts: WeakSet[Interrupt] = WeakSet()
        self._parts: WeakSet[Closable] = WeakSet()

    @property
    def idle_seconds(self) -> float | None:
        """How long it is idle before memory is given back."""
        return None if self._idle is None else self._idle.seconds

    def check(self) -> None:
        """Raise UsageError where it is closed."""
        if self._closed:
            raise UsageError(self._refusal)

    def add(self, part: Closable) -> None:
        """Let something be closed before this is; raises UsageError where this is closed."""
        with self._changed:
            self.check()
            self._parts.add(part)

    def begin(self, interrupt: Interrupt) -> None:
        """Let an answer be ended before this is closed; raises UsageError where it is."""
        with self._changed:
            self.check()
            self._interrupts.add(interrupt)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within it something is computed, for which `close` waits."""
        thread = get_ident()
        with self._within.computing() if self._within else nullcontext():
            try:
                with self._changed:
                    self._computing.append(thread)
                if self._idle is not None:
                    self._idle.used(still=True)
                yield
            finally:  # after Ctrl-C too, at whatever line
                with self._changed:
                    if thread in self._computing:
                        self._computing.remove(thread)
                    self._changed.notify_all()
                if self._idle is not None:
                    self._idle.used(still=bool(self._computing))

    def run(self, call: Callable[[Interrupt], T], interrupt: Interrupt | None = None) -> T:
        """What a call returns; raises UsageError where this is closed before or meanwhile."""
        interrupt = interrupt or Interrupt()
        self.begin(interrupt)
        try:
            with self.computing():
                interrupt.check()
                return call(interrupt)
        except Interrupted as error:
            raise UsageError(self._refusal) from error

    def close(self) -> bool:
        """End what is being computed, and wait until it has ended -> whether this was open.

        Raises UsageError in a thread that is computing, as in the handler of a signal.
        """
        with self._changed:
            if get_ident() in self._computing:
                raise UsageError(
                    "It cannot be closed while this thread computes an answer; cancel the stream, "
                    "and close it afterwards."
                )
            if self._closed:
                return False
            self._closed = True
        for part in list(self._parts):
            part.close()
        for interrupt in list(self._interrupts):
            interrupt.end("cancelled")
        with self._changed:
            while self._computing:
                self._changed.wait(HEARS_CTRL_C)
        if self._idle is not None:
            self._idle.end()
        return True
