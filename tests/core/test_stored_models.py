"""Bundles are listed, found and removed by their names in the models folder."""

import logging
import shutil
from pathlib import Path

import pytest

import llava_edge
from llava_edge.core.bundle import bundle_names, find_bundle
from llava_edge.core.stored_models import remove, unfinished_folder
from llava_edge.core.user_folders import data_folder, models_folder
from llava_edge.errors import BundleError


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of two bundles, and of things that are none."""
    folder = tmp_path / "models"
    for name in ("one", "two words"):
        shutil.copytree(tiny_bundle, folder / name)
    shutil.copytree(tiny_bundle, folder / ".half.part")
    (folder / "half").mkdir()
    (folder / "empty").mkdir()
    (folder / "file").touch()
    monkeypatch.setenv("LLAVA_EDGE_MODELS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_models_folder_is_the_users_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert models_folder() == data_folder()
    assert llava_edge.models() == ()  # and it is not made
    monkeypatch.setenv("LLAVA_EDGE_MODELS", "~/models")
    assert models_folder() == Path.home() / "models"


def test_models_are_what_their_bundles_say(folder: Path, tiny_bundle: Path) -> None:
    one, two = llava_edge.models()
    assert (one.name, two.name) == ("one", "two words")
    assert (one.path, two.path) == (folder / "one", folder / "two words")
    sizes = {path.name: path.stat().st_size for path in tiny_bundle.iterdir()}
    assert one.config.size == sum(sizes.values()) - sizes["bundle.json"]
    assert one.config == llava_edge.inspect(tiny_bundle).config


def test_a_damaged_one_is_left_out_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "one" / "weights.bin").unlink()
    with caplog.at_level(logging.WARNING, "llava_edge"):
        assert [model.name for model in llava_edge.models()] == ["two words"]
    assert f"{folder / 'one'} is damaged: weights.bin is missing" in caplog.text


def test_a_name_finds_a_bundle_and_a_path_wins(folder: Path, tiny_bundle: Path) -> None:
    assert find_bundle("one") == folder / "one"
    assert llava_edge.load("two words").path == folder / "two words"
    assert llava_edge.inspect("one").path == folder / "one"
    Path("one").mkdir()  # no bundle, and in nobody's way
    assert find_bundle("one") == folder / "one"
    Path("two words").symlink_to(tiny_bundle)
    assert find_bundle("two words") == Path("two words")


@pytest.mark.parametrize("name", ["./one", "../models/two", ".half.part", "empty", "file", "three"])
def test_what_is_no_name_is_refused_with_those_there_are(folder: Path, name: str) -> None:
    with pytest.raises(BundleError, match=r"or a bundle by its name \(one, two words\)\.$"):
        find_bundle(name)
    with pytest.raises(BundleError, match="is not a bundle"):
        find_bundle(Path("one"))  # a program that says Path means one


def test_the_variable_may_hold_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_EDGE_BUNDLE", "one")
    assert find_bundle() == folder / "one"


def test_a_bundle_is_removed_and_nothing_else(folder: Path, tiny_bundle: Path) -> None:
    (folder / "link").symlink_to(tiny_bundle)
    shutil.copytree(tiny_bundle, unfinished_folder("one"))
    remove("one")
    remove("link")
    remove("half")  # whose download never ended
    assert bundle_names() == ("two words",)
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "file", "half", "two words"]
    assert (tiny_bundle / "bundle.json").exists()
    for name in ("one", "empty", "file", "half", "../models/two words", ".", ""):
        with pytest.raises(BundleError, match="There is no bundle"):
            remove(name)
    assert (folder / "two words" / "bundle.json").exists()
