"""What a stage reports is written as it comes; a resumed run's log is an uninterrupted one's."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import write_recipe
from transformers import TrainerCallback
from watched import run_stage

from llava_edge.train.watch.journal import read_log
from llava_edge.train.watch.loss_plot import plot_losses

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

OTHER = {"stage": "stage2", "step": 9, "loss": 1.5}
# A report at step 3 by itself; those at 2 and 4 are there since a checkpoint is.
SETTINGS = {"logging_steps": 3, "eval_strategy": "steps", "eval_steps": 2}
REPORTED = {
    "stage",
    "step",
    "epoch",
    "loss",
    "learning_rate",
    "grad_norm",
    "samples_per_second",
    "tokens_per_second",
    "all_tokens_per_second",
    "mfu",
    "memory_bytes",
    "seconds",
}


class Cut(TrainerCallback):
    """Breaks off after a step was reported, and looks at the log then."""

    def __init__(self, step: int, log: Path) -> None:
        self._step, self._log = step, log
        self.seen: list[dict[str, Any]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            self.seen = read_log(self._log)
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = write_recipe(tmp_path_factory.mktemp("whole"))
    run = recipe.parent / "run"
    run.mkdir()
    (run / "log.jsonl").write_text(json.dumps(OTHER) + "\n")
    run_stage(recipe, **SETTINGS)
    return run


def curve(log: Path) -> list[tuple[int, float | None, float | None]]:
    return [(row["step"], row.get("loss"), row.get("eval_loss")) for row in read_log(log)]


def test_each_report_and_evaluation_is_a_line(whole_run: Path) -> None:
    other, *rows = read_log(whole_run / "log.jsonl")
    assert other == OTHER
    reports = [row for row in rows if "loss" in row]
    assert [row["step"] for row in reports] == [2, 3, 4]
    assert all(row.keys() == REPORTED and row["stage"] == "stage1" for row in reports)
    assert all(row["mfu"] > 0 and row["samples_per_second"] > 0 for row in reports)
    assert all(row["all_tokens_per_second"] > row["tokens_per_second"] > 0 for row in reports)
    evaluations = [row for row in rows if "eval_loss" in row]
    assert [row["step"] for row in evaluations] == [2, 4]
    assert all(row.keys() == {"stage", "step", "eval_loss"} for row in evaluations)


def test_a_resumed_log_is_that_of_an_uninterrupted_run(whole_run: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    log = tmp_path / "run" / "log.jsonl"
    cut = Cut(3, log)
    with pytest.raises(KeyboardInterrupt):
        run_stage(recipe, cut, **SETTINGS)
    assert cut.seen[-1]["step"] == 3  # written when it was reported
    with log.open("a") as stream:
        stream.write('{"stage": "stage1", "st')  # as a lost machine leaves it
    run_stage(recipe, **SETTINGS)
    expected = curve(whole_run / "log.jsonl")[1:]
    assert curve(log) == expected
    events = EventAccumulator(str(log.parent / "tensorboard" / "stage1"))
    events.Reload()
    written = {event.step: event.value for event in events.Scalars("loss")}
    losses = {step: loss for step, loss, _ in expected if loss}
    assert written == pytest.approx(losses, rel=1e-6)
    assert {"eval_loss", "learning_rate", "tokens_per_second", "mfu"} <= set(
        events.Tags()["scalars"]
    )


def test_the_losses_are_drawn_a_panel_a_stage(whole_run: Path, tmp_path: Path) -> None:
    rows = read_log(whole_run / "log.jsonl")[1:]
    with Image.open(whole_run / "losses.png") as picture:
        width = picture.width
    plot_losses([*rows, *({**row, "stage": "stage2"} for row in rows)], tmp_path / "two.png")
    with Image.open(tmp_path / "two.png") as picture:
        assert picture.width == width
    assert [path.name for path in tmp_path.iterdir()] == ["two.png"]
    without = [row for row in rows if "loss" in row]
    plot_losses(without, tmp_path / "without.png")
    plot_losses(rows, tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width == width / 2
    assert (tmp_path / "without.png").read_bytes() != (tmp_path / "one.png").read_bytes()
