"""What fits on cards of several sizes, and that the documentation says the same."""

from pathlib import Path

import pytest
from places import ROOT

from llava_edge.errors import TrainingError
from llava_edge.train.planning.memory_estimate import Batch
from llava_edge.train.planning.plan import Plan, StagePlan, make_plan, stage_memory
from llava_edge.train.planning.records_per_card import CARDS, SHARE, Cards, largest_fit, print_fits
from llava_edge.train.recipe import load_recipe
from llava_edge.train.recipe_file import shipped_names

DOCUMENT = ROOT / "docs" / "training.md"
DOCUMENTED = [(name, "") for name in shipped_names()] + [("v1.5-lora", "fsdp")]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no data is."""
    monkeypatch.chdir(tmp_path)


def planned(name: str, *overrides: str) -> Plan:
    return make_plan(load_recipe(name, overrides))


@pytest.mark.parametrize("cards", CARDS, ids=str)
def test_the_largest_batch_fits_and_a_larger_one_does_not(cards: Cards) -> None:
    plan = planned("qlora")
    assert plan.shape is not None
    for stage in plan.stages.values():

        def total(records: int, stage: StagePlan = stage) -> int:
            batch = Batch(records, stage.tokens, stage.labelled)
            return stage_memory(plan.recipe, plan.shape, stage.stage, batch, cards.count).total

        fit = largest_fit(plan.recipe, plan.shape, stage, cards)
        assert fit and fit.bytes == total(fit.device_batch) <= SHARE * cards.gigabytes * 1e9
        share = stage.stage.share(cards.count)
        larger = 2 * fit.device_batch
        assert larger > share or total(larger) > SHARE * cards.gigabytes * 1e9


def test_a_batch_that_is_too_large_alone() -> None:
    plan = planned("v1.5")
    assert plan.shape is not None
    assert largest_fit(plan.recipe, plan.shape, plan.stages["stage2"], Cards(1, 24)) is None


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_fits(planned("scienceqa"))
    output = capsys.readouterr().out
    assert all(str(cards) in output for cards in CARDS)
    assert "too large" in output and "16 in " in output


def test_a_model_that_is_not_there_fits_nowhere() -> None:
    with pytest.raises(TrainingError, match="configurations of nowhere and"):
        print_fits(planned("v1.5", "vision_tower=nowhere"))


@pytest.mark.parametrize(("name", "parallel"), DOCUMENTED)
def test_the_documentation_has_the_plans_figures(name: str, parallel: str) -> None:
    plan = planned(name, *([f"parallel={parallel}"] if parallel else []))
    assert plan.shape is not None
    lines = DOCUMENT.read_text().splitlines()
    for stage in plan.stages:
        fits = [largest_fit(plan.recipe, plan.shape, plan.stages[stage], c) for c in CARDS]
        recipe = f"`{name}`" + (f", `{parallel}`" if parallel else "")
        cells = [str(fit) if fit else "too large" for fit in fits]
        assert f"| {recipe}, {stage} | {' | '.join(cells)} |" in lines
