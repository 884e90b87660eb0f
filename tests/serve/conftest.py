"""A model with room for long answers, and the server over it."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from openai import OpenAI
from PIL import Image
from serving import Served, serving_model

from llava_edge import Llava, load


@pytest.fixture(scope="session")
def roomy_model(roomy_bundle: Path) -> Llava:
    """That bundle, loaded."""
    return load(roomy_bundle, contexts=2)


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
