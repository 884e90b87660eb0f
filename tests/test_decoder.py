"""The KV cache in place gives the logits that reading everything anew gives."""

import numpy as np
import pytest

from llava_edge import Llava, load
from llava_edge.errors import UsageError

IDS = [5, 77, 200, 13, 250, 8, 91, 166, 40, 260, 71]


def prefilled(model: Llava, ids: list[int]) -> np.ndarray:
    model.decoder.rewind(0)
    return model.decoder.prefill(model.decoder.embed(ids)).copy()


@pytest.mark.parametrize("split", [1, 4, 10])
def test_steps_and_chunks_equal_one_prefill(model: Llava, split: int) -> None:
    whole = prefilled(model, IDS)
    prefilled(model, IDS[:split])
    continued = model.decoder.prefill(model.decoder.embed(IDS[split:])).copy()
    prefilled(model, IDS[:split])
    for id in IDS[split:]:
        stepped = model.decoder.step(id)
    assert np.abs(continued - whole).max() < 1e-4
    assert np.abs(stepped - whole).max() < 1e-4
    assert model.decoder.length == len(IDS)


def test_rewind_forgets(model: Llava) -> None:
    expected = prefilled(model, [*IDS[:6], 3, 4])
    prefilled(model, IDS)
    model.decoder.rewind(6)
    assert np.abs(model.decoder.prefill(model.decoder.embed([3, 4])) - expected).max() < 1e-4


def test_rewind_only_goes_back(model: Llava) -> None:
    prefilled(model, IDS)
    with pytest.raises(UsageError, match="cannot be rewound to 12"):
        model.decoder.rewind(12)


def test_logits_follow_the_context_up_to_its_end(model: Llava) -> None:
    ids = list(np.random.default_rng(0).integers(0, 280, model.decoder.context))
    whole = prefilled(model, ids)
    prefilled(model, ids[:-1])
    assert np.abs(model.decoder.step(ids[-1]) - whole).max() < 1e-4


def test_embedding_rows_are_close_at_8_bits(tiny_bundle: str, tiny_bundle_fp32: str) -> None:
    rows8 = load(tiny_bundle).decoder.embed([0, 5, 292])
    rows32 = load(tiny_bundle_fp32).decoder.embed([0, 5, 292])
    assert rows8.shape == rows32.shape == (3, 96)
    assert rows8.dtype == rows32.dtype == np.float32
    assert 0 < np.abs(rows8 - rows32).max() < np.abs(rows32).max() / 100
