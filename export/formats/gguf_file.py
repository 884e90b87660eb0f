"""A language model read out of a GGUF file, as llama.cpp's converter writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.gguf_tokenizer import read_tokenizer
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.text_config import Rope, TextConfig

_TENSORS = {
    "token_embd": "language_model.embed_tokens",
    "output_norm": "language_model.norm",
    "output": "lm_head",
}
_LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ARCHITECTURES = ("llama", "qwen2", "qwen3", "smollm3")
_INTERLEAVED = ("llama", "smollm3")  # whose rotary halves llama.cpp's converter interleaves
_UNKNOWN_TYPE = "GGMLQuantizationType"  # what the package says of a number that it has no name for
_NO_ROPE_INTERVAL = 4  # SmolLM3's, which the file does not say


@dataclass(frozen=True)
class GgufBase:
    """A language model under our own spelling; its tensors are dequantized to float32 when read."""

    text: TextConfig
    tensors: dict[str, LazyTensor]
    tokenizer: Tokenizer
    metadata: Mapping[str, Any]


def open_gguf(path: Path) -> GgufBase:
    """Raises CheckpointError where the file is broken or of an architecture not supported."""
    try:
        file = path.stat()
        reader, metadata = _parsed(path.resolve(), file.st_size, file.st_mtime_ns)
    except FileNotFoundError:
        raise CheckpointError(f"There is no file {path}; give the path of a GGUF file.") from None
    except (OSError, ValueError, IndexError, KeyError, OverflowError) as error:
        if _UNKNOWN_TYPE in str(error):  # a newer file than the package
            raise CheckpointError(
                f"{path} holds tensors of a type that the gguf package does not know ({error}); "
                "install a newer gguf, or give the language model in another quantization."
            ) from None
        raise CheckpointError(
            f"{path} is damaged, or no GGUF file ({error}); fetch the file again."
        ) from None
    _check_places(path, reader.tensors)
    section = Section(metadata, str(path))
    text = _text_config(section, {tensor.name for tensor in reader.tensors})
    tokenizer = read_tokenizer(section)
    tensors = {_spell(tensor.name): _lazy(tensor, text) for tensor in reader.tensors}
    return GgufBase(text, tensors, tokenizer, metadata)


@lru_cache(maxsize=1)  # a command opens its base several times, and a vocabulary takes seconds
def _parsed(path: Path, size: int, modified: int) -> tuple[gguf.GGUFReader, dict[str, Any]]:
    """What a file holds that has this size and was changed then."""
    reader = gguf.GGUFReader(path)
    return reader, {name: field.contents() for name, field in reader.fields.items()}


def _check_places(path: Path, tensors: list[gguf.ReaderTensor]) -> None:
    """No two tensors may share a byte."""
    ordered = sorted(tensors, key=lambda tensor: tensor.data_offset)
    for first, second in pairwise(ordered):
        if first.data_offset + first.n_bytes > second.data_offset:
            raise CheckpointError(
                f"In {path} the tensors {first.name} and {second.name} overlap; fetch the file "
                "anew."
            )


def _text_config(metadata: Section, names: set[str]) -> TextConfig:
    kind = metadata.choice("general.architecture", ARCHITECTURES)
    scaling = metadata.text(f"{kind}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in names:
        raise CheckpointError(
            f"{metadata.where} asks for rope scaling, which export does not read from GGUF; choose "
            "a language model with plain rotary embeddings, or give it as a Hugging Face folder."
        )
    hidden_size = metadata.integer(f"{kind}.embedding_length")
    num_heads = metadata.integer(f"{kind}.attention.head_count")
    num_layers = metadata.integer(f"{kind}.block_count")
    interval = _NO_ROPE_INTERVAL if kind == "smollm3" else num_layers + 1
    return TextConfig(
        hidden_size=hidden_size,
        intermediate_size=metadata.integer(f"{kind}.feed_forward_length"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=metadata.integer(f"{kind}.attention.head_count_kv", num_heads),
        head_dim=metadata.integer(f"{kind}.attention.key_length", hidden_size // num_heads),
        vocab_size=len(metadata.strings("tokenizer.ggml.tokens")),
        rms_norm_eps=_decimal(metadata.number(f"{kind}.attention.layer_norm_rms_epsilon")),
        rope=Rope(_decimal(metadata.number(f"{kind}.rope.freq_base", 10000.0))),
        context_length=metadata.integer(f"{kind}.context_length"),
        tied="output.weight" not in names,
        qkv_bias="blk.0.attn_q.bias" in names,
        output_bias="blk.0.attn_output.bias" in names,
        mlp_bias="blk.0.ffn_up.bias" in names,
        qk_norm="blk.0.attn_q_norm.weight" in names,
        rotary_layers=tuple((layer + 1) % interval != 0 for layer in range(num_layers)),
        windows=(_window(metadata, f"{kind}.attention.sliding_window"),) * num_layers,
        model_type=kind,
    )


def _window(metadata: Section, key: str) -> int:
    return metadata.integer(key) if metadata.values.get(key) else 0


def _decimal(value: float) -> float:
    """The shortest decimal that is this float32, so that 1e-5 compares as such."""
    return float(str(np.float32(value)))


def _spell(name: str) -> str:
    """`blk.3.attn_q.weight` -> `language_model.layers.3.self_attn.q_proj.weight`."""
    stem, _, kind = name.rpartition(".")
    if stem in _TENSORS:
        return f"{_TENSORS[stem]}.{kind}"
    block, _, part = stem.partition(".")
    layer, _, module = part.partition(".")
    if block == "blk" and module in _LAYER_TENSORS:
        return f"language_model.layers.{layer}.{_LAYER_TENSORS[module]}.{kind}"
    return name


def _lazy(tensor: gguf.ReaderTensor, text: TextConfig) -> LazyTensor:
    shape = tuple(int(size) for size in reversed(tensor.shape))
    module = tensor.name.rpartition(".")[0].rpartition(".")[2]
    interleaved = {"attn_q": text.num_heads, "attn_k": text.num_kv_heads}
    heads = interleaved.get(module) if text.model_type in _INTERLEAVED else None
    if heads is not None and shape[:1] != (heads * text.head_dim,):
        raise CheckpointError(
            f"The base holds {tensor.name} in the shape {list(shape)}, but {heads} heads of "
            f"{text.head_dim} dimensions were expected; fetch the file again."
        )
    return LazyTensor(shape, partial(_read, tensor, shape, heads))


def _read(
    tensor: gguf.ReaderTensor, shape: tuple[int, ...], heads: int | None
) -> np.ndarray[Any, Any]:
    try:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise CheckpointError(
            f"The base holds {tensor.name} as {tensor.tensor_type.name}, which the gguf package "
            "cannot read; give the language model in another quantization, such as Q8_0."
        ) from None
    values = values.astype(np.float32, copy=False).reshape(shape)
    return values if heads is None else _halves_apart(values, heads)


def _halves_apart(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undo llama.cpp's order, which interleaves the two halves that a rotary embedding pairs."""
    pairs = values.reshape(heads, -1, 2, *values.shape[1:])  # [heads, head_dim / 2, 2, ...]
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)
