"""Checkpoints that transformers 4 and 5 wrote compute what each of them computed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from overlays import Overlay
from places import SUPPORT
from sessions import EXACT, Sessions
from tiny import tokenizer

from llava_edge.core.bundle_config import ImageConfig, TilesConfig
from llava_edge.core.tiles import assemble
from llava_edge.export.export import export

BEFORE, AFTER = [7, 30, 31], [100, 9, 280, 77, 5]  # as in write_huggingface.py
KINDS = (
    "clip-llama",
    "clip-llama3",
    "siglip-qwen2",
    "siglip-qwen3",
    "dinov2-smollm3",
    "next-mistral",
)


@pytest.fixture(scope="module")
def written_by_4(transformers_4: Overlay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("by4")
    transformers_4.run("write_huggingface.py", folder, "--pickled")
    return folder


@pytest.fixture(scope="module")
def written_by_5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("by5")
    script = [sys.executable, "-W", "ignore", SUPPORT / "write_huggingface.py", folder]
    subprocess.run(script, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("kind", [*KINDS, "pickled"])
def test_transformers_4(written_by_4: Path, tmp_path: Path, kind: str) -> None:
    assert_computes_as_expected(written_by_4 / kind, tmp_path / "bundle")


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_5(written_by_5: Path, tmp_path: Path, kind: str) -> None:
    assert_computes_as_expected(written_by_5 / kind, tmp_path / "bundle")


def assert_computes_as_expected(checkpoint: Path, bundle: Path) -> None:
    tokenizer("vicuna_v1" if checkpoint.name != "next-mistral" else "mistral").save(
        str(checkpoint / "tokenizer.json")
    )
    config = export(checkpoint, bundle, precision=EXACT, devices=("cpu",))
    sessions = Sessions(bundle)
    with np.load(checkpoint / "expected.npz") as expected:
        picture = sessions.image_embeds(expected["pixels"])
        tiles = config.vision.tiles
        rows = picture[0] if tiles is None else assembled(bundle, picture, tiles)
        np.testing.assert_allclose(rows, expected["image_embeds"], atol=1e-4)
        table = sessions.embedding_table()
        prompt = np.concatenate([table[BEFORE], rows, table[AFTER]])
        np.testing.assert_allclose(sessions.logits(prompt), expected["logits"], atol=1e-3)


def assembled(bundle: Path, picture: np.ndarray, tiles: TilesConfig) -> np.ndarray:
    content = (bundle / "weights.bin").read_bytes()
    size = tiles.newline.shape[0]
    newline = np.frombuffer(content, np.float32, size, tiles.newline.offset)
    image = ImageConfig(30, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "square")
    return assemble(picture, (50, 20), image, tiles, newline)
