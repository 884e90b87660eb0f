"""Write a random LLaVA checkpoint, to measure what a model of its shape costs.

    python -m llava_edge.bench.random_checkpoint OUT [SHAPE]

By default the shape is LLaVA-1.5-7B's, which saves a download of 14 GB; its answers are nonsense.
Numbers are drawn once and repeated, from another place on in each tensor.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SHARD = 5_000_000_000  # bytes
DRAWN = (1 << 22) - 3  # numbers, no multiple of a row's, so that repeated rows differ
TensorShapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class LlavaShape:
    """The sizes of a CLIP tower and a language model of Llama's kind."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = 32064
    image_token: int = 32000  # an id; the words before it have names
    vision_hidden: int = 1024
    vision_inner: int = 4096
    vision_layers: int = 24
    vision_heads: int = 16
    image_size: int = 336
    patch_size: int = 14

    @property
    def config(self) -> dict[str, Any]:
        """The checkpoint's config.json."""
        return {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "image_token_index": self.image_token,
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "vision_config": self.vision_config,
            "text_config": self.text_config,
        }

    @property
    def vision_config(self) -> dict[str, Any]:
        """Of the tower alone."""
        return {
            "model_type": "clip_vision_model",
            "hidden_size": self.vision_hidden,
            "intermediate_size": self.vision_inner,
            "num_hidden_layers": self.vision_layers,
            "num_attention_heads": self.vision_heads,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "projection_dim": 768,
        }

    @property
    def text_config(self) -> dict[str, Any]:
        """Of the language model alone."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
        }


_SMALL = LlavaShape(
    hidden=256,
    inner=512,
    layers=2,
    heads=4,
    kv_heads=4,
    vocabulary=384,
    image_token=320,
    vision_hidden=64,
    vision_inner=128,
    vision_layers=3,
    vision_heads=4,
    image_size=56,
)
SHAPES = {
    "7b": LlavaShape(hidden=4096, inner=11008, layers=32, heads=32, kv_heads=32),
    "2b": LlavaShape(hidden=2048, inner=8192, layers=28, heads=16, kv_heads=4),
    "tiny": _SMALL,
    "tiny-shared": replace(_SMALL, kv_heads=1),  # four heads share a key
}


def write_random_checkpoint(folder: Path, shape: LlavaShape = SHAPES["7b"]) -> None:
    """Write the checkpoint, piece by piece: the memory it takes does not grow with the model."""
    _write(folder, shape.config, tensor_shapes(shape))
    random_tokenizer(shape).save(str(folder / "tokenizer.json"))


def write_random_tower(folder: Path, shape: LlavaShape) -> None:
    """The vision tower alone, as a recipe for training names it."""
    _write(folder, shape.vision_config, _tower("vision_model", shape))
    pixels = {"height": shape.image_size, "width": shape.image_size}
    _write_json(
        folder / "preprocessor_config.json",
        {"image_processor_type": "CLIPImageProcessor", "crop_size": pixels}
        | {"size": {"shortest_edge": shape.image_size}},
    )


def write_random_language_model(folder: Path, shape: LlavaShape) -> None:
    """The language model alone, as a recipe for training names it."""
    head: TensorShapes = {"lm_head.weight": (shape.vocabulary, shape.hidden)}
    _write(folder, shape.text_config, _language_model("model", shape) | head)
    random_tokenizer(shape).save(str(folder / "tokenizer.json"))


def tensor_shapes(shape: LlavaShape) -> TensorShapes:
    """Every tensor's name, spelled as in the published files, and its shape."""
    return {
        **_tower("vision_tower.vision_model", shape),
        **_linear("multi_modal_projector.linear_1", shape.hidden, shape.vision_hidden),
        **_linear("multi_modal_projector.linear_2", shape.hidden, shape.hidden),
        **_language_model("language_model.model", shape),
        "language_model.lm_head.weight": (shape.vocabulary, shape.hidden),
    }


def _tower(name: str, shape: LlavaShape) -> TensorShapes:
    hidden, inner, patch = shape.vision_hidden, shape.vision_inner, shape.patch_size
    patches = (shape.image_size // patch) ** 2
    shapes: TensorShapes = {
        f"{name}.embeddings.class_embedding": (hidden,),
        f"{name}.embeddings.patch_embedding.weight": (hidden, 3, patch, patch),
        f"{name}.embeddings.position_embedding.weight": (1 + patches, hidden),
        **_norm(f"{name}.pre_layrnorm", hidden),
        **_norm(f"{name}.post_layernorm", hidden),
    }
    for number in range(shape.vision_layers):
        layer = f"{name}.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{part}", hidden, hidden)
        shapes |= _norm(f"{layer}.layer_norm1", hidden) | _norm(f"{layer}.layer_norm2", hidden)
        shapes |= _linear(f"{layer}.mlp.fc1", inner, hidden)
        shapes |= _linear(f"{layer}.mlp.fc2", hidden, inner)
    return shapes


def _language_model(name: str, shape: LlavaShape) -> TensorShapes:
    hidden, inner = shape.hidden, shape.inner
    cached = hidden // shape.heads * shape.kv_heads
    shapes: TensorShapes = {f"{name}.embed_tokens.weight": (shape.vocabulary, hidden)}
    for number in range(shape.layers):
        layer = f"{name}.layers.{number}"
        for part in "qkvo":
            outputs = cached if part in "kv" else hidden
            shapes[f"{layer}.self_attn.{part}_proj.weight"] = (outputs, hidden)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (inner, hidden)
        shapes[f"{layer}.mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{layer}.mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
    shapes[f"{name}.norm.weight"] = (hidden,)
    return shapes


def _linear(name: str, outputs: int, inputs: int) -> TensorShapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> TensorShapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _write(folder: Path, config: dict[str, Any], tensors: TensorShapes) -> None:
    """config.json and the shards of a folder that transformers opens."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    shards = _shards(tensors)
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / file, shapes, random)
        weight_map |= dict.fromkeys(shapes, file)
    index = {"metadata": {"total_size": sum(map(_size, tensors.values()))}}
    _write_json(folder / "model.safetensors.index.json", index | {"weight_map": weight_map})
    _write_json(folder / "config.json", config)


def _shards(shapes: TensorShapes) -> list[TensorShapes]:
    """Cut in order, each shard as full as it may be."""
    shards: list[TensorShapes] = []
    room = 0
    for name, shape in shapes.items():
        size = _size(shape)
        if size > room:
            shards.append({})
            room = SHARD
        shards[-1][name] = shape
        room -= size
    return shards


def _size(shape: tuple[int, ...]) -> int:
    """In bytes, as float16."""
    return 2 * prod(shape)


def write_shard(path: Path, shapes: TensorShapes, random: np.random.Generator) -> None:
    """The safetensors format: the header's length, the header as JSON, and the tensors' bytes.

    https://github.com/huggingface/safetensors#format
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + _size(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    numbers = random.standard_normal(DRAWN, np.float32) * np.float32(0.02)
    drawn, around_one = numbers.astype("<f2"), (numbers[: 1 << 16] + 1).astype("<f2")
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            norm = "norm" in name and name.endswith("weight")
            _repeat(file, around_one if norm else drawn, prod(shape), random)


def _repeat(
    file: BinaryIO, drawn: npt.NDArray[np.float16], count: int, random: np.random.Generator
) -> None:
    """Write so many of the drawn numbers, from a random one on and again from the first."""
    for piece in _pieces(int(random.integers(len(drawn))), len(drawn), count):
        file.write(drawn[piece].data)


def _pieces(start: int, length: int, count: int) -> Iterator[slice]:
    while count > 0:
        end = min(start + count, length)
        yield slice(start, end)
        count, start = count - (end - start), 0


def random_tokenizer(shape: LlavaShape = SHAPES["7b"]) -> Tokenizer:
    """Single bytes, Vicuna's special tokens, and words that only a random model says."""
    special = ["<unk>", "<s>", "</s>"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [f"\u0120word{id}" for id in range(len(tokens), shape.image_token)]  # after a space
    vocabulary = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special += ["<image>", "<pad>"]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _main(out: Path, shape: str = "7b") -> None:
    if out.exists():
        sys.exit(f"{out} already exists; name a folder that does not.")
    if shape not in SHAPES:
        sys.exit(f'"{shape}" is not a shape; give one of {", ".join(SHAPES)}.')
    write_random_checkpoint(out, SHAPES[shape])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):  # --help is no folder
        sys.exit("usage: python -m llava_edge.bench.random_checkpoint OUT [SHAPE]")
    _main(Path(sys.argv[1]), *sys.argv[2:])
