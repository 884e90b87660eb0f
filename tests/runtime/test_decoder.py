"""The KV cache in place gives the logits that reading everything anew gives."""

import numpy as np
import pytest

from llava_edge import Llava, load
from llava_edge.core.array_types import Floats
from llava_edge.errors import UsageError
from llava_edge.runtime.interrupt import Interrupt, Interrupted

IDS = [5, 77, 200, 13, 250, 8, 91, 166, 40, 260, 71]


def logits(model: Llava, *parts: list[int]) -> Floats:
    """The logits after the last of some parts, each read by one call into a new cache."""
    cache = model.decoder.new_cache()
    for ids in parts:
        found = model.decoder.read(cache, model.decoder.embed(ids))[0].copy()
    assert cache.length == sum(map(len, parts))
    return found


def alone(model: Llava) -> float:
    """By how much logits may differ where a row had no other beside it: see Decoder.read."""
    return 1e-4 if model.config.quantization.method == "none" else 0.2


@pytest.mark.parametrize("split", [1, 4, 10])
def test_steps_and_chunks_equal_one_prefill(model: Llava, split: int) -> None:
    whole = logits(model, IDS)
    assert np.abs(logits(model, IDS[:split], IDS[split:]) - whole).max() < 1e-4
    cache = model.decoder.new_cache()
    model.decoder.read(cache, model.decoder.embed(IDS[:split]))
    for id in IDS[split:]:
        stepped = model.decoder.step(cache, id)
    assert np.abs(stepped - whole).max() < alone(model)


def test_a_chunk_up_to_the_last_token_of_the_context(model: Llava) -> None:
    ids = [int(id) for id in np.random.default_rng(0).integers(0, 280, model.decoder.context)]
    whole = logits(model, ids)
    assert np.abs(logits(model, ids[:-1], ids[-1:]) - whole).max() < alone(model)
    assert np.abs(logits(model, ids[:-3], ids[-3:]) - whole).max() < alone(model)


def test_logits_at_several_positions(model: Llava) -> None:
    cache = model.decoder.new_cache()
    rows = model.decoder.embed(IDS)
    some = model.decoder.read(cache, rows, [2, 10]).copy()
    assert np.array_equal(some[1], logits(model, IDS))
    assert np.array_equal(some[0], logits(model, IDS[:3]))


def test_rewind_forgets(model: Llava) -> None:
    expected = logits(model, [*IDS[:6], 3, 4])
    cache = model.decoder.new_cache()
    model.decoder.read(cache, model.decoder.embed(IDS))
    cache.rewind(6)
    found = model.decoder.read(cache, model.decoder.embed([3, 4]))[0]
    assert np.abs(found - expected).max() < 1e-4
    with pytest.raises(UsageError, match="cannot be rewound to 12"):
        cache.rewind(12)


def test_caches_do_not_touch_one_another(model: Llava) -> None:
    first, second = model.decoder.new_cache(), model.decoder.new_cache()
    for id in IDS:
        model.decoder.read(first, model.decoder.embed([id]))
        found = model.decoder.read(second, model.decoder.embed([id + 1])).copy()
    expected = logits(model, *([id + 1] for id in IDS))
    assert np.array_equal(found[0], expected)


def test_what_a_cache_holds_can_be_carried_over(model: Llava) -> None:
    first, second = model.decoder.new_cache(), model.decoder.new_cache()
    model.decoder.read(first, model.decoder.embed(IDS[:8]))
    second.restore(first.numbers().copy())
    found = model.decoder.read(second, model.decoder.embed(IDS[8:]))[0]
    assert np.array_equal(found, logits(model, IDS[:8], IDS[8:]))


def test_an_interrupted_call_leaves_the_cache_as_it_was(model: Llava) -> None:
    cache = model.decoder.new_cache()
    model.decoder.read(cache, model.decoder.embed(IDS[:4]))
    interrupt = Interrupt()
    interrupt.end("cancelled")
    with pytest.raises(Interrupted):
        model.decoder.read(cache, model.decoder.embed(IDS[4:]), interrupt=interrupt)
    assert cache.length == 4
    found = model.decoder.read(cache, model.decoder.embed(IDS[4:]))[0]
    assert np.array_equal(found, logits(model, IDS[:4], IDS[4:]))


def test_embedding_rows_are_close_at_8_bits(tiny_bundle: str, tiny_bundle_fp32: str) -> None:
    rows8 = load(tiny_bundle).decoder.embed([0, 5, 292])
    rows32 = load(tiny_bundle_fp32).decoder.embed([0, 5, 292])
    assert rows8.shape == rows32.shape == (3, 96)
    assert rows8.dtype == rows32.dtype == np.float32
    assert 0 < np.abs(rows8 - rows32).max() < np.abs(rows32).max() / 100
