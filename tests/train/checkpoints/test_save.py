"""Checkpoints that training writes load in transformers 5, with the same logits; compat/ has 4."""

import pytest
import torch
from saved_checkpoints import NAMES, SHARDED, Saved, logits, write_checkpoints
from transformers import AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration

from llava_edge.core.prompt import WrittenMessage
from llava_edge.core.prompt_pieces import as_text

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


@pytest.mark.parametrize("name", ["clip-llama", "clip-llama-merged"])
def test_transformers_writes_the_format_that_was_trained(
    name: str, saved: dict[str, Saved]
) -> None:
    folder, prompt = saved[name].folder / "checkpoint", saved[name].learner.encoding.prompt
    loaded = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": "Where?"}]
    text = loaded.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert text == as_text([WrittenMessage("user", "Where?")], prompt)
    assert AutoProcessor.from_pretrained(folder).chat_template == loaded.chat_template
