"""The written decoder computes what transformers computes, with and without its KV cache."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from decoder_judge import Judge, prompt_rows
from sessions import EXACT, Sessions
from tiny import DECODERS, Tiny, write_llava
from transformers import LlavaForConditionalGeneration

from llava_edge.export.export import export
from llava_edge.export.quantization.blocks import dequantize
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.quantization.quantize import quantize


@pytest.mark.parametrize("tiny", DECODERS.values(), ids=DECODERS)
def test_logits_and_greedy_steps_are_those_of_transformers(tmp_path: Path, tiny: Tiny) -> None:
    judge = Judge(write_llava(tmp_path / "checkpoint", tiny))
    config = export(tmp_path / "checkpoint", tmp_path / "bundle", precision=EXACT)
    sessions, tokens = Sessions(tmp_path / "bundle"), config.vision.image_tokens
    rows = prompt_rows(sessions, judge)
    np.testing.assert_allclose(sessions.logits(rows), judge.logits(tokens), atol=1e-3)
    expected = judge.greedy(tokens, 16)
    assert sessions.greedy(rows, 16) == expected
    assert sessions.greedy(rows, 16, cached=False) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_sixteen_bits_are_stored_as_they_are(
    tmp_path: Path, dtype: torch.dtype, tied: bool
) -> None:
    model = write_llava(tmp_path / "checkpoint", Tiny(dtype=dtype, tied=tied)).float()
    config = export(tmp_path / "checkpoint", tmp_path / "bundle", precision=EXACT)
    assert (config.quantization.bits, config.quantization.head_bits) == (16, 16)
    assert config.decoder.embedding.data.dtype == str(dtype).removeprefix("torch.")
    judge, sessions = Judge(model), Sessions(tmp_path / "bundle")
    expected = judge.logits(config.vision.image_tokens)
    np.testing.assert_allclose(sessions.logits(prompt_rows(sessions, judge)), expected, atol=1e-3)


def test_a_prompt_may_come_in_pieces(tmp_path: Path) -> None:
    judge = Judge(write_llava(tmp_path / "checkpoint"))
    export(tmp_path / "checkpoint", tmp_path / "bundle", precision=EXACT)
    sessions = Sessions(tmp_path / "bundle")
    rows = prompt_rows(sessions, judge)
    whole = sessions.logits(rows)
    sessions.forget()
    pieces = [sessions.logits(piece) for piece in np.split(rows, [5, 6, 30])]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_logits_only_where_they_are_asked_for(tmp_path: Path) -> None:
    judge = Judge(write_llava(tmp_path / "checkpoint"))
    export(tmp_path / "checkpoint", tmp_path / "bundle")
    sessions = Sessions(tmp_path / "bundle")
    rows = prompt_rows(sessions, judge)
    whole = sessions.logits(rows)
    sessions.forget()
    np.testing.assert_allclose(sessions.logits(rows, [3, 40, 41]), whole[[3, 40, 41]], atol=1e-4)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_four_bits_are_the_dequantized_weights(tmp_path: Path, tied: bool, symmetric: bool) -> None:
    # A float16 tower is stored exactly, so only what is quantized differs.
    tiny = Tiny(tied=tied, attention_bias=True, dtype=torch.float16)
    judge = Judge(write_llava(tmp_path / "checkpoint", tiny).float())
    quantize_model(judge.model, symmetric)
    precision = Precision(symmetric=symmetric)
    config = export(tmp_path / "checkpoint", tmp_path / "bundle", precision=precision)
    expected = judge.logits(config.vision.image_tokens)

    sessions = Sessions(tmp_path / "bundle")
    rows = prompt_rows(sessions, judge)
    # As written, activations are rounded to 8 bits as well.
    error = np.linalg.norm(sessions.logits(rows) - expected) / np.linalg.norm(expected)
    assert error < 0.03

    use_float_activations(tmp_path / "bundle")
    np.testing.assert_allclose(Sessions(tmp_path / "bundle").logits(rows), expected, atol=1e-3)


def test_a_tied_head_is_stored_once(tmp_path: Path) -> None:
    sizes = []
    for tied in (False, True):
        write_llava(tmp_path / f"checkpoint {tied}", Tiny(tied=tied))
        bundle = tmp_path / f"bundle {tied}"
        config = export(tmp_path / f"checkpoint {tied}", bundle)
        sizes.append((bundle / "weights.bin").stat().st_size)
    assert sizes[0] - sizes[1] >= np.prod(config.decoder.embedding.data.shape)


def quantize_model(model: LlavaForConditionalGeneration, symmetric: bool) -> None:
    """Give the language model the weights that the bundle stands for."""
    matrices = [(4, p) for p in model.model.language_model.layers.parameters() if p.ndim == 2]
    matrices.append((8, model.lm_head.weight))
    if not model.config.text_config.tie_word_embeddings:
        matrices.append((8, model.model.language_model.embed_tokens.weight))
    with torch.no_grad():
        for bits, matrix in matrices:
            blocks = quantize(matrix.numpy(), bits, symmetric=symmetric)
            matrix.copy_(torch.tensor(dequantize(blocks)))


def use_float_activations(bundle: Path) -> None:
    """Have MatMulNBits compute in float32."""
    path = bundle / "decoder.cpu.onnx"
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 0
    path.write_bytes(model.SerializeToString())


def test_mixed_keeps_8_bits_where_it_is_told(tmp_path: Path) -> None:
    write_llava(tmp_path / "checkpoint")
    eight = {"layers.1.self_attn.qkv_proj", "layers.0.mlp.down_proj"}
    precision = Precision(eight_bits=frozenset(eight))
    config = export(tmp_path / "checkpoint", tmp_path / "bundle", precision=precision)
    assert set(config.quantization.eight_bit_layers) == eight
    graph = onnx.load(tmp_path / "bundle" / "decoder.cpu.onnx", load_external_data=False).graph
    bits = {
        node.name.partition("/")[0]: {item.name: item.i for item in node.attribute}["bits"]
        for node in graph.node
        if node.op_type == "MatMulNBits"
    }
    assert len(bits) == 2 * 4 + 1  # qkv, o, gate and up, down of two layers; the head
    for name, width in bits.items():
        assert width == (8 if name in {*eight, "lm_head.padded"} else 4), name
