"""The processor's files, and the guide's program by which transformers sees our pixels."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT
from tiny import tokenizer

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.picture import load_picture, preprocess
from llava_edge.train.checkpoints.processor_files import write_preprocessing

SIZE = 35


def pictures() -> dict[str, Image.Image]:
    """One of each kind that Pillow's convert("RGB") would make something else of."""
    shades = np.linspace(0, 1, 50 * 70).reshape(50, 70)
    colours = np.stack([shades, shades.T.reshape(50, 70), 1 - shades, shades > 0.3], axis=-1)
    return {
        "12 bits in 16": Image.fromarray((shades * 4095).astype(np.uint16)),
        "16 bits": Image.fromarray((shades * 65535).astype(np.uint16)),
        "alpha": Image.fromarray((colours * 255).astype(np.uint8)),
    }


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("mode", ["square", "pad", "stretch"])
def test_the_guide_shows_transformers_our_pixels(
    name: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = ImageConfig(SIZE, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), mode)  # type: ignore[arg-type]
    folder = tmp_path / "run" / "stage2"
    folder.mkdir(parents=True)
    write_preprocessing(
        image, folder, patch_size=5, image_tokens=49, select="default", token="<image>"
    )
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "config.json").write_text(json.dumps({"model_type": "llava"}))
    pictures()[name].save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", guide, re.S)
    names: dict[str, dict[str, object]] = {}
    exec(compile(program, "pictures.md", "exec"), names)
    theirs = np.asarray(names["inputs"]["pixel_values"])[0]
    ours = preprocess(load_picture(tmp_path / "photo.png"), image)
    std = np.array(image.std)[:, None, None]
    assert np.abs((theirs - ours) * std).max() <= 1 / 255 + 1e-6
    assert ours.std() > 0.5  # a picture, neither black nor white
