"""Writes a bundle as onnxruntime-genai's model type gemma3 expects it.

genai does not know LLaVA, but it joins any three graphs: vision, embedding (which puts the rows of
the picture among those of the ids) and decoder. The bundle's graphs are used as they are, with
nodes around them that translate genai's inputs; the weights are the same file.
"""

import json
import os
import shutil
from math import prod
from pathlib import Path
from typing import Any

from llava_edge.core.bundle import WEIGHTS_BIN, decoder_onnx, read_bundle, vision_onnx
from llava_edge.core.bundle_config import BundleConfig, EmbeddingConfig, TensorRef


def write_genai_folder(bundle: Path, folder: Path, *, threads: int, context: int) -> None:
    """Write the three graphs and genai_config.json, and link the weights to them."""
    import onnx

    config = read_bundle(bundle)
    assert can_be_written(config)
    _link(bundle / WEIGHTS_BIN, folder / WEIGHTS_BIN)
    graphs = {
        "vision": _vision(onnx.load(bundle / vision_onnx("cpu"), load_external_data=False)),
        "embedding": _embedding(config),
        "decoder": _decoder(onnx.load(bundle / decoder_onnx("cpu"), load_external_data=False)),
    }
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    described = _genai_config(config, threads, context)
    (folder / "genai_config.json").write_text(json.dumps(described))


def can_be_written(config: BundleConfig) -> bool:
    """Whether the bundle has graphs for CPUs, no tiles, and a table of 4 or 8 bits."""
    whole = config.vision.tiles is None
    return whole and config.decoder.embedding.bits <= 8 and "cpu" in config.devices


def image_id(config: BundleConfig) -> int:
    """The id that stands for a picture's row; it is no token's, so no text contains it."""
    return config.decoder.vocab_size


def _link(source: Path, target: Path) -> None:
    """The same file under another name, since genai looks for weights beside the graphs."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _vision(model: Any) -> Any:
    """Rows [pictures * T, D] instead of [pictures, T, D]."""
    from onnx import TensorProto, helper

    graph = model.graph
    (output,) = graph.output
    hidden = output.type.tensor_type.shape.dim[2].dim_value
    graph.initializer.append(helper.make_tensor("rows_shape", TensorProto.INT64, [2], [-1, hidden]))
    graph.node.append(helper.make_node("Reshape", [output.name, "rows_shape"], ["image_features"]))
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info("image_features", TensorProto.FLOAT, ["rows", hidden])
    )
    return model


def _decoder(model: Any) -> Any:
    """attention_mask instead of the lengths, and the logits of the last row."""
    from onnx import TensorProto, helper

    graph = model.graph
    replaced = ("seqlens_k", "total_sequence_length", "logit_positions")
    kept = [value for value in graph.input if value.name not in replaced]
    del graph.input[:]
    graph.input.extend(kept)
    graph.input.append(
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [1, "total"])
    )
    graph.initializer.append(helper.make_tensor("genai.one", TensorProto.INT64, [1], [1]))
    nodes = [
        helper.make_node("Shape", ["attention_mask"], ["genai.total"], start=1, end=2),
        helper.make_node("Sub", ["genai.total", "genai.one"], ["genai.last"]),
        helper.make_node("Cast", ["genai.last"], ["seqlens_k"], to=TensorProto.INT32),
        helper.make_node("Squeeze", ["genai.total"], ["genai.scalar"]),
        helper.make_node("Cast", ["genai.scalar"], ["total_sequence_length"], to=TensorProto.INT32),
        helper.make_node("Shape", ["inputs_embeds"], ["genai.rows"], start=1, end=2),
        helper.make_node("Sub", ["genai.rows", "genai.one"], ["logit_positions"]),
    ]
    body = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *body])
    return model


def _embedding(config: BundleConfig) -> Any:
    """Ids [1, S] and a picture's rows [T, D] -> inputs_embeds [1, S, D]."""
    from onnx import TensorProto, helper

    hidden, table = config.decoder.hidden_size, config.decoder.embedding
    tensors = _table(table, config.decoder.vocab_size, hidden)
    nodes = [
        helper.make_node(
            "GatherBlockQuantized",
            ["data", "input_ids", *[tensor.name for tensor in tensors[1:]]],
            ["narrow"],  # of the scales' type
            domain="com.microsoft",
            bits=table.bits,
            block_size=table.block_size,
            gather_axis=0,
            quantize_axis=1,
        ),
        helper.make_node("Cast", ["narrow"], ["embeds"], to=TensorProto.FLOAT),
        helper.make_node("Equal", ["input_ids", "image_id"], ["is_row"]),
        helper.make_node("NonZero", ["is_row"], ["places_by_axis"]),
        helper.make_node("Transpose", ["places_by_axis"], ["places"], perm=[1, 0]),
        helper.make_node("ScatterND", ["embeds", "places", "image_features"], ["inputs_embeds"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embedding",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "sequence"]),
            helper.make_tensor_value_info("image_features", TensorProto.FLOAT, ["rows", hidden]),
        ],
        [
            helper.make_tensor_value_info(
                "inputs_embeds", TensorProto.FLOAT, [1, "sequence", hidden]
            )
        ],
        [
            helper.make_tensor("image_id", TensorProto.INT64, [], [image_id(config)]),
            *tensors,
        ],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _table(table: EmbeddingConfig, vocabulary: int, hidden: int) -> list[Any]:
    """The embedding table's data, scales and, if it has them, zero points in weights.bin."""
    from onnx import TensorProto

    assert table.scales is not None
    half = TensorProto.FLOAT16 if table.scales.dtype == "float16" else TensorProto.FLOAT
    data = (vocabulary, hidden * table.bits // 8)
    tensors = [
        _external("data", table.data, TensorProto.UINT8, data),
        _external("scales", table.scales, half, table.scales.shape),
    ]
    if (zeros := table.zero_points) is not None:
        tensors.append(_external("zero_points", zeros, TensorProto.UINT8, zeros.shape))
    return tensors


def _external(name: str, ref: TensorRef, kind: int, shape: tuple[int, ...]) -> Any:
    from onnx import TensorProto, helper

    width = helper.tensor_dtype_to_np_dtype(kind).itemsize
    tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    where = {"location": WEIGHTS_BIN, "offset": ref.offset, "length": width * prod(shape)}
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _genai_config(config: BundleConfig, threads: int, context: int) -> dict[str, Any]:
    decoder = config.decoder
    options = {"intra_op_num_threads": threads, "log_id": "genai", "provider_options": []}
    past = {
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    }
    present = {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}
    described = {
        "type": "gemma3",
        "bos_token_id": 0,
        "eos_token_id": [decoder.vocab_size - 1],  # never chosen, by min_length
        "pad_token_id": 0,
        "context_length": context,
        "vocab_size": decoder.vocab_size,
        "image_token_id": image_id(config),
        "decoder": {
            "session_options": options,
            "filename": "decoder.onnx",
            "head_size": decoder.head_dim,
            "hidden_size": decoder.hidden_size,
            "num_attention_heads": decoder.num_heads,
            "num_hidden_layers": decoder.num_layers,
            "num_key_value_heads": decoder.num_kv_heads,
            "inputs": {
                "inputs_embeds": "inputs_embeds",
                "attention_mask": "attention_mask",
                **past,
            },
            "outputs": {"logits": "logits", **present},
        },
        "vision": {
            "session_options": options,
            "filename": "vision.onnx",
            "inputs": {"pixel_values": "pixel_values"},
            "outputs": {"image_features": "image_features"},
        },
        "embedding": {
            "session_options": options,
            "filename": "embedding.onnx",
            "inputs": {"input_ids": "input_ids", "image_features": "image_features"},
            "outputs": {"inputs_embeds": "inputs_embeds"},
        },
    }
    search = {"max_length": context, "min_length": context, "past_present_share_buffer": True}
    return {"model": described, "search": search}
