"""Write a random checkpoint of LLaVA-1.5-7B's shape, to measure what an export of it costs.

    python -m llava_edge.bench.random_checkpoint OUT

No download of 14 GB is needed for that; the answers are nonsense, of course.
"""

import json
import sys
from math import prod
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

VOCABULARY, TEXT_SIZE, TEXT_INNER, TEXT_LAYERS = 32064, 4096, 11008, 32
VISION_SIZE, VISION_INNER, VISION_LAYERS = 1024, 4096, 24
IMAGE_SIZE, PATCH_SIZE = 336, 14
IMAGE_TOKEN = 32000

VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": VISION_SIZE,
    "intermediate_size": VISION_INNER,
    "num_hidden_layers": VISION_LAYERS,
    "num_attention_heads": 16,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
    "projection_dim": 768,
}
TEXT = {
    "model_type": "llama",
    "hidden_size": TEXT_SIZE,
    "intermediate_size": TEXT_INNER,
    "num_hidden_layers": TEXT_LAYERS,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCABULARY,
}
CONFIG = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "image_token_index": IMAGE_TOKEN,
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "vision_config": VISION,
    "text_config": TEXT,
}
SHARD = 5_000_000_000  # bytes
PIECE = 1 << 22  # numbers drawn at once
Shapes = dict[str, tuple[int, ...]]


def write_random_checkpoint(folder: Path) -> None:
    """Write the checkpoint, piece by piece: the memory it takes does not grow with the model."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    shards = _shards(tensor_shapes())
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / file, shapes, random)
        weight_map |= dict.fromkeys(shapes, file)
    size = sum(_size(shape) for shapes in shards for shape in shapes.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)
    _write_json(folder / "config.json", CONFIG)
    random_tokenizer().save(str(folder / "tokenizer.json"))


def tensor_shapes() -> Shapes:
    """Every tensor's name, spelled as in the published files, and its shape."""
    return {
        **_tower("vision_tower.vision_model"),
        **_linear("multi_modal_projector.linear_1", TEXT_SIZE, VISION_SIZE),
        **_linear("multi_modal_projector.linear_2", TEXT_SIZE, TEXT_SIZE),
        **_language_model("language_model.model"),
        "language_model.lm_head.weight": (VOCABULARY, TEXT_SIZE),
    }


def _tower(name: str) -> Shapes:
    patches = (IMAGE_SIZE // PATCH_SIZE) ** 2
    shapes: Shapes = {
        f"{name}.embeddings.class_embedding": (VISION_SIZE,),
        f"{name}.embeddings.patch_embedding.weight": (VISION_SIZE, 3, PATCH_SIZE, PATCH_SIZE),
        f"{name}.embeddings.position_embedding.weight": (1 + patches, VISION_SIZE),
        **_norm(f"{name}.pre_layrnorm"),
        **_norm(f"{name}.post_layernorm"),
    }
    for number in range(VISION_LAYERS):
        layer = f"{name}.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{part}", VISION_SIZE, VISION_SIZE)
        shapes |= _norm(f"{layer}.layer_norm1") | _norm(f"{layer}.layer_norm2")
        shapes |= _linear(f"{layer}.mlp.fc1", VISION_INNER, VISION_SIZE)
        shapes |= _linear(f"{layer}.mlp.fc2", VISION_SIZE, VISION_INNER)
    return shapes


def _language_model(name: str) -> Shapes:
    shapes: Shapes = {f"{name}.embed_tokens.weight": (VOCABULARY, TEXT_SIZE)}
    for number in range(TEXT_LAYERS):
        layer = f"{name}.layers.{number}"
        for part in "qkvo":
            shapes[f"{layer}.self_attn.{part}_proj.weight"] = (TEXT_SIZE, TEXT_SIZE)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (TEXT_INNER, TEXT_SIZE)
        shapes[f"{layer}.mlp.up_proj.weight"] = (TEXT_INNER, TEXT_SIZE)
        shapes[f"{layer}.mlp.down_proj.weight"] = (TEXT_SIZE, TEXT_INNER)
        shapes[f"{layer}.input_layernorm.weight"] = (TEXT_SIZE,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (TEXT_SIZE,)
    shapes[f"{name}.norm.weight"] = (TEXT_SIZE,)
    return shapes


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str) -> Shapes:
    return {f"{name}.weight": (VISION_SIZE,), f"{name}.bias": (VISION_SIZE,)}


def _shards(shapes: Shapes) -> list[Shapes]:
    """Cut in order, each shard as full as it may be."""
    shards: list[Shapes] = []
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


def write_shard(path: Path, shapes: Shapes, random: np.random.Generator) -> None:
    """The safetensors format: the header's length, the header as JSON, and the tensors' bytes.

    https://github.com/huggingface/safetensors#format
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + _size(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            mean = 1 if "norm" in name and name.endswith("weight") else 0
            for start in range(0, prod(shape), PIECE):
                count = min(PIECE, prod(shape) - start)
                numbers = random.standard_normal(count, np.float32) * np.float32(0.02) + mean
                file.write(numbers.astype("<f2").data)


def random_tokenizer() -> Tokenizer:
    """Single bytes, Vicuna's special tokens, and words that only a random model says."""
    special = ["<unk>", "<s>", "</s>"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [f"\u0120word{id}" for id in range(len(tokens), IMAGE_TOKEN)]  # begin with a space
    vocabulary = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special += ["<image>", "<pad>"]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m llava_edge.bench.random_checkpoint OUT")
    if Path(sys.argv[1]).exists():
        sys.exit(f"{sys.argv[1]} exists already; name a folder that does not.")
    write_random_checkpoint(Path(sys.argv[1]))
