"""Language models written to GGUF files the way llama.cpp's converter writes them."""

import json
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from llava_edge.hub.sentencepiece_bpe import BpePiece

INTERLEAVED = ("llama", "smollm3")


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer | list[BpePiece],
    *,
    words: str = "smollm",
    quantized: bool = False,
) -> None:
    """Write a model as llama.cpp's converter does: its names, its order of the rotary halves.

    `words` says how a byte-level tokenizer cuts text; `quantized` stores matrices in Q8_0, else all
    is float32.
    """
    config = model.config
    kind = {"mistral": "llama"}.get(config.model_type, config.model_type)
    writer = gguf.GGUFWriter(path, kind)
    writer.add_name("tiny-base")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None)
    head_dim = head_dim or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if isinstance(tokenizer, list):
        _add_pieces(writer, tokenizer)
    else:
        _add_tokenizer(writer, tokenizer, config.vocab_size, words)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[kind.upper()], config.num_hidden_layers)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.float().numpy()
        if kind in INTERLEAVED and "q_proj" in key:
            values = _interleave(values, config.num_attention_heads)
        elif kind in INTERLEAVED and "k_proj" in key:
            values = _interleave(values, config.num_key_value_heads)
        small = values.ndim == 1 or not quantized
        dtype = gguf.GGMLQuantizationType.F32 if small else gguf.GGMLQuantizationType.Q8_0
        data = gguf.quants.quantize(np.ascontiguousarray(values), dtype)
        writer.add_tensor(names.get_name(key, (".weight", ".bias")), data, raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleave(values: np.ndarray, heads: int) -> np.ndarray:
    """Put row i of a head's first half before row i of its second half."""
    halves = values.reshape(heads, 2, -1, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _add_pieces(writer: gguf.GGUFWriter, pieces: list[BpePiece]) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece.text for piece in pieces])
    writer.add_token_scores([piece.score for piece in pieces])
    writer.add_token_types([piece.kind for piece in pieces])


def _add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: Tokenizer, vocab_size: int, words: str
) -> None:
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    kinds = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    padding = vocab_size - len(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words)
    writer.add_token_list(tokens + [f"[PAD{i}]" for i in range(padding)])
    writer.add_token_types(kinds + [gguf.TokenType.UNUSED] * padding)
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
