"""A bundle is read strictly; whatever is wrong with it ends in one sentence."""

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llava_edge import load
from llava_edge.core import bundle
from llava_edge.core.bundle import (
    bundle_files,
    find_bundle,
    read_bundle,
    verify_checksums,
    verify_once,
)
from llava_edge.core.bundle_config import FORMAT_VERSION, BundleConfig
from llava_edge.core.files import sha256_of
from llava_edge.errors import BundleError

FILES = bundle_files(("cpu", "gpu"))


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "bundle.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as error:
        load(folder)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert str(folder) in text
    return text


def test_writing_and_reading_are_inverse(copy: Path) -> None:
    config = read_bundle(copy)
    (copy / "bundle.json").unlink()
    written = bundle.write_bundle_json(copy, config)
    assert written == config == read_bundle(copy)
    verify_checksums(copy, config)
    assert not list(copy.glob(".*"))


@pytest.mark.parametrize("name", FILES)
def test_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert f"{name} is missing" in refusal(copy)


@pytest.mark.parametrize("name", FILES)
def test_shortened_file(copy: Path, name: str) -> None:
    os.truncate(copy / name, (copy / name).stat().st_size - 1)
    assert f"{name} has" in refusal(copy)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("small", [True, False])
def test_altered_file(copy: Path, name: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not small:
        monkeypatch.setattr(bundle, "ALWAYS_HASHED", -1)
    verify_once(copy, read_bundle(copy))
    flip(copy / name)
    assert f"{name} was altered" in refusal(copy)


def test_large_files_are_hashed_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "ALWAYS_HASHED", 0)
    config = read_bundle(copy)
    hashed = []
    monkeypatch.setattr(
        bundle, "sha256_of", lambda path, tell: hashed.append(path.name) or sha256_of(path, tell)
    )
    verify_once(copy, config)
    verify_once(copy, config)
    assert sorted(hashed) == sorted(FILES)


def test_newer_and_older_format_versions(copy: Path) -> None:
    edit(copy, lambda data: data.update(format_version=FORMAT_VERSION + 1, unheard_of=1))
    assert "upgrade llava-edge" in refusal(copy)
    edit(copy, lambda data: data.update(format_version=FORMAT_VERSION - 1))
    assert "export the bundle again" in refusal(copy)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda data: data.pop("name"), "name is missing"),
        (lambda data: data.update(extra=1), "extra is not known"),
        (
            lambda data: data["vision"].update(image_tokens="36"),
            'image_tokens is "36", but a wh',
        ),
        (
            lambda data: data["vision"].update(image_tokens=True),
            "image_tokens is true, but",
        ),
        (lambda data: data["vision"].update(image=None), "vision.image is null, but an object was"),
        (
            lambda data: data["vision"]["image"].update(mode="fill"),
            'mode is "fill", but "square" or',
        ),
        (
            lambda data: data["vision"]["image"].update(mean=[0, 1]),
            "is [0, 1], but a list of 3 numb",
        ),
        (lambda data: data["prompt"].update(stop="</s>"), 'stop is "</s>", but a list of strings'),
        (lambda data: data["files"]["weights.bin"].pop("size"), "weights.bin.size is missing"),
        (lambda data: data["files"]["weights.bin"].update(size=1.5), "files.weights.bin.size is 1"),
        (lambda data: data["vision"]["image"].update(std=[1, 0, 1]), "vision.image.std[1] is 0"),
        (lambda data: data.update(format_version="1"), 'format_version is "1"'),
        (lambda data: data["files"].update({"../x": data["files"]["weights.bin"]}), "../x"),
        (lambda data: data["files"].pop("vision.cpu.onnx"), "vision.cpu.onnx"),
        (lambda data: data["prompt"].update(stop=["<no>"]), "'<no>'"),
        (lambda data: data["decoder"].update(num_kv_heads=3), "past_key_values.0.key"),
        (lambda data: data["decoder"].update(num_layers=1), "past_key_values.1.key"),
        (lambda data: data["decoder"].update(vocab_size=7), "describes a tensor"),
        (lambda data: data["decoder"].update(hidden_size=95), "inputs_embeds"),
        (
            lambda data: data["decoder"]["embedding"].update(block_size=0),
            "decoder.embedding.block_size is 0, but a whole",
        ),
        (lambda data: data["vision"]["image"].update(size=34), "pixel_values"),
        (lambda data: data["vision"].update(image_tokens=35), "image_embeds"),
        (lambda data: data["decoder"]["embedding"]["data"].update(offset=10**9), "1,000,000,000"),
        (lambda data: data["decoder"]["embedding"]["data"].update(offset=-1), "data.offset is -1"),
        (
            lambda data: data["decoder"]["embedding"]["data"].update(dtype="object"),
            "dtype='object'",
        ),
        (lambda data: data["decoder"]["embedding"].update(scales=None), "describes a tensor"),
    ],
)
def test_wrong_words_in_bundle_json(
    copy: Path, change: Callable[[dict[str, Any]], object], part: str
) -> None:
    edit(copy, change)
    with pytest.raises(BundleError) as error:
        load(copy)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 30, "9" * 5000])
@pytest.mark.parametrize("name", ["hidden_size", "vocab_size", "context_length", "offset"])
def test_a_number_that_no_model_has(copy: Path, name: str, number: str) -> None:
    path = copy / "bundle.json"
    text, count = re.subn(rf'("{name}": )\d+', rf"\g<1>{number}", path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    refusal(copy)


def test_what_is_not_finite_is_never_written(copy: Path) -> None:
    config = read_bundle(copy)
    image = replace(config.vision.image, mean=(0.5, math.nan, 0.5))
    with pytest.raises(BundleError, match="not finite"):
        bundle.rewrite_bundle_json(
            copy, replace(config, vision=replace(config.vision, image=image))
        )
    assert read_bundle(copy) == config


DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "\xff",
        "null",
        '{"format_version": 1}',
        '{"format_version": NaN}',
        "[" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
        '{"format_version": ' + "[" * 900 + "]" * 900 + "}",
    ],
    ids=lambda text: text[:20],
)
def test_bundle_json_that_is_none(copy: Path, text: str) -> None:
    (copy / "bundle.json").write_bytes(text.encode("latin-1"))
    refusal(copy)


def test_graphs_that_onnxruntime_refuses(copy: Path) -> None:
    (copy / "vision.cpu.onnx").write_bytes(b"no graph")
    config = read_bundle_without_files(copy)
    bundle.write_bundle_json(copy, config)
    assert "cannot load" in refusal(copy)


def read_bundle_without_files(folder: Path) -> BundleConfig:
    return bundle.read_config(folder)


def test_a_bundle_is_found_by_name_variable_and_default(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_bundle(tiny_bundle) == find_bundle(str(tiny_bundle)) == tiny_bundle
    with pytest.raises(BundleError, match="make demo"):
        find_bundle()
    with pytest.raises(BundleError, match="does not exist"):
        find_bundle(tmp_path / "gone")
    with pytest.raises(BundleError, match=r"holds no bundle\.json"):
        find_bundle(tmp_path)
    monkeypatch.setenv("LLAVA_EDGE_BUNDLE", str(tiny_bundle))
    assert find_bundle() == tiny_bundle
    monkeypatch.delenv("LLAVA_EDGE_BUNDLE")
    monkeypatch.setattr(bundle, "demo_bundle", lambda: tiny_bundle)
    assert find_bundle() == tiny_bundle
