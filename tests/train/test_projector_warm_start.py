"""After the warm start an object's rows are nearest to its name's word."""

from pathlib import Path

import pytest
import torch
from tiny_training import write_recipe

from llava_edge.data.record_types import LabelledBox
from llava_edge.data.records import RecordSource, load_records
from llava_edge.errors import TrainingError
from llava_edge.train.models.learner import build
from llava_edge.train.projector_warm_start import _label_map, warm_start
from llava_edge.train.recipe import WarmStart, load_recipe


def test_rows_of_an_object_come_nearest_to_its_name(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, tower="efficientnet_lite", warm_start=True))
    learner = build(recipe)
    assert recipe.warm_start is not None
    settings = WarmStart(recipe.warm_start.data, epochs=60, learning_rate=1e-2, batch_size=16)
    records = load_records(recipe.warm_start.data[0])
    assert warm_start(learner, settings, records, None) > 0.9


def test_records_without_boxes_are_refused(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    path = tmp_path / "records.json"
    path.write_text(path.read_text().replace('"objects"', '"other"'))
    source = RecordSource((path,), tmp_path / "pictures")
    with pytest.raises(TrainingError, match="name no objects"):
        warm_start(build(recipe), WarmStart((source,)), load_records(source), None)


def test_a_row_belongs_to_the_box_around_its_centre() -> None:
    box = LabelledBox("cat", (0.2, 0.2, 0.6, 0.6))
    labels = _label_map([box], {"cat": 3}, side=5).view(5, 5)
    expected = torch.zeros(5, 5, dtype=torch.long)
    expected[1:3, 1:3] = 3
    inside = expected > 0
    assert torch.equal(labels[inside], expected[inside])
    assert set(labels[3:].unique().tolist()) <= {0, -1}
