"""Which CUDA kernels the written graphs take, by the rules that onnxruntime chooses by."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tiny import Tiny, write_llava

from llava_edge.export.export import export
from llava_edge.export.graphs.cuda_kernels import (
    FASTEST,
    FLASH,
    GEMV,
    UNPACKED,
    XQA,
    cuda_kernels,
)
from llava_edge.export.quantization.precision import Precision

# As those of real models, all sizes are multiples of 64, but for the vocabulary.
FITTING = Tiny(text_size=384, text_inner=192, head_dim=64, attention_bias=True)
# What CUDA's provider has kernels for in float16, and which of their inputs it reads on the host.
ON_CUDA = {
    "Add": (),
    "Cast": (),
    "Concat": (),
    "FusedMatMul": (),
    "Gather": (),
    "GroupQueryAttention": (6,),
    "MatMulBnb4": (),
    "MatMulNBits": (),
    "Mul": (),
    "Reshape": (1,),
    "Sigmoid": (),
    "SimplifiedLayerNormalization": (),
    "SkipSimplifiedLayerNormalization": (),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "TopK": (1,),
}


@pytest.fixture(scope="module")
def fitting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitting")
    write_llava(folder / "checkpoint", FITTING)
    return folder / "checkpoint"


def test_every_product_takes_the_fastest_kernel(fitting: Path, tmp_path: Path) -> None:
    precision = Precision(eight_bits=frozenset({"layers.1.mlp.down_proj"}))
    export(fitting, tmp_path / "bundle", precision=precision)
    kernels = cuda_kernels(tmp_path / "bundle" / "decoder.gpu.onnx")
    products = [kernel for kernel in kernels if "MatMulNBits" in kernel.node]
    assert len(products) == 2 * 4 + 1
    assert {kernel.name for kernel in products} == {FASTEST}
    attention = [kernel for kernel in kernels if kernel not in products]
    assert {(one.name, one.reason) for one in attention} == {(FLASH, "3 heads share a key")}


@pytest.mark.parametrize(
    ("precision", "kernel", "reason"),
    [
        (Precision(symmetric=False), GEMV, "zero points"),
        (Precision(block_size=64), GEMV, "blocks are of 64"),
        (Precision(block_size=256), UNPACKED, "blocks are of 256"),
    ],
)
def test_other_weights_take_slower_ones(
    fitting: Path, tmp_path: Path, precision: Precision, kernel: str, reason: str
) -> None:
    export(fitting, tmp_path / "bundle", precision=precision)
    kernels = cuda_kernels(tmp_path / "bundle" / "decoder.gpu.onnx")
    products = [one for one in kernels if "layers.0.mlp" in one.node]
    assert products and all(one.name == kernel and reason in one.reason for one in products)


@pytest.mark.parametrize(
    ("changed", "bias", "expected"),
    [
        ({}, False, FASTEST),
        ({"N": 96, "bits": 8}, False, FASTEST),
        ({"N": 96}, False, GEMV),
        ({"N": 99}, False, UNPACKED),
        ({"K": 144}, False, GEMV),
        ({}, True, GEMV),
    ],
)
def test_a_product(changed: dict[str, int], bias: bool, expected: str, tmp_path: Path) -> None:
    attributes = {"K": 128, "N": 192, "bits": 4, "block_size": 32, **changed}
    inputs = ["rows", "weight", "scales", *(["", "", "bias"] if bias else [])]
    graph = written(tmp_path, helper.make_node("MatMulNBits", inputs, ["y"], **attributes))
    (kernel,) = cuda_kernels(graph)
    assert kernel.name == expected
    assert bool(kernel.reason) == (expected != FASTEST)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "expected"),
    [(32, 32, 128, XQA), (32, 8, 64, XQA), (9, 3, 64, FLASH), (8, 8, 96, FLASH)],
)
def test_attention(heads: int, kv_heads: int, head_dim: int, expected: str, tmp_path: Path) -> None:
    node = helper.make_node(
        "GroupQueryAttention",
        ["qkv", "", "", "past", "past", "lengths", "total"],
        ["y", "keys", "values"],
        num_heads=heads,
        kv_num_heads=kv_heads,
    )
    past = helper.make_tensor_value_info(
        "past", TensorProto.FLOAT16, [1, kv_heads, "length", head_dim]
    )
    (kernel,) = cuda_kernels(written(tmp_path, node, past))
    assert kernel.name == expected


@pytest.mark.parametrize("decoder", ["llama", "qwen2", "qwen3", "smollm3", "mistral"])
@pytest.mark.parametrize("method", ["kquant", "nf4", "none"])
def test_no_node_waits_for_the_host(tmp_path: Path, decoder: str, method: str) -> None:
    """Each runs on the GPU, and what it reads on the host is constant or comes from there."""
    write_llava(tmp_path / "checkpoint", Tiny(decoder=decoder, window=40))  # type: ignore[arg-type]
    export(tmp_path / "checkpoint", tmp_path / "bundle", precision=Precision(method))  # type: ignore[arg-type]
    graph = onnx.load(tmp_path / "bundle" / "decoder.gpu.onnx", load_external_data=False).graph
    known = {tensor.name for tensor in graph.initializer} | {"total_sequence_length", ""}
    for node in graph.node:
        assert node.op_type in ON_CUDA, node.name
        on_host = [node.input[i] for i in ON_CUDA[node.op_type] if i < len(node.input)]
        assert set(on_host) <= known, node.name


def written(folder: Path, node: onnx.NodeProto, *inputs: onnx.ValueInfoProto) -> Path:
    node.domain = "com.microsoft"
    graph = helper.make_graph([node], "one", list(inputs), [])
    onnx.save(helper.make_model(graph), folder / "one.onnx")
    return folder / "one.onnx"
