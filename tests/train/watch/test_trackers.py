"""What a run reports reaches transformers' own callbacks, with the rates that are added to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import write_recipe
from watched import run_stage

from llava_edge.errors import TrainingError
from llava_edge.train.watch.trackers import check_trackers

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def report_to(folder: Path, name: str) -> Path:
    recipe = write_recipe(folder)
    recipe.write_text(f'report_to = ["{name}"]\n{recipe.read_text()}')
    return recipe


def test_tensorboards_callback_is_told_every_figure(tmp_path: Path) -> None:
    trainer = run_stage(report_to(tmp_path, "tensorboard"), eval_strategy="steps", eval_steps=4)
    steps = Path(trainer.args.output_dir)
    (folder,) = {file.parent for file in steps.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder)).Reload()
    for tag in ("train/loss", "train/learning_rate", "train/mfu", "train/tokens_per_second"):
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("eval/loss")] == [4]


def test_weights_and_biases_gets_a_run_for_each_stage(tmp_path: Path) -> None:
    """Offline, and in a program of its own, since it leaves a service behind."""
    pytest.importorskip("wandb", reason="wandb is not installed; the extra dev brings it")
    recipe = report_to(tmp_path, "wandb")
    code = f"from llava_edge.train import train; train({str(recipe)!r})"
    variables = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **variables})
    runs = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == 2
    assert all(b"train/tokens_per_second" in run.read_bytes() for run in runs)


def test_names_that_cannot_be_used_are_refused() -> None:
    check_trackers(["tensorboard"])
    with pytest.raises(TrainingError, match=r"weights_and_biases in report_to.*not known.*wandb"):
        check_trackers(["weights_and_biases"])
    with pytest.raises(TrainingError, match=r"kubeflow in report_to.*not installed"):
        check_trackers(["tensorboard", "kubeflow"])
