"""Labels are the assistant's words and the stop token, whatever the prompt format."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tokenizer as tiny_tokenizer
from tiny_training import write_records

from llava_edge.config import ImageConfig
from llava_edge.prompt import PROMPTS, Message, render
from llava_edge.records import Data, load_records
from llava_edge.tokenizer import Tokenizer
from llava_edge.train.dataset import IGNORE_INDEX, Encoding, RecordDataset, label, pad

IMAGE = ImageConfig(size=21, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), mode="pad")


def encoding(prompt: str) -> Encoding:
    tokenizer = tiny_tokenizer(prompt)
    image_id = tokenizer.token_to_id("<image>")
    return Encoding(Tokenizer(tokenizer), PROMPTS[prompt], IMAGE, 7, image_id)


ENCODINGS = {name: encoding(name) for name in PROMPTS}
words = st.text(min_size=1).filter(lambda text: "<" not in text)


@pytest.mark.parametrize("prompt", PROMPTS)
@given(question=words, answers=st.lists(words, min_size=1, max_size=3))
def test_labels_decode_to_the_answers_and_their_stop_tokens(
    prompt: str, question: str, answers: list[str]
) -> None:
    chosen = ENCODINGS[prompt]
    turns = [(Message("user", question), Message("assistant", answer)) for answer in answers]
    segments = render(
        [message for turn in turns for message in turn], chosen.prompt, chosen.tokenizer
    )
    ids, labels = label(segments, chosen)
    learned = [id for id in labels if id != IGNORE_INDEX]
    assert all(a in (b, IGNORE_INDEX) for a, b in zip(labels, ids, strict=True))
    stop = chosen.tokenizer.token_id(chosen.prompt.assistant_suffix)
    assert learned.count(stop) == len(answers)
    assert learned[-1] == stop
    assert chosen.tokenizer.decode(learned) == "".join(
        chosen.prompt.answer_prefix + answer for answer in answers
    )


def test_a_picture_takes_its_image_tokens_and_no_label() -> None:
    chosen = ENCODINGS["chatml"]
    messages = [Message("user", "<image>\nWhat?"), Message("assistant", "A cat.")]
    ids, labels = label(render(messages, chosen.prompt, chosen.tokenizer), chosen)
    places = [position for position, id in enumerate(ids) if id == chosen.image_token_id]
    assert len(places) == chosen.image_tokens
    assert places == list(range(places[0], places[0] + len(places)))
    assert {labels[place] for place in places} == {IGNORE_INDEX}


def test_a_batch_pads_without_labels_or_attention(tmp_path: Path) -> None:
    write_records(tmp_path)
    records = load_records(Data((tmp_path / "records.json",), tmp_path / "pictures"))
    dataset = RecordDataset(records, ENCODINGS["chatml"])
    examples = [dataset[0], dataset[len(dataset) - 1]]
    batch = pad(examples)
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
    assert "pixel_values" not in pad([RecordDataset(records, ENCODINGS["chatml"])[6]])
