"""On a terminal a live bar, elsewhere one plain line a report, and nothing of Trainer's own."""

import errno
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from tiny_training import write_recipe
from watched import run_stage

from llava_edge.train.inputs.dataset import Example, RecordDataset

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


def test_without_a_terminal_a_report_is_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = io.StringIO()
    recipe = write_recipe(tmp_path)
    capfd.readouterr()
    run_stage(recipe, console=Console(file=text), eval_strategy="steps", eval_steps=4)
    *reports, evaluation = text.getvalue().splitlines()
    number = r"[\d,.]+"
    pattern = (
        rf"stage1 (\d)/4  loss {number}  {number} samples/s  {number} of {number} tokens/s  "
        rf"MFU {number}%  {number} GB  \d:\d\d:\d\d left"
    )
    found = [re.fullmatch(pattern, line) for line in reports]
    assert [match and match[1] for match in found] == ["1", "2", "3", "4"]
    assert re.fullmatch(rf"stage1 4/4  evaluation loss {number}", evaluation)
    output = capfd.readouterr()
    assert "loss" not in output.out + output.err and "/4" not in output.err


def test_on_a_terminal_there_is_a_live_bar(tmp_path: Path) -> None:
    text = io.StringIO()
    run_stage(write_recipe(tmp_path), console=Console(file=text, force_terminal=True, width=120))
    shown = text.getvalue()
    assert "4/4" in shown and "samples/s" in shown and "MFU" in shown
    assert shown.count(HIDE) == shown.count(SHOW) == 1


class Broken(RecordDataset):
    """Records on a disk that is gone."""

    def __getitem__(self, index: int) -> Example:
        raise OSError(errno.EIO, "Input/output error")


def test_the_cursor_comes_back_where_training_breaks_off(tmp_path: Path) -> None:
    text = io.StringIO()
    with pytest.raises(OSError, match="Input/output"):
        run_stage(
            write_recipe(tmp_path), console=Console(file=text, force_terminal=True), dataset=Broken
        )
    assert text.getvalue().count(HIDE) == text.getvalue().count(SHOW) == 1
