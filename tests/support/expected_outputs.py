"""A checkpoint's bundle computes what the library that wrote the checkpoint did."""

from pathlib import Path

import numpy as np
from sessions import EXACT, Sessions
from tiny import tokenizer
from write_huggingface import AFTER, BEFORE

from llava_edge.core.bundle_config import ImageConfig, TilesConfig
from llava_edge.core.tiles import assemble
from llava_edge.export.export import export

KINDS = (
    "clip-llama",
    "clip-llama3",
    "siglip-qwen2",
    "siglip-qwen3",
    "dinov2-smollm3",
    "next-mistral",
)


def assert_computes_as_expected(checkpoint: Path, bundle: Path) -> None:
    """Export a checkpoint that write_huggingface.py wrote, and compare with its expected.npz."""
    tokenizer("vicuna_v1" if checkpoint.name != "next-mistral" else "mistral").save(
        str(checkpoint / "tokenizer.json")
    )
    config = export(checkpoint, bundle, precision=EXACT, devices=("cpu",))
    sessions = Sessions(bundle)
    with np.load(checkpoint / "expected.npz") as expected:
        picture = sessions.image_embeds(expected["pixels"])
        tiles = config.vision.tiles
        rows = picture[0] if tiles is None else _assembled(bundle, picture, tiles)
        np.testing.assert_allclose(rows, expected["image_embeds"], atol=1e-4)
        table = sessions.embedding_table()
        prompt = np.concatenate([table[BEFORE], rows, table[AFTER]])
        np.testing.assert_allclose(sessions.logits(prompt), expected["logits"], atol=1e-3)


def _assembled(bundle: Path, picture: np.ndarray, tiles: TilesConfig) -> np.ndarray:
    content = (bundle / "weights.bin").read_bytes()
    size = tiles.newline.shape[0]
    newline = np.frombuffer(content, np.float32, size, tiles.newline.offset)
    image = ImageConfig(30, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "square")
    return assemble(picture, (50, 20), image, tiles, newline)
