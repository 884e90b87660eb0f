"""A model with room for long answers, and the server over it."""

import base64
import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from openai import OpenAI
from PIL import Image
from serving import Served, serving_model

from llava_edge import Llava, load
from llava_edge.export.export import export


@pytest.fixture(scope="session")
def roomy_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Llava:
    """The tiny model with a context of 4,096 tokens; a random model never ends an answer."""
    folder = tmp_path_factory.mktemp("roomy")
    shutil.copytree(tiny_checkpoint, folder / "tiny llava")
    path = folder / "tiny llava" / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["max_position_embeddings"] = 4096
    path.write_text(json.dumps(config))
    export(folder / "tiny llava", folder / "bundle")
    return load(folder / "bundle", contexts=2)


@pytest.fixture(scope="module")
def server(roomy_model: Llava) -> Iterator[Served]:
    with serving_model(roomy_model.apart()) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def photo_url(photo: Image.Image) -> str:
    """The photograph as a data: URL."""
    file = BytesIO()
    photo.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
