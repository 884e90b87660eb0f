"""The order of those who wait."""

import asyncio

import pytest

from llava_edge.serve.answer_queue import AnswerQueue
from llava_edge.serve.wire_errors import WireError


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_place_that_is_given_to_one_who_leaves_goes_to_the_next() -> None:
    async def scene() -> None:
        queue = AnswerQueue(1, 2)
        await queue.enter()
        first, second = (asyncio.create_task(queue.enter()) for _ in range(2))
        await settle()
        assert (queue.running, queue.waiting) == (1, 2)
        queue.leave()  # the first has the place, and goes before it can take it
        first.cancel()
        await settle()
        assert first.cancelled() and second.done()
        assert (queue.running, queue.waiting) == (1, 0)
        queue.leave()
        assert queue.running == 0

    asyncio.run(scene())


def test_no_place_is_given_to_one_who_is_leaving() -> None:
    async def scene() -> None:
        queue = AnswerQueue(1, 3)
        await queue.enter()
        first, second, third = (asyncio.create_task(queue.enter()) for _ in range(3))
        await settle()
        first.cancel()
        queue.leave()  # in the same moment: the place is the second's
        await settle()
        assert first.cancelled() and second.done() and not third.done()
        assert (queue.running, queue.waiting) == (1, 1)
        third.cancel()
        queue.close()
        await settle()
        queue.leave()
        assert (queue.running, queue.waiting) == (0, 0)

    asyncio.run(scene())


def test_a_closed_queue_lets_nobody_in() -> None:
    async def scene() -> None:
        queue = AnswerQueue(1, 2)
        await queue.enter()
        waiting = asyncio.create_task(queue.enter())
        await settle()
        queue.close()
        for late in (waiting, queue.enter()):
            with pytest.raises(WireError, match="ending"):
                await late
        assert (queue.running, queue.waiting) == (1, 0)

    asyncio.run(scene())
