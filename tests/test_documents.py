"""The guides: their links lead somewhere, and their programs run."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from places import ROOT

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.picture import load_picture, preprocess
from llava_edge.train.models.preprocessing import image_processor

DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/emoji/**/*.md")]
PROGRAMS = ("README.md", "docs/answers.md", "docs/desktop.md", "docs/getting-started.md")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """What `#...` may name: the headings, spelt as GitHub does."""
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_run(
    name: str,
    roomy_bundle: Path,
    photo_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLAVA_EDGE_BUNDLE", str(roomy_bundle))
    monkeypatch.setattr(sys, "argv", ["ask.py", "photo.jpg"])
    (tmp_path / "bundle").symlink_to(roomy_bundle)
    for picture in ("photo.jpg", "other.jpg", "first.jpg", "second.jpg"):
        shutil.copy(photo_file, tmp_path / picture)
    names = {"__name__": "guide", "__file__": str(tmp_path / "ask.py")}
    programs = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
    assert programs
    for number, program in enumerate(programs):
        exec(compile(program, f"{name}, program {number}", "exec"), names)


def test_transformers_gets_the_same_pixels_by_the_documented_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what training writes, of a picture of 16 bits, which Pillow itself makes white."""
    text = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    image = ImageConfig(30, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), "pad", resample="lanczos")
    Path("run/stage2").mkdir(parents=True)
    Path("run/stage2/preprocessor_config.json").write_text(json.dumps(image_processor(image)))
    values = np.linspace(0, 65535, 60 * 41).astype(np.uint16).reshape(41, 60)
    Image.fromarray(values).save("photo.jpg", "PNG")
    variables: dict[str, Any] = {}
    exec(program, variables)
    ours = preprocess(load_picture("photo.jpg"), image)
    theirs = variables["pixels"][0].numpy()
    assert np.abs(ours - theirs).max() <= 1 / 255 / min(image.std) + 1e-5
    assert np.ptp(ours) > 0.8 / max(image.std)
