"""Records become batches, packed end to end or padded, that teach no more than they do apart."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tokenizer as tiny_tokenizer
from tiny_training import write_records

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.prompt import CHATML
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.record_table import open_table
from llava_edge.data.records import RecordSource
from llava_edge.errors import PictureError
from llava_edge.train.inputs.dataset import Example, RecordDataset, pack, pad
from llava_edge.train.inputs.labels import IGNORE_INDEX, Encoding
from llava_edge.train.inputs.record_encoder import Encoder

IMAGE = ImageConfig(size=21, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), mode="pad")


@pytest.fixture
def records(tmp_path: Path) -> RecordDataset:
    """Six records with a picture and one without."""
    tokenizer = tiny_tokenizer("chatml")
    image_id = tokenizer.token_to_id("<image>")
    encoding = Encoding(Tokenizer(tokenizer), CHATML, IMAGE, 7, image_id)
    write_records(tmp_path)
    source = RecordSource((tmp_path / "records.json",), tmp_path / "pictures")
    table = open_table([source], tmp_path / "cache", 0)
    return RecordDataset(table, Encoder(encoding, max_tokens=500))


def test_a_batch_pads_without_labels_or_attention(records: RecordDataset) -> None:
    examples = [records[0], records[len(records) - 1]]
    batch = pad(examples)
    short = len(examples[1].input_ids)
    assert batch["input_ids"].shape == (2, len(examples[0].input_ids))
    assert batch["pixel_values"].shape == (1, 3, IMAGE.size, IMAGE.size)
    assert torch.equal(
        batch["attention_mask"].sum(1), torch.tensor([batch["input_ids"].shape[1], short])
    )
    assert set(batch["labels"][1, short:].tolist()) == {IGNORE_INDEX}


@pytest.mark.parametrize("join", [pack, pad])
def test_a_batch_of_words_alone_has_no_pixels(
    records: RecordDataset, join: Callable[[list[Example]], dict[str, Any]]
) -> None:
    assert "pixel_values" not in join([records[6]])


def test_a_packed_row_is_its_records_end_to_end(records: RecordDataset) -> None:
    examples = [records[index] for index in (2, 6, 0)]
    batch = pack(examples)
    bounds = batch["segments"]
    assert bounds[0] == 0 and bounds[-1] == batch["input_ids"].shape[1]
    for example, (begin, end) in zip(examples, pairwise(bounds), strict=True):
        assert torch.equal(batch["input_ids"][0, begin:end], example.input_ids)
        assert torch.equal(batch["labels"][0, begin:end], example.labels)
        assert torch.equal(batch["position_ids"][0, begin:end], torch.arange(end - begin))
    assert len(batch["pixel_values"]) == 2


def test_a_record_beyond_the_last_teaches_nothing(records: RecordDataset) -> None:
    assert torch.equal(records[-1].input_ids, records[0].input_ids)
    assert set(records[-1].labels.tolist()) == {IGNORE_INDEX}


def test_lengths_are_about_the_tokens_and_say_who_has_a_picture(records: RecordDataset) -> None:
    lengths, pictured = records.lengths()
    assert pictured.tolist() == [True] * 6 + [False]
    true = [len(records[index].input_ids) for index in range(len(records))]
    assert lengths.argmin() == true.index(min(true)) and (lengths <= true).all()


def test_a_picture_that_is_missing_is_named_with_its_record(
    records: RecordDataset, tmp_path: Path
) -> None:
    (tmp_path / "pictures" / "3.png").unlink()
    with pytest.raises(PictureError, match=r"Record 4, line \d+ of .*records\.json: .*3\.png"):
        records[3]
