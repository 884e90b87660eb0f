"""Rates are what was counted, over the time that training took."""

from itertools import count

import pytest

from llava_edge.train.watch.flops import Cost
from llava_edge.train.watch.terminal_display import figures
from llava_edge.train.watch.throughput import Throughput

COST = Cost(token=7.0, pair=0.5, label=11.0, image=100.0)


def test_rates_are_counts_over_training_time() -> None:
    """The clock is read at each event: 10 s a reading."""
    ticks = count(0, 10)
    throughput = Throughput(COST, peak=50.0, processes=3, clock=lambda: float(next(ticks)))
    throughput.on_train_begin(None, None, None)  # 10
    throughput.add([4, 6], labels=3, images=1)
    throughput.add([5], labels=2, images=0)
    throughput.on_step_end(None, None, None)  # 20
    throughput.on_evaluate(None, None, None)  # 30: 10 s were no training
    throughput.on_save(None, None, None)  # 40: nor were these
    logs = {"loss": 1.0}
    throughput.on_log(None, None, None, logs)  # 50
    assert logs["seconds"] == 20
    assert logs["samples_per_second"] == pytest.approx(3 * 3 / 20)
    assert logs["tokens_per_second"] == pytest.approx(3 * 5 / 20)
    assert logs["all_tokens_per_second"] == pytest.approx(3 * 15 / 20)
    operations = 7 * 15 + 0.5 * (16 + 36 + 25) + 11 * 5 + 100
    assert logs["mfu"] == pytest.approx(operations / 20 / 50)
    assert logs["memory_bytes"] > 1e6


def test_no_more_than_the_peak_is_reported() -> None:
    """Whatever was faster than the measured peak, no share of it is made up."""
    ticks = count(0, 10)
    throughput = Throughput(COST, peak=0.5, clock=lambda: float(next(ticks)))
    throughput.add([9], labels=4, images=1)
    report = throughput.report()
    assert report["mfu"] is None
    shown = figures({"loss": 1.0, **report, "memory_bytes": None})
    assert shown.endswith("MFU above the measured peak")


def test_a_report_begins_where_the_last_one_ended() -> None:
    ticks = count(0, 10)
    throughput = Throughput(COST, peak=50.0, clock=lambda: float(next(ticks)))
    throughput.add([9], labels=4, images=1)
    throughput.report()
    assert throughput.report()["samples_per_second"] == 0


def test_what_is_no_report_of_the_loss_stays_as_it_is() -> None:
    logs = {"eval_loss": 1.0}
    Throughput(COST, peak=50.0).on_log(None, None, None, logs)
    assert logs == {"eval_loss": 1.0}
