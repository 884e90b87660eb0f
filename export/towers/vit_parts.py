"""Parts of the graphs of vision transformers, and of the layers that several kinds share."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from llava_edge.export.graphs.graph_writer import MICROSOFT
from llava_edge.export.graphs.weights_bin import Array
from llava_edge.export.towers.vision_tower import TOWER, Shapes, linear_shapes, norm_shapes
from llava_edge.export.towers.vision_writer import VisionWriter


def hidden_states(
    graph: VisionWriter,
    rows: ir.Value,
    layers: int,
    feature_layers: Sequence[int],
    write_layer: Callable[[int, ir.Value], ir.Value],
    *,
    drop_first_row: bool,
) -> ir.Value:
    """Append the layers up to the deepest hidden state asked for; return those states, joined.

    State 0 is what enters the first layer and state N what leaves layer N; negative ones count from
    the last. [n, T, C * number of states]
    """
    states = [layer % (layers + 1) for layer in feature_layers]
    features = {}
    for state in range(max(states) + 1):
        if state > 0:
            rows = write_layer(state - 1, rows)
        if state in states:
            features[state] = _drop_first(graph, rows, state) if drop_first_row else rows
    picked = [features[state] for state in states]
    if len(picked) == 1:
        return picked[0]
    return graph.node("Concat", "features", *picked, attributes={"axis": -1})


def patches(
    graph: VisionWriter, name: str, pixels: ir.Value, size: int, channels: int, *, bias: bool
) -> ir.Value:
    """The convolution `name`, its size its stride: pixels [n, 3, H, W] -> [n, patches, C]."""
    kernel = graph.weight(f"{name}.weight", lambda: graph.read(f"{name}.weight"))
    inputs = [pixels, kernel, graph.vector(f"{name}.bias")] if bias else [pixels, kernel]
    side = (size, size)
    attributes = {"kernel_shape": side, "strides": side}
    maps = graph.node("Conv", name, *inputs, attributes=attributes)
    return graph.to_rows(f"{name}.patches", maps, channels)


def with_class_token(
    graph: VisionWriter, name: str, rows: ir.Value, table: Callable[[], Array]
) -> ir.Value:
    """Rows [n, patches, C] with one put first, and the table [1 + patches, C] added.

    The table's first row is the class token with its position.
    """
    padding = graph.integers(0, 1, 0, 0, 0, 0)  # a row of zeros is put first
    padded = graph.node("Pad", f"{name}.padded", rows, padding)
    return graph.node("Add", name, padded, graph.constant(f"{name}.positions", table))


def attention(
    graph: VisionWriter, name: str, rows: ir.Value, qkv: tuple[str, str, str], out: str, heads: int
) -> ir.Value:
    """Self-attention over all rows, whose four linear layers are named."""
    size = graph.shape(f"{qkv[0]}.weight")[0]
    joined = graph.linear(f"{name}.qkv", rows, *qkv)
    sizes = graph.integers(size, size, size)
    parts = graph.nodes("Split", qkv, joined, sizes, attributes={"axis": -1})
    attended = graph.node(
        "MultiHeadAttention", name, *parts, domain=MICROSOFT, attributes={"num_heads": heads}
    )
    return graph.linear(out, attended, out)


def activation(graph: VisionWriter, kind: str, name: str, value: ir.Value) -> ir.Value:
    """transformers' "quick_gelu", "gelu" or "gelu_pytorch_tanh"."""
    if kind == "quick_gelu":
        return graph.node("QuickGelu", name, value, domain=MICROSOFT, attributes={"alpha": 1.702})
    approximate = "tanh" if kind == "gelu_pytorch_tanh" else "none"
    return graph.node("Gelu", name, value, attributes={"approximate": approximate})


def clip_layer_shapes(name: str, size: int, inner: int) -> Shapes:
    """The tensors of such a layer as `clip_layer` appends."""
    yield from norm_shapes(f"{name}.layer_norm1", size)
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from linear_shapes(f"{name}.self_attn.{part}", size, size)
    yield from norm_shapes(f"{name}.layer_norm2", size)
    yield from linear_shapes(f"{name}.mlp.fc1", inner, size)
    yield from linear_shapes(f"{name}.mlp.fc2", size, inner)


def clip_layer(
    graph: VisionWriter, name: str, rows: ir.Value, *, heads: int, epsilon: float, act: str
) -> ir.Value:
    """A pre-norm transformer layer as CLIP and SigLIP have it."""
    normalized = graph.layer_norm(f"{name}.layer_norm1", rows, epsilon)
    attn = f"{name}.self_attn"
    qkv = (f"{attn}.q_proj", f"{attn}.k_proj", f"{attn}.v_proj")
    attended = attention(graph, attn, normalized, qkv, f"{attn}.out_proj", heads)
    rows = graph.node("Add", f"{name}.attended", rows, attended)
    normalized = graph.layer_norm(f"{name}.layer_norm2", rows, epsilon)
    inner = graph.linear(f"{name}.mlp.fc1", normalized, f"{name}.mlp.fc1")
    active = activation(graph, act, f"{name}.mlp.active", inner)
    outer = graph.linear(f"{name}.mlp.fc2", active, f"{name}.mlp.fc2")
    return graph.node("Add", name, rows, outer)


def _drop_first(graph: VisionWriter, rows: ir.Value, state: int) -> ir.Value:
    """Leave out the first row, which is the class token's where the tower has one."""
    bounds = (graph.integers(1), graph.integers(np.iinfo(np.int64).max), graph.integers(1))
    return graph.node("Slice", f"{TOWER}.states.{state}", rows, *bounds)
