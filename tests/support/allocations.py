"""What torch allocates on a CPU, by its profiler."""

from torch.profiler import ProfilerActivity, profile


class AllocationPeak:
    """Within a `with`: the most bytes that were allocated at once beyond those there were."""

    def __enter__(self) -> "AllocationPeak":
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profile.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._profile.stop()
        found = self._profile.profiler
        assert found is not None and found.kineto_results is not None
        events = [e for e in found.kineto_results.events() if e.name() == "[memory]"]
        held = self.bytes = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            held += event.nbytes()
            self.bytes = max(self.bytes, held)
