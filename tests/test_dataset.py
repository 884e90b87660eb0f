"""Records become batches that are padded without labels or attention."""

from pathlib import Path

import torch
from tiny import tokenizer as tiny_tokenizer
from tiny_training import write_records

from llava_edge.config import ImageConfig
from llava_edge.prompt import PROMPTS
from llava_edge.records import Data, load_records
from llava_edge.tokenizer import Tokenizer
from llava_edge.train.dataset import Encoding, RecordDataset, collate
from llava_edge.train.labels import IGNORE_INDEX

IMAGE = ImageConfig(size=21, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), mode="pad")


def encoding(prompt: str) -> Encoding:
    tokenizer = tiny_tokenizer(prompt)
    image_id = tokenizer.token_to_id("<image>")
    return Encoding(Tokenizer(tokenizer), PROMPTS[prompt], IMAGE, 7, image_id)


ENCODINGS = {name: encoding(name) for name in PROMPTS}


def test_a_batch_pads_without_labels_or_attention(tmp_path: Path) -> None:
    write_records(tmp_path)
    records = load_records(Data((tmp_path / "records.json",), tmp_path / "pictures"))
    dataset = RecordDataset(records, ENCODINGS["chatml"])
    examples = [dataset[0], dataset[len(dataset) - 1]]
    batch = collate(examples)
    short = len(examples[1].input_ids)
    assert batch["input_ids"].shape == (2, len(examples[0].input_ids))
    assert batch["pixel_values"].shape == (1, 3, IMAGE.size, IMAGE.size)
    assert torch.equal(
        batch["attention_mask"].sum(1), torch.tensor([batch["input_ids"].shape[1], short])
    )
    assert set(batch["labels"][1, short:].tolist()) == {IGNORE_INDEX}


def test_a_batch_of_words_alone_has_no_pixels(tmp_path: Path) -> None:
    write_records(tmp_path)
    records = load_records(Data((tmp_path / "records.json",), tmp_path / "pictures"))
    assert "pixel_values" not in collate([RecordDataset(records, ENCODINGS["chatml"])[6]])
