"""A run continues a LLaVA in any form: it begins as transformers computes it, and ends as one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from llava_forms import FORMS
from saved_checkpoints import logits
from tiny_learner import inputs
from tiny_training import write_records

from llava_edge.train.models.learner import build
from llava_edge.train.recipe import load_recipe
from llava_edge.train.resolve_models import resolve_models

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft's making
STAGE = """
projector_lr = 1e-3
language_model_lr = 1e-3
batch_size = 3
log_steps = 1
data = { records = ["records.json"], images = "pictures" }
"""


def write_recipe(folder: Path, form: dict[str, Any], extra: str = "") -> Path:
    named = ", ".join(f'{k} = "{form[k]}"' for k in ("checkpoint", "base") if k in form)
    path = folder / "recipe.toml"
    path.write_text(
        f'out = "run"\ninit = {{ {named} }}\nprecision = "fp32"\n[stage2]{STAGE}{extra}'
    )
    return path


@pytest.fixture(scope="module", params=FORMS)
def begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A form's folder, with records and a recipe that continues it."""
    folder = tmp_path_factory.mktemp("form")
    form = FORMS[request.param](folder)
    write_records(folder)
    write_recipe(folder, form)
    return folder, form


def test_it_begins_with_what_transformers_computes(begun: Any) -> None:
    folder, form = begun
    learner = build(resolve_models(load_recipe(folder / "recipe.toml")))
    batch = inputs(learner)
    form["model"].config.image_token_index = learner.encoding.image_token_id
    expected = logits(form["model"], batch)
    assert learner.model.dtype == torch.float32
    torch.testing.assert_close(logits(learner.model, batch), expected, atol=2e-5, rtol=1e-5)
