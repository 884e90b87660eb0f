"""Stage 2 of shipped recipes and of the demo, in turns with a plain Trainer."""

import json
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut
from llava_edge.bench.gpu.traces import slowest
from llava_edge.bench.random_checkpoint import write_random_language_model, write_random_tower
from llava_edge.bench.training.compare_training import TrainingComparison, compare_training
from llava_edge.bench.training.training_results import OURS, TrainingResults

RECORDS = {"full": 64, "tiny": 8}
SIDE = 400  # pixels of each record's picture
ANSWER = (40, 360)  # letters, each of which is a token
BATCHES = {  # records a step, and those computed at once
    "full": {"v1.5-lora": (32, 16), "qlora": (16, 2)},
    "tiny": {"v1.5-lora": (4, 2), "qlora": (4, 2)},
}
ROUNDS = {"full": (3, 2), "tiny": (1, 1)}  # and steps in each
RATES = {"tokens": "tokens that count", "all_tokens": "all tokens"}


def measure(campaign: Campaign, recipe: str, name: str) -> Iterator[Finding | LeftOut]:
    """Stage 2 of a shipped recipe, with random weights of a shape and random records."""
    yield from _compared(campaign, recipe, lambda: _overrides(campaign, recipe, name))


def trace(campaign: Campaign, recipe: str, name: str) -> Iterator[Finding | LeftOut]:
    """The slowest kernels of one step of this, as llava-edge trains it."""
    from llava_edge.bench.training.candidates import ours
    from llava_edge.bench.training.given import TrainingSettings, read

    with TemporaryDirectory() as folder:
        settings = TrainingSettings(
            name=OURS,
            plain=False,
            cached=False,
            recipe=recipe,
            overrides=_overrides(campaign, recipe, name),
            stage="stage2",
            records=BATCHES[campaign.size][recipe][0],  # a step's
            steps=1,
            out=Path(folder),
        )
        candidate = ours(read(settings))
        yield from slowest(campaign, f"a step of {recipe}", candidate.train)


def _overrides(campaign: Campaign, recipe: str, name: str) -> tuple[str, ...]:
    """Overrides that name what the recipe reads, which is made here if it is missing."""
    folder = campaign.models / f"training-{name}"
    if not (folder / "records.json").exists():
        _write(campaign, name, folder)
    batch, at_once = BATCHES[campaign.size][recipe]
    overrides = [
        f"vision_tower={folder / 'tower'}",
        f"language_model={folder / 'language_model'}",
        "feature_cache=0",  # one candidate less beside the others in the GPU's memory
        f"stage2.batch_size={batch}",
        f"stage2.device_batch_size={at_once}",
    ]
    if campaign.size == "tiny":  # narrower than the recipes' ranks, on a CPU that is slow in bf16
        overrides += ["precision=fp32", "stage2.lora.rank=4"]
    for stage in ("stage1", "stage2"):
        overrides.append(f'{stage}.data.records=["{(folder / "records.json").as_posix()}"]')
        overrides.append(f"{stage}.data.images={folder}")
    return tuple(overrides)


def measure_demo(campaign: Campaign) -> Iterator[Finding | LeftOut]:
    """Stage 2 of the demo's recipe, if its models and data were made."""
    from llava_edge.train.recipe import load_recipe

    if missing := load_recipe("emoji").missing:
        yield LeftOut(
            "the demo's stage 2",
            f"{missing[0]} does not exist; examples/emoji/README.md says how to make it",
        )
        return
    yield from _compared(campaign, "emoji", tuple)


def _compared(
    campaign: Campaign, recipe: str, overrides: Callable[[], tuple[str, ...]]
) -> Iterator[Finding | LeftOut]:
    import accelerate  # noqa: F401  # before models are made for nothing
    import peft  # noqa: F401

    rounds, steps = ROUNDS[campaign.size]
    plan = TrainingComparison(recipe, overrides(), "stage2", RECORDS[campaign.size], rounds, steps)
    yield from training_findings(compare_training(plan))


def training_findings(results: TrainingResults) -> Iterator[Finding]:
    """Ratios are those of a candidate over the plain Trainer."""
    for candidate, found in results.figures.items():
        ratios = results.ratios[candidate].rates if candidate in results.ratios else {}
        for kind, title in RATES.items():
            rate = found.rates[kind]
            yield Finding(
                f"{title}: {candidate}",
                rate.median,
                "/s",
                quartiles=rate.quartiles,
                runs=rate.runs,
                ratio=ratios.get(kind),
            )
        yield Finding(f"MFU: {candidate}", 100 * found.mfu, "%")
        yield Finding(f"a step: {candidate}", found.step_seconds.median, "s")
        yield Finding(f"padding: {candidate}", 100 * found.padding, "%")
        yield Finding(f"first loss: {candidate}", found.first_loss)
        if found.peak_memory is not None:
            yield Finding(f"peak memory: {candidate}", found.peak_memory / 1e9, "GB")


def _write(campaign: Campaign, name: str, folder: Path) -> None:
    """Write the models, the pictures and, last, the records."""
    shutil.rmtree(folder, ignore_errors=True)
    shape = campaign.shape(name)
    write_random_tower(folder / "tower", shape)
    write_random_language_model(folder / "language_model", shape)
    random = np.random.default_rng(0)
    records = []
    for number in range(RECORDS[campaign.size]):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
        letters = random.choice(list(string.ascii_lowercase), random.integers(*ANSWER))
        question = {"from": "human", "value": "<image>\nWhat is in the picture?"}
        answer = {"from": "gpt", "value": "".join(letters)}
        records.append(
            {"id": str(number), "image": f"{number}.jpg", "conversations": [question, answer]}
        )
    (folder / "records.json").write_text(json.dumps(records), encoding="utf-8")
