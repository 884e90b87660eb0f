"""A random GGUF file has the matrices of its shape."""

from pathlib import Path

import gguf
import numpy as np

from llava_edge.bench.gpu.random_gguf import write_random_gguf
from llava_edge.bench.random_checkpoint import SHAPES


def test_a_random_gguf_has_the_shapes_matrices(tmp_path: Path) -> None:
    shape = SHAPES["tiny-shared"]
    write_random_gguf(tmp_path / "a.gguf", shape)
    tensors = {one.name: one for one in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert len(tensors) == 3 + 9 * shape.layers
    keys = tensors["blk.1.attn_k.weight"]
    matrix = gguf.dequantize(keys.data, keys.tensor_type)
    assert matrix.shape == (shape.hidden // shape.heads * shape.kv_heads, shape.hidden)
    assert np.isfinite(matrix).all() and 0.01 < matrix.std() < 0.04
    assert len(np.unique(matrix, axis=0)) == len(matrix)
