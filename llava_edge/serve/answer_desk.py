"""Where every route asks for its answers: a place in the queue, a thread, and its figures."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import perf_counter

from llava_edge.core.prompt import Message, Picture
from llava_edge.runtime.model import Llava
from llava_edge.runtime.options import Options
from llava_edge.serve.answer_queue import AnswerQueue
from llava_edge.serve.metrics import Metrics
from llava_edge.serve.running_answer import RunningAnswer


class AnswerDesk:
    """Computes at most `parallel` answers at a time, each in a thread of its own."""

    def __init__(self, parallel: int, queue: int, metrics: Metrics) -> None:
        self._queue = AnswerQueue(parallel, queue)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="answer")
        self._metrics = metrics
        self._running = set[RunningAnswer]()
        metrics.watch(lambda: self._queue.running, lambda: self._queue.waiting)

    @asynccontextmanager
    async def answer(
        self, model: Llava, messages: Sequence[Message], options: Options
    ) -> AsyncIterator[RunningAnswer]:
        """The answer to a conversation; leaving the context gives it up.

        Raises WireError where there is no place, and what `Llava.stream` raises.
        """
        asked = perf_counter()
        stream = model.stream(messages, options)
        await self._queue.enter()
        queued = perf_counter() - asked
        pictures = sum(isinstance(part, Picture) for one in messages for part in one.content)

        def ended(answer: RunningAnswer) -> None:
            self._running.discard(answer)
            self._queue.leave()
            self._metrics.answered(answer.last, pictures, queued, perf_counter() - asked)

        answer = RunningAnswer(stream, ended)
        self._running.add(answer)
        answer.start(self._threads)
        try:
            yield answer
        finally:
            answer.cancel()

    def close(self) -> None:
        """End every answer with what it has said so far, and refuse the others."""
        self._queue.close()
        for answer in self._running:
            answer.cancel()
        self._threads.shutdown(wait=False)
