"""What the guards allow: addresses, names, origins and keys, and how large and slow a body is."""

from dataclasses import dataclass, field

from llava_edge.serve.guards.listening_address import check_address


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """What the guards allow; raises UsageError for an address that needs a key and has none."""

    host: str = "127.0.0.1"  # the address that is listened on
    host_names: frozenset[str] = frozenset()  # further names that this server is reached by
    origins: frozenset[str] = frozenset()  # of other pages, as their browsers write them
    keys: tuple[str, ...] = field(default=(), repr=False)  # no log is to show them
    open_paths: frozenset[str] = frozenset({"/health"})  # read without a key
    body_bytes: int = 32 * 2**20
    body_seconds: float = 300.0  # in which a body is received as a whole
    grace_seconds: float = 10.0  # after which a body must have come at the least rate
    least_rate: int = 16 * 2**10  # bytes a second
    discard_seconds: float = 5.0  # for the rest of a body that is refused
    json_depth: int = 64

    def __post_init__(self) -> None:
        check_address(self.host, self.keys)
