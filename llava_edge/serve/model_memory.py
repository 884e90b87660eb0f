"""How much memory the models that are loaded may take together."""

from collections.abc import Iterable, Sequence

from llava_edge.errors import UsageError
from llava_edge.runtime.devices.device import candidates
from llava_edge.runtime.expected_memory import (
    DEFAULT_CONTEXT,
    PROGRAM,
    expected_memory,
    free_memory,
)
from llava_edge.serve.model_host import ModelHost


class ModelMemory:
    """A budget of `limit` bytes, None for no end, and what each bundle takes of it.

    `needs` are bytes by the bundle's name.
    """

    def __init__(self, limit: int | None, needs: dict[str, int]) -> None:
        self._limit = limit
        self._needs = needs

    @classmethod
    def on_device(
        cls,
        hosts: Sequence[ModelHost],
        limit: int | None,
        device: str = "auto",
        *,
        context: int | None = None,
        contexts: int = 1,
        gpu_memory: int | None = None,
    ) -> "ModelMemory":
        """The budget where the bundles are loaded as `load` is told; by default what is free there.

        Raises UsageError where a bundle takes more than `limit` by itself, and BundleError for one
        that does not run on the device.
        """
        needs, free = {}, None
        for host in hosts:
            first = candidates(device, host.config.devices)[0]
            expected = expected_memory(host.config, first)
            longest = min(host.config.decoder.context_length, context or DEFAULT_CONTEXT)
            needs[host.id] = expected.weights + contexts * longest * expected.kv_cache_per_token
            if limit is not None and needs[host.id] > limit:
                raise UsageError(
                    f"{host.id} takes about {needs[host.id] / 1e9:.1f} GB, and the models may take "
                    f"{limit / 1e9:.1f} GB; allow more, or serve fewer answers at a time."
                )
            free = free_memory(first, gpu_memory)
        return cls(limit if limit is not None or free is None else free - PROGRAM, needs)

    def holds(self, host: ModelHost, others: Iterable[ModelHost]) -> bool:
        """Whether a bundle fits beside the others; by itself it always may be tried."""
        taken = sum(self._needs[other.id] for other in others)
        return not taken or self._limit is None or taken + self._needs[host.id] <= self._limit
