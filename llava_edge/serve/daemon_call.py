"""A long call in a thread that does not keep the program from ending."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


def in_daemon(call: Callable[[], None], name: str) -> asyncio.Future[None]:
    """Make the call in a thread; the future is done with it, and has what it raised."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        found: Exception | None = None
        try:
            call()
        except Exception as error:
            found = error
        with suppress(RuntimeError):  # the loop has ended: nobody is left to be told
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
