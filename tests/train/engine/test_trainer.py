"""What StageTrainer overrides is still there in transformers' Trainer, and still called by it."""

import inspect
import re

import pytest
from transformers import Trainer, TrainingArguments

from llava_edge.train.engine.trainer import StageTrainer

OVERRIDDEN = [
    name
    for name, method in vars(StageTrainer).items()
    if inspect.isfunction(method) and name != "__init__" and hasattr(Trainer, name)
]
PRIVATE = {
    "_defer_fsdp_gradient_reduction",
    "_load_from_checkpoint",
    "_load_optimizer_and_scheduler",
    "_move_model_to_device",
    "_save",
    "_save_optimizer_and_scheduler",
    "_save_rng_state",
}
# Our own methods; a name of Trainer's that turned up here would be one that it no longer has.
OWN = {"_loader", "trained_state"}
SOURCE = inspect.getsource(Trainer)


def test_trainer_has_what_is_overridden_and_nothing_of_ours() -> None:
    methods = {name for name, value in vars(StageTrainer).items() if inspect.isfunction(value)}
    assert methods - set(OVERRIDDEN) - {"__init__"} == OWN
    assert {name for name in OVERRIDDEN if name.startswith("_")} == PRIVATE


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_method_takes_what_trainers_own_takes(name: str) -> None:
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
        for method in (getattr(StageTrainer, name), getattr(Trainer, name))
    )
    assert ours == theirs


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_trainer_calls_a_method_from_another(name: str) -> None:
    own = inspect.getsource(getattr(Trainer, name))
    assert re.search(rf"\bself\.{name}\b", SOURCE.replace(own, ""))


def test_trainer_saves_its_state_after_all_else_of_a_checkpoint() -> None:
    """By which `last_checkpoint` knows a whole one, and for which `_save_rng_state` waits."""
    saving = inspect.getsource(Trainer._save_checkpoint)
    order = ("save_model(", "_save_optimizer_and_scheduler(", "_save_rng_state(", ".save_to_json(")
    places = [saving.index(name) for name in order]
    assert places == sorted(places)


def test_trainer_asks_whether_shards_are_not_its_own() -> None:
    for method in (Trainer._prepare_for_training, Trainer._run_epoch):
        assert "self.is_distributed_loading_by_transformers" in inspect.getsource(method)


def test_the_number_of_gpus_is_kept_where_it_is_set() -> None:
    assert "_n_gpu" in inspect.getsource(TrainingArguments.n_gpu.fget)
