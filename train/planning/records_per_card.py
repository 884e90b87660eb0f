"""What fits on cards of several sizes: the most records that each may compute at once."""

from dataclasses import dataclass

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from llava_edge.errors import TrainingError
from llava_edge.train.planning.memory_estimate import Batch, ModelShape
from llava_edge.train.planning.plan import Plan, StagePlan, stage_memory
from llava_edge.train.recipe import Recipe

SHARE = 0.9  # of a card's memory; driver, allocator and gaps between what it gives have the rest


@dataclass(frozen=True)
class Cards:
    """So many devices, each with so many gigabytes."""

    count: int
    gigabytes: int

    def __str__(self) -> str:
        return f"{self.count} x {self.gigabytes} GB"


@dataclass(frozen=True)
class Fit:
    """The largest device batch that fits, and the bytes that the plan counts for it."""

    device_batch: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.device_batch} in {decimal(self.bytes)}"


CARDS = (Cards(1, 12), Cards(1, 24), Cards(2, 24), Cards(4, 24), Cards(8, 80))


def print_fits(plan: Plan) -> None:
    """Print what fits on each card in each stage; raises TrainingError without a model's shape."""
    if plan.shape is None:
        models = " and ".join(plan.recipe.models)
        raise TrainingError(
            f"What fits is not known without the configurations of {models}; correct the recipe, "
            "or make what is missing."
        )
    table = Table("", *plan.stages)
    for cards in CARDS:
        stages = plan.stages.values()
        fits = [largest_fit(plan.recipe, plan.shape, stage, cards) for stage in stages]
        table.add_row(str(cards), *(str(fit) if fit else "too large" for fit in fits))
    console = Console(highlight=False, markup=False)
    title = f"{plan.recipe.name}: the largest device batch that fits {SHARE:.0%} of each card"
    console.print(f"{title}, and its memory by estimate", soft_wrap=True)
    console.print(table)


def largest_fit(recipe: Recipe, shape: ModelShape, plan: StagePlan, cards: Cards) -> Fit | None:
    """The most records that fit, up to a card's share of a step; None if not even one fits."""
    share = plan.stage.share(cards.count)
    for records in (count for count in range(share, 0, -1) if share % count == 0):
        batch = Batch(records, plan.tokens, plan.labelled)
        needed = stage_memory(recipe, shape, plan.stage, batch, cards.count).total
        if needed <= SHARE * cards.gigabytes * 1e9:
            return Fit(records, needed)
    return None
