"""The bundles that are served, of which as many are loaded as the memory holds."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.serve.answer_queue import queue_full, stopping
from llava_edge.serve.daemon_call import in_daemon
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.model_memory import ModelMemory
from llava_edge.serve.served_model import ServedModel
from llava_edge.serve.wire_errors import WireError

_RETRY_SECONDS = 2

_log = logging.getLogger(__name__)


class ModelPool:
    """Lends models by their name, and loads and unloads them for that.

    A single bundle is loaded as the server begins. Of several, each is loaded for its first
    question, and those not used for longest make room; one that answers never does. `limit` is how
    many questions may wait for that. Raises UsageError for two of one name.
    """

    def __init__(
        self,
        hosts: Sequence[ModelHost],
        memory: ModelMemory,
        *,
        unload_after: float | None = None,
        limit: int = 64,
    ) -> None:
        self.hosts = tuple(hosts)
        self.failure: Exception | None = None  # why a single bundle could not be loaded
        self._memory = memory
        self._unload_after = unload_after
        self._limit = limit
        self._starting = len(self.hosts) == 1
        self._closed = False
        self._turn = asyncio.Lock()  # who makes room now; the others keep their order
        self._rested = asyncio.Event()
        self._waiting = set[asyncio.Task[object]]()
        names = [host.id for host in self.hosts]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"Two of the bundles are named {name}; serve one of them alone.")

    def start(self, failed: Callable[[], None]) -> None:
        """Load a single bundle; `failed` is called if that fails, and `failure` says why."""
        if not self._starting:
            return
        (host,) = self.hosts

        def loaded(future: asyncio.Future[None]) -> None:
            self._starting = False
            if not future.cancelled() and (error := future.exception()) is not None:
                self.failure = error if isinstance(error, Exception) else None
                failed()

        self._load(host).add_done_callback(loaded)

    def named(self, name: str) -> ModelHost:
        """The bundle of this name; raises WireError where there is none."""
        for host in self.hosts:
            if name in (host.id, f"{host.id}:latest"):  # which Ollama's clients add
                return host
        names = ", ".join(repr(host.id) for host in self.hosts)
        raise WireError(
            404,
            f"The model {name[:80]!r} is not here; this server has {names}.",
            "not_found_error",
            "model_not_found",
            "model",
        )

    def check_ready(self) -> None:
        """Raise WireError while a single bundle is loading as the server begins."""
        if self._starting and self.hosts[0].loaded is None:
            raise WireError(
                503,
                "The model is loading; ask again in a moment.",
                "unavailable_error",
                "loading",
                headers={"retry-after": str(_RETRY_SECONDS)},
            )

    @property
    def loaded(self) -> int:
        """How many models are loaded."""
        return sum(host.loaded is not None for host in self.hosts)

    @property
    def waiting(self) -> int:
        """How many questions wait for one."""
        return len(self._waiting)

    @asynccontextmanager
    async def lend(self, name: str | None, key: str) -> AsyncIterator[ServedModel]:
        """The model as the holder of a key has it, loaded; it stays so within the context.

        Where there is one bundle, it has every name. Raises WireError.
        """
        self.check_ready()
        host = self.hosts[0] if len(self.hosts) == 1 else self.named(name or "")
        await self._ready(host)
        try:
            yield host.model(key)
        finally:
            self._rest(host)

    def close(self) -> None:
        """Let nobody wait any more."""
        self._closed = True
        for task in self._waiting:
            task.cancel()

    async def _ready(self, host: ModelHost) -> None:
        """Wait until it is loaded, and count one user more."""
        if self._closed:
            raise stopping()
        waits = host.loaded is None or self._turn.locked()
        if waits and len(self._waiting) >= self._limit:
            raise queue_full(len(self._waiting))
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            await self._loaded(host)
        except asyncio.CancelledError:
            if self._closed:
                raise stopping() from None
            raise
        finally:
            self._waiting.discard(task)

    async def _loaded(self, host: ModelHost) -> None:
        async with self._turn:
            if not host.present:
                await self._make_room(host)
                self._load(host)
            host.users += 1
        try:
            if host.loading is not None:
                await asyncio.shield(host.loading)
        except BaseException as error:
            self._rest(host)
            if isinstance(error, Exception):
                raise _unloadable(host) from error
            raise

    async def _make_room(self, host: ModelHost) -> None:
        while not self._memory.holds(host, [one for one in self.hosts if one.present]):
            idle = [one for one in self.hosts if one.idle]
            if idle:
                oldest = min(idle, key=lambda one: one.used)
                await in_daemon(oldest.unload(), "unloading")
            else:
                self._rested.clear()
                await self._rested.wait()

    def _load(self, host: ModelHost) -> asyncio.Future[None]:
        def loaded(future: asyncio.Future[None]) -> None:
            host.loading = None
            if not self._starting and not future.cancelled():
                _log_failure(host, future.exception())
            self._rest(host, users=0)

        host.loading = in_daemon(host.load, "loading")
        host.loading.add_done_callback(loaded)
        return host.loading

    def _rest(self, host: ModelHost, users: int = 1) -> None:
        """So many users have done with a model; without any, it may be unloaded soon."""
        loop = asyncio.get_running_loop()
        host.users -= users
        host.used = used = loop.time()
        self._rested.set()

        def unload() -> None:
            if host.idle and host.used == used:
                in_daemon(host.unload(), "unloading")

        if self._unload_after is not None and host.idle:
            loop.call_later(self._unload_after, unload)


def _log_failure(host: ModelHost, error: BaseException | None) -> None:
    if isinstance(error, LlavaEdgeError):
        _log.error("%s could not be loaded. %s", host.id, error)
    elif error is not None:
        _log.error("%s could not be loaded.", host.id, exc_info=error)


def _unloadable(host: ModelHost) -> WireError:
    return WireError(
        500,
        f"The model {host.id!r} cannot be loaded; the server's log says why.",
        "server_error",
        "load_failed",
        headers={"x-should-retry": "false"},
    )
