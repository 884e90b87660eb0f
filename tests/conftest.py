"""Tiny random bundles, exported once a run, and a place of their own for the program's files."""

import gc
import json
import os
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's: more only wait where models are tiny
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for tests that import onnxruntime themselves

import pytest
from hypothesis import settings
from PIL import Image
from sessions import EXACT
from skimage import data

from llava_edge import Llava, load
from llava_edge.export.export import Check, export

collect_ignore = ["compat"]  # which installs older libraries: `make compat`

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Collections of garbage, which each training run asks for, pass by what was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or written to the user's folders, in subprocesses neither."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LLAVA_EDGE_BUNDLE", "LLAVA_EDGE_MODELS"):
            patch.delenv(name, raising=False)
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
            patch.setenv(name, str(folder / name))
        os.makedirs(folder / "HOME")
        yield


@pytest.fixture(scope="session", autouse=True)
def no_verification() -> Iterator[None]:
    """Exports are compared with their originals only where a test asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("llava_edge.export.export"), "AUTOMATIC", Check(wanted=False))
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import Tiny, write_llava

    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    folder.mkdir()
    write_llava(folder, Tiny())
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 4 bits; read only."""
    folder = tmp_path_factory.mktemp("bundles") / "int4"
    export(tiny_checkpoint, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle_fp32(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, unquantized."""
    folder = tmp_path_factory.mktemp("bundles") / "fp32"
    export(tiny_checkpoint, folder, precision=EXACT)
    return folder


@pytest.fixture(scope="session")
def roomy_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose context holds several answers, since a random model never ends one."""
    folder = tmp_path_factory.mktemp("roomy")
    shutil.copytree(tiny_checkpoint, folder / "tiny llava")
    path = folder / "tiny llava" / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["max_position_embeddings"] = 4096
    path.write_text(json.dumps(config))
    export(folder / "tiny llava", folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module", params=["int4", "fp32"])
def model(request: pytest.FixtureRequest) -> Llava:
    """The tiny bundles, loaded."""
    name = {"int4": "tiny_bundle", "fp32": "tiny_bundle_fp32"}[request.param]
    return load(request.getfixturevalue(name))


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    return Image.fromarray(data.chelsea())


@pytest.fixture(scope="session")
def photo_file(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "cat.png"
    photo.save(path)
    return path
