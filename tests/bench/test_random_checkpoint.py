"""The random checkpoint is what transformers would write for LLaVA-1.5-7B and the other shapes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import LlavaConfig, LlavaForConditionalGeneration

from llava_edge.bench.random_checkpoint import (
    DRAWN,
    SHAPES,
    LlavaShape,
    random_tokenizer,
    tensor_shapes,
    write_random_checkpoint,
    write_shard,
)
from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.layouts.tensor_names import canonical


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_names_and_shapes_are_those_of_transformers(shape: LlavaShape) -> None:
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(LlavaConfig(**json.loads(json.dumps(shape.config))))
    expected = {canonical(name): tuple(t.shape) for name, t in model.state_dict().items()}
    assert {canonical(name): shape for name, shape in tensor_shapes(shape).items()} == expected


def test_a_shard_is_a_safetensors_file(tmp_path: Path) -> None:
    shapes = {"norm.weight": (7,), "linear.weight": (3, DRAWN // 2), "linear.bias": (3,)}
    write_shard(tmp_path / "shard.safetensors", shapes, np.random.default_rng(0))
    tensors = load_file(tmp_path / "shard.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float16)}
    assert abs(tensors["linear.weight"].std() - 0.02) < 1e-3
    assert abs(tensors["norm.weight"].mean() - 1) < 0.1


def test_tensors_differ_and_so_do_their_rows(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path / "tiny", SHAPES["tiny"])
    tensors = open_checkpoint(tmp_path / "tiny").tensors
    gate, up = (
        tensors[f"language_model.layers.0.mlp.{name}_proj.weight"] for name in ("gate", "up")
    )
    assert (gate.read() != up.read()).any()
    assert len(np.unique(gate.read(), axis=0)) == gate.shape[0]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_tokenizer_has_a_word_for_every_id(shape: LlavaShape) -> None:
    tokenizer = random_tokenizer(shape)
    assert tokenizer.get_vocab_size() <= shape.vocabulary
    assert tokenizer.token_to_id("<image>") == shape.image_token
    text = "USER: Où est le chat?"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
