"""Steps that are computed together give each answer what it would have had alone."""

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_edge import Llava, Options, load
from llava_edge.core.array_types import Floats
from llava_edge.runtime.batched_steps import BatchedSteps
from llava_edge.runtime.decoder import Decoder
from llava_edge.runtime.interrupt import Interrupt, Interrupted
from llava_edge.runtime.kv_cache import HostKVCache, KVCache

READ = ([5, 77, 200, 13], [250, 8, 91, 166, 40, 260, 71], [30], [9, 8, 7, 6, 5, 4])


@pytest.fixture(scope="module", params=["int4", "fp32"])
def together(request: pytest.FixtureRequest) -> Llava:
    name = {"int4": "tiny_bundle", "fp32": "tiny_bundle_fp32"}[request.param]
    return load(request.getfixturevalue(name), contexts=4)


def alone(model: Llava) -> float:
    """By how much logits may differ where a row had others beside it: see Decoder.read."""
    return 1e-4 if model.config.quantization.method == "none" else 0.2


def caches(decoder: Decoder, count: int) -> list[HostKVCache]:
    """Caches side by side that have read something."""
    found = [decoder.new_cache() for _ in range(count)]
    for cache, ids in zip(found, READ, strict=False):
        assert isinstance(cache, HostKVCache) and cache.slot is not None
        decoder.read(cache, decoder.embed(ids))
    return [cache for cache in found if isinstance(cache, HostKVCache)]


def expected(model: Llava, ids: Sequence[int], id: int) -> Floats:
    cache = model.decoder.new_cache()
    return model.decoder.read(cache, model.decoder.embed([*ids, id]))[0].copy()


@contextmanager
def runs(decoder: Decoder) -> Iterator[list[list[int]]]:
    """Counts the slots of each run."""
    batched, found = decoder._batched, []
    assert batched is not None
    run = batched._run

    def counted(wishes: Any) -> None:
        found.append([wish.slot for wish in wishes])
        run(wishes)

    batched._run = counted  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del batched._run


def step_together(
    decoder: Decoder,
    asked: Sequence[KVCache],
    id: int,
    interrupts: dict[int, Interrupt] | None = None,
) -> list[Floats | Exception]:
    """What each cache's step gives, all of them being wished for before the first is computed."""
    found: list[Floats | Exception] = [Interrupted()] * len(asked)

    def step(place: int) -> None:
        try:
            found[place] = decoder.step(asked[place], id, (interrupts or {}).get(place))
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=step, args=(place,)) for place in range(len(asked))]
    batched = decoder._batched
    assert batched is not None
    ended = sum(each.reason is not None for each in (interrupts or {}).values())  # wait for nobody

    def wait() -> None:
        for thread in threads:
            thread.start()
        with batched._arrived:
            wished = len(asked) - ended
            assert batched._arrived.wait_for(lambda: len(batched._wishes) >= wished, 30)

    decoder._queue.run(wait)
    for thread in threads:
        thread.join()
    for error in found:
        if isinstance(error, Exception):
            error.with_traceback(None)  # whose frames would keep the caches
    return found


def test_answers_of_different_lengths_are_one_run(together: Llava) -> None:
    decoder = together.decoder
    asked = caches(decoder, 4)
    with runs(decoder) as found:
        logits = step_together(decoder, asked, 42)
    assert found == [[0, 1, 2, 3]]
    for cache, ids, row in zip(asked, READ, logits, strict=True):
        assert isinstance(row, np.ndarray) and cache.length == len(ids) + 1
        assert np.abs(row - expected(together, ids, 42)).max() < alone(together)
        assert np.argmax(row) == np.argmax(expected(together, ids, 42))


def test_what_lies_between_is_not_harmed(together: Llava) -> None:
    """A slot between two others is computed for nothing, even one that is full."""
    decoder = together.decoder
    first, between, last = caches(decoder, 3)
    full = [int(id) for id in np.random.default_rng(0).integers(0, 280, decoder.context)]
    for ids in (READ[1], full):
        first.rewind(3)
        last.rewind(1)
        between.rewind(0)
        decoder.read(between, decoder.embed(ids[:-1]))
        held = between.numbers().copy()
        with runs(decoder) as found:
            step_together(decoder, [first, last], 42)
        assert found == [[0, 2]]
        assert np.array_equal(between.numbers(), held)
        logits = decoder.step(between, ids[-1])
        assert np.abs(logits - expected(together, ids[:-1], ids[-1])).max() < alone(together)
        assert between.length == len(ids)
    held = between.numbers().copy()  # now with no place behind it
    with runs(decoder) as found:
        step_together(decoder, [first, last], 42)
    assert found == [[0], [2]]
    assert np.array_equal(between.numbers(), held)


def test_far_slots_are_runs_of_their_own(together: Llava) -> None:
    asked = caches(together.decoder, 4)
    with runs(together.decoder) as found:
        step_together(together.decoder, [asked[0], asked[3]], 42)
    assert found == [[0], [3]]


class EndedInTheRun(Interrupt):
    """An answer that is ended when its run has begun."""

    @contextmanager
    def ending(self, options: Any) -> Iterator[None]:
        with super().ending(options):
            self.end("cancelled")
            yield


@pytest.mark.parametrize("kind", [Interrupt, EndedInTheRun])
def test_an_answer_that_ends_leaves_the_others(together: Llava, kind: type[Interrupt]) -> None:
    asked, interrupt = caches(together.decoder, 3), kind()
    if kind is Interrupt:
        interrupt.end("cancelled")
    one, ended, two = step_together(together.decoder, asked, 42, {1: interrupt})
    assert isinstance(ended, Interrupted) and asked[1].length == len(READ[1])
    for row, ids in ((one, READ[0]), (two, READ[2])):
        assert isinstance(row, np.ndarray)
        assert np.abs(row - expected(together, ids, 42)).max() < alone(together)


def test_a_slot_is_lent_again(tiny_bundle: Path) -> None:
    decoder = load(tiny_bundle, contexts=2).decoder
    one, two, beside = (decoder.new_cache() for _ in range(3))
    slots = [cache.slot for cache in (one, two, beside) if isinstance(cache, HostKVCache)]
    assert slots == [0, 1, None]
    assert np.array_equal(decoder.step(beside, 7), decoder.step(two, 7))
    del one
    again = decoder.new_cache()
    assert isinstance(again, HostKVCache) and again.slot == 0


def test_a_single_conversation_has_no_batches(tiny_bundle: Path) -> None:
    assert load(tiny_bundle).decoder._batched is None


def test_answers_beside_each_other_are_those_of_one(tiny_bundle_fp32: Path) -> None:
    """Threads answer, are cancelled and begin anew; nobody's words change."""
    options = Options(max_tokens=25, temperature=0.8, seed=3)
    questions = [f"Question {number}?" for number in range(7)]
    model, single = load(tiny_bundle_fp32, contexts=4), load(tiny_bundle_fp32)
    wanted = {text: single.answer(text, options=options) for text in questions}
    found: dict[str, str] = {}

    def ask(texts: Sequence[str]) -> None:
        for text in texts:
            stream = model.stream("Never to be heard", options=options)
            next(piece for piece in stream if piece.text)
            stream.cancel()
            list(stream)
            found[text] = model.answer(text, options=options)

    threads = [threading.Thread(target=ask, args=(questions[n::3],)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted
    assert isinstance(model.decoder._batched, BatchedSteps)


def test_a_step_that_waits_for_its_turn_is_given_up(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, contexts=2)
    decoder, interrupt = model.decoder, Interrupt()
    cache = decoder.new_cache()
    decoder.read(cache, decoder.embed([5, 6]))
    begun, go_on = threading.Event(), threading.Event()

    def compute() -> None:
        begun.set()
        go_on.wait()

    thread = threading.Thread(target=decoder._queue.run, args=(compute,))
    thread.start()
    begun.wait()
    interrupt.end("cancelled")
    with pytest.raises(Interrupted):
        decoder.step(cache, 7, interrupt)
    go_on.set()
    thread.join()
    assert cache.length == 2
    assert decoder._batched is not None and not decoder._batched._wishes
    logits = decoder.step(cache, 7)
    np.testing.assert_allclose(logits, expected(model, [5, 6], 7), atol=alone(model))


def test_memory_is_given_back_when_no_cache_is_left(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, contexts=3)
    batched = model.decoder._batched
    assert batched is not None
    chat = model.chat()
    first = chat.answer("Tell", options=Options(max_tokens=5))
    before = weakref.ref(batched._memory)
    model.decoder.shrink()
    assert before() is batched._memory
    chat.close()
    del chat
    model.decoder.shrink()
    assert before() is None
    assert model.answer("Tell", options=Options(max_tokens=5)) == first
    before = weakref.ref(batched._memory)
    model.close()
    assert before() is None
