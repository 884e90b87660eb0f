"""What the server counts, in Prometheus' text format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llava_edge.runtime.answer import Piece

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters, gauges and histograms of one server, named `llava_edge_*`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Replies by status.", ["status"])
        self._answers = self._counter("answers", "Answers by how they ended.", ["finish"])
        self._pictures = self._counter("pictures", "Pictures in the questions answered.")
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts, image tokens too.")
        self._cached = self._counter("cached_tokens", "Those of them that were in a KV cache.")
        self._image = self._counter("image_tokens", "Those of them that are a picture's.")
        self._generated = self._counter("generated_tokens", "Tokens of answers.")
        self._queued = self._seconds("queue", "Waiting for a place among the answers computed.")
        self._encode = self._seconds("encode", "Decoding and encoding an answer's pictures.")
        self._prefill = self._seconds("prefill", "Reading a prompt.")
        self._first = self._seconds("time_to_first_token", "From the question to the first token.")
        self._whole = self._seconds("answer", "From the question to the end of its answer.")

    def watch(self, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Take the numbers of answers in the making from these functions."""
        for name, count, help in (
            ("answers_running", running, "Answers that are computed."),
            ("answers_waiting", waiting, "Questions that wait for a place."),
        ):
            gauge = Gauge(f"llava_edge_{name}", help, registry=self.registry)
            gauge.set_function(count)

    def replied(self, status: int) -> None:
        """Count a reply; 499 is nginx's number for a client that did not wait."""
        self._requests.labels(str(status)).inc()

    def answered(self, last: Piece | None, pictures: int, queued: float, seconds: float) -> None:
        """Count an answer by its last piece, None where it failed before the first.

        `queued` and `seconds` count from the question, to its place and to the answer's end.
        """
        finish = (last and last.finish) or "error"
        self._answers.labels(finish).inc()
        self._queued.observe(queued)
        self._whole.observe(seconds)
        self._pictures.inc(pictures)
        if last is None:
            return
        timings = last.timings
        self._prompt.inc(timings.prompt_tokens)
        self._cached.inc(timings.cached_tokens)
        self._image.inc(timings.image_tokens)
        self._generated.inc(timings.generated_tokens)
        if timings.image_tokens:
            self._encode.observe(timings.encode_seconds)
        if timings.generated_tokens:
            self._prefill.observe(timings.prefill_seconds)
            self._first.observe(queued + timings.ttft_seconds)

    def text(self) -> bytes:
        """What GET /metrics answers."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"llava_edge_{name}", help, labels or (), registry=self.registry)

    def _seconds(self, name: str, help: str) -> Histogram:
        name = f"llava_edge_{name}_seconds"
        return Histogram(name, help, buckets=_SECONDS, registry=self.registry)
