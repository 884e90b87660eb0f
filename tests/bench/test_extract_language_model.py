"""The language model alone computes what it does within the checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import Tiny, tokenizer, write_demo
from transformers import AutoModelForCausalLM, AutoTokenizer

from llava_edge.bench.extract_language_model import write_language_model
from llava_edge.errors import UsageError


def test_a_language_model_alone(tmp_path: Path) -> None:
    model = write_demo(tmp_path / "demo", tmp_path / "base.gguf", Tiny(tied=True))
    out = tmp_path / "alone"
    write_language_model(str(tmp_path / "demo"), out, str(tmp_path / "base.gguf"))
    alone = AutoModelForCausalLM.from_pretrained(out)
    ids = torch.tensor([[7, 30, 31, 100]])
    with torch.no_grad():
        np.testing.assert_allclose(
            alone(ids).logits, model(input_ids=ids).logits, rtol=1e-4, atol=1e-5
        )
    text = "There are 12 red apples."
    written = AutoTokenizer.from_pretrained(out)
    assert written(text).input_ids == tokenizer().encode(text).ids
    with pytest.raises(UsageError, match="already exists"):
        write_language_model(str(tmp_path / "demo"), out, str(tmp_path / "base.gguf"))
