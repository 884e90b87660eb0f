"""What bundles are compared on: records, questions about drawn pictures, and text."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tokenizer
from tiny_training import write_records

from llava_edge.core.prompt import CHATML, PROMPTS
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.records import Data, load_records
from llava_edge.errors import RecordError
from llava_edge.export.comparison_samples import (
    ANSWER,
    WINDOW,
    conversation_samples,
    draw_picture,
    text_samples,
)

PICTURE = np.full((5, 2), -1, np.float32)


def embed(ids: list[int]) -> np.ndarray:
    """A row that says its id."""
    return np.stack([np.array(ids, np.float32)] * 2, axis=1)


def test_a_text_is_cut_into_windows() -> None:
    tok = Tokenizer(tokenizer())
    windows = text_samples(tok, "There are cats on the table. " * 100)
    lengths = [len(segment.ids) for window in windows for segment in window.segments]
    assert lengths[0] == WINDOW and len(lengths) > 2
    assert all(WINDOW // 2 < length <= WINDOW for length in lengths)
    assert len(text_samples(tok)) >= 4


def test_records_keep_their_answers(tmp_path: Path) -> None:
    write_records(tmp_path)
    data = Data((tmp_path / "records.json",), tmp_path / "pictures")
    records = load_records(data)
    samples = list(conversation_samples(Silent(), CHATML, [2], Tokenizer(tokenizer()), records, 3))
    assert len(samples) == 3
    assert all(sample.targets(5).learned.any() for sample in samples)


def test_records_about_several_pictures_are_left_out(tmp_path: Path) -> None:
    write_records(tmp_path)
    first, second, *_ = load_records(Data((tmp_path / "records.json",), tmp_path / "pictures"))
    both = replace(first, images=first.images + second.images)
    tok = Tokenizer(tokenizer())
    (sample,) = conversation_samples(Silent(), CHATML, [2], tok, [both, second], 3)
    assert sample.picture == second.images[0]
    with pytest.raises(RecordError, match="several pictures"):
        list(conversation_samples(Silent(), CHATML, [2], tok, [both], 3))


class Silent:
    """An original that says the same of every picture."""

    def encode(self, picture: object) -> np.ndarray:
        return PICTURE

    def embed(self, ids: list[int]) -> np.ndarray:
        return embed(ids)

    def answer(self, rows: np.ndarray, stop: object, tokens: int) -> list[int]:
        assert tokens == ANSWER
        return [int(rows[-1, 0]), 9]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_questions_are_answered_by_the_original(prompt: str) -> None:
    tok = Tokenizer(tokenizer(prompt))
    samples = list(conversation_samples(Silent(), PROMPTS[prompt], [2], tok, None, 6))
    assert len(samples) == 6
    for sample in samples:
        targets = sample.targets(len(PICTURE))
        assert targets.ids[targets.learned][-1] == 9
        assert sample.picture is not None


def test_pictures_are_always_the_same_and_differ() -> None:
    first, again, other = draw_picture(3), draw_picture(3), draw_picture(4)
    assert first.tobytes() == again.tobytes()
    assert first.size != other.size or first.tobytes() != other.tobytes()
