"""Checkpoints that training writes load in transformers 5, with the same logits; compat/ has 4."""

import pytest
import torch
from saved_checkpoints import NAMES, SHARDED, Saved, logits, write_checkpoints
from transformers import LlavaForConditionalGeneration

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft's making


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    return write_checkpoints(tmp_path_factory.mktemp("saved"))


@pytest.mark.parametrize("name", NAMES)
def test_this_transformers_finds_every_tensor(name: str, saved: dict[str, Saved]) -> None:
    case = saved[name]
    model, report = LlavaForConditionalGeneration.from_pretrained(
        case.folder / "checkpoint", output_loading_info=True, dtype=torch.float32
    )
    assert not any(report.values()), report
    ours = logits(case.learner.model, case.batch)
    torch.testing.assert_close(logits(model, case.batch), ours, atol=1e-4, rtol=1e-4)
    text, read = case.learner.model.config.text_config, model.config.text_config
    assert {**read.rope_parameters, "type": None} == {**text.rope_parameters, "type": None}


def test_one_was_written_in_shards(saved: dict[str, Saved]) -> None:
    assert len(list((saved[SHARDED].folder / "checkpoint").glob("model-*.safetensors"))) > 2
