"""How a server is to behave."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llava_edge.errors import UsageError
from llava_edge.serve.guards.guard_settings import GuardSettings

if TYPE_CHECKING:  # the command line reads the defaults, with or without the extra `serve`
    from llava_edge.serve.remote_pictures import RemotePictures


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server is to behave; raises UsageError for what is out of its range.

    - guards: who may ask, from where, and how much a request may hold.
    - remote: where pictures may be fetched from; None for nowhere.
    - port: 0 for any that is free.
    - parallel: how many answers are computed at a time.
    - queue: how many questions may wait for that.
    - memory: bytes that models may take together; None for what is free as the server begins.
    - unload_after: seconds without a question after which a model is unloaded; None for never.
    - max_tokens: of an answer, whatever is asked for; None for as many as the context holds.
    - ollama: whether Ollama's paths are served too.
    - ping_seconds: after so long without an event, a stream is kept alive by a comment.
    - send_seconds: how long a client may take nothing of its answer.
    - stop_seconds: in which answers must have ended once the server is told to.
    """

    guards: GuardSettings = field(default_factory=GuardSettings)
    remote: "RemotePictures | None" = None
    port: int = 8080
    parallel: int = 2
    queue: int = 64
    memory: int | None = None
    unload_after: float | None = None
    max_tokens: int | None = None
    ollama: bool = False
    ping_seconds: float = 10.0
    send_seconds: float = 60.0
    stop_seconds: int = 5

    def __post_init__(self) -> None:
        for name, least, most in (
            ("port", 0, 65535),
            ("parallel", 1, 64),
            ("queue", 0, 10_000),
            ("unload_after", 0.001, 10**9),
            ("max_tokens", 1, 2**31),
            ("ping_seconds", 0.001, 3600),
            ("send_seconds", 0.001, 3600),
            ("stop_seconds", 1, 3600),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"{name} is {value}; give a number from {least} to {most:,}.")


SERVE_DEFAULTS = ServeSettings()
