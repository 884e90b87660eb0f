"""A step's records depend on the seed alone; how they are shared changes who computes them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_edge.data.records import RecordSource
from llava_edge.errors import TrainingError
from llava_edge.train.inputs.batches import Devices, StageBatches, in_order
from llava_edge.train.recipe import Stage

SOURCE = RecordSource((Path("records.json"),), Path("pictures"))
SHARES = [(1, None), (2, None), (1, 2), (2, 1), (3, 1), (6, None)]  # devices, records at once


def batches(
    records: int, share: tuple[int, int | None], rank: int = 0, **settings: object
) -> StageBatches:
    devices, at_once = share
    stage = Stage(
        (SOURCE,),
        1e-3,
        batch_size=6,
        device_batch_size=at_once,
        **settings,  # type: ignore[arg-type]
    )
    random = np.random.default_rng(records)
    lengths, pictured = random.integers(5, 200, records), random.random(records) < 0.7
    return StageBatches(lengths, pictured, stage, 3, Devices(devices, rank))


def steps(records: int, share: tuple[int, int | None], **settings: object) -> list[list[int]]:
    """The records of each step, of all devices together and sorted."""
    parts = [list(batches(records, share, rank, **settings)) for rank in range(share[0])]
    assert len({len(part) for part in parts}) == 1  # or one device would wait for ever
    count = len(parts[0]) // batches(records, share, **settings).steps
    return [
        sorted(i for part in parts for batch in part[at : at + count] for i in batch if i >= 0)
        for at in range(0, len(parts[0]), count)
    ]


@given(st.integers(1, 60), st.sampled_from([0.5, 1.0, 2.3]), st.booleans())
def test_every_share_computes_the_same_steps(records: int, epochs: float, packing: bool) -> None:
    expected = steps(records, (1, None), epochs=epochs, packing=packing)
    for share in SHARES[1:]:
        assert steps(records, share, epochs=epochs, packing=packing) == expected


@given(st.integers(1, 60), st.booleans())
def test_an_epoch_takes_each_record_once(records: int, packing: bool) -> None:
    found = steps(records, (2, 1), packing=packing)
    assert sorted(i for step in found for i in step) == list(range(records))
    assert [len(step) for step in found[:-1]] == [6] * (len(found) - 1)


def test_epochs_differ_and_a_part_of_one_is_a_part() -> None:
    found = [i for step in steps(60, (1, None), epochs=2.5) for i in step]
    first, second, part = found[:60], found[60:120], found[120:]
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second and len(part) == 30


def test_records_of_like_length_and_kind_share_a_step_without_packing() -> None:
    sampler = batches(600, (1, None), packing=False)
    whole = [step for step in sampler if len(step) == 6]
    mixed = [step for step in whole if len(set(sampler._pictured[step])) > 1]
    spread = [np.ptp(sampler._lengths[step]) for step in whole]
    assert len(mixed) <= 2  # what is left of each kind at the epoch's end
    assert np.median(spread) < 10 < np.ptp(sampler._lengths)


def test_devices_compute_about_as_many_tokens() -> None:
    sampler = batches(600, (2, None))
    other = batches(600, (2, None), rank=1)
    for one, two in zip(sampler, other, strict=True):
        tokens = [sampler._lengths[part].sum() for part in (one, two)]
        assert max(tokens) - min(tokens) <= np.ptp(sampler._lengths[[*one, *two]])


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    with pytest.raises(TrainingError, match="4 devices"):
        batches(10, (4, None))


@given(st.integers(0, 30), st.integers(1, 7), st.integers(1, 4))
def test_evaluation_takes_each_record_once(records: int, size: int, count: int) -> None:
    parts = [in_order(records, size, Devices(count, rank)) for rank in range(count)]
    found = sorted(i for part in parts for batch in part for i in batch if i >= 0)
    assert found == list(range(records))
    assert len({len(part) for part in parts}) == 1  # or one device would wait for ever
