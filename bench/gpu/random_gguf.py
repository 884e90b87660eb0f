"""A random GGUF file of a shape's language model in Q4_0, to measure llama.cpp's speed.

It needs neither llama.cpp's converter nor its quantizer, and so saves minutes.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from llava_edge.bench.random_checkpoint import LlavaShape
from llava_edge.core.extras import needed_by

BLOCK = 32  # weights; their scale is a float16 before 16 bytes of integers
DRAWN = 1 << 16  # blocks, which are repeated
SCALE = 0.005  # of integers from -8 to 7: about as large as the random checkpoint's


def write_random_gguf(path: Path, shape: LlavaShape) -> None:
    """Write a file that llama.cpp loads as a Llama; its tokens have no meaning."""
    with needed_by("A GGUF file", "export"):
        import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(shape.layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.hidden // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{id}>" for id in range(shape.vocabulary)])
    writer.add_token_scores([0.0] * shape.vocabulary)
    writer.add_token_types([gguf.TokenType.NORMAL] * shape.vocabulary)
    blocks = _blocks()
    for name, size in _tensors(shape).items():
        if len(size) == 1:
            writer.add_tensor(name, np.ones(size, np.float32))
        else:
            data = np.resize(blocks, (size[0], size[1] // BLOCK * blocks.shape[1]))
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _blocks() -> npt.NDArray[np.uint8]:
    """Bytes [N, 18]."""
    random = np.random.default_rng(0)
    signs = random.choice(np.array([-SCALE, SCALE], np.float16), (DRAWN - 1, 1))  # an odd number
    integers = random.integers(0, 256, (DRAWN - 1, BLOCK // 2), np.uint8)
    return np.concatenate([signs.view(np.uint8), integers], axis=1)


def _tensors(shape: LlavaShape) -> dict[str, tuple[int, ...]]:
    """Names as llama.cpp's, and [outputs, inputs]."""
    hidden, inner = shape.hidden, shape.inner
    cached = hidden // shape.heads * shape.kv_heads
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.vocabulary, hidden)}
    for layer in range(shape.layers):
        sizes: dict[str, tuple[int, ...]] = {
            "attn_norm": (hidden,),
            "attn_q": (hidden, hidden),
            "attn_k": (cached, hidden),
            "attn_v": (cached, hidden),
            "attn_output": (hidden, hidden),
            "ffn_norm": (hidden,),
            "ffn_gate": (inner, hidden),
            "ffn_up": (inner, hidden),
            "ffn_down": (hidden, inner),
        }
        tensors |= {f"blk.{layer}.{name}.weight": size for name, size in sizes.items()}
    return tensors | {"output_norm.weight": (hidden,), "output.weight": (shape.vocabulary, hidden)}
