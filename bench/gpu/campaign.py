"""What the parts of a campaign share: its folder, its device, and how much is measured."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from llava_edge.bench.gpu.findings import PartOutcome, read_outcome
from llava_edge.bench.random_checkpoint import SHAPES, LlavaShape
from llava_edge.core.files import write_atomically
from llava_edge.core.strict import parse
from llava_edge.errors import UsageError
from llava_edge.runtime.devices.device import CPU, CUDA, Device

TINY_SHAPES = {"7b": "tiny", "2b": "tiny-shared"}  # which stand for the others
# No GPU: the CPU runs a GPU's graph, and all else goes as on a GPU.
IMITATED = replace(CPU, name="imitated", graph="gpu", separate=True, records=True)


@dataclass(frozen=True)
class Amounts:
    """How many tokens are measured, and how often."""

    contexts: tuple[int, ...]  # in the KV cache before decoding
    prompts: tuple[int, ...]  # prefilled
    decoded: int  # after each context
    runs: int
    context: int  # that models are opened with


FULL = Amounts((128, 600, 2048), (64, 128, 256, 512, 1024, 2048), 64, 7, 2560)
TINY = Amounts((8, 20, 40), (8, 16, 32), 4, 2, 1024)


@dataclass(frozen=True)
class Campaign:
    """The folder that everything is written to, the size of the models, and what runs them.

    `bundle` was made before, with graphs for cpu and gpu; `checkpoint` and `base` are what it was
    exported from.
    """

    folder: Path
    size: Literal["tiny", "full"] = "full"
    device: Literal["cuda", "cpu"] = "cuda"
    bundle: Path | None = None
    checkpoint: Path | None = None
    base: Path | None = None

    @property
    def gpu(self) -> Device:
        """The device that runs the graphs for GPUs."""
        return CUDA if self.device == "cuda" else IMITATED

    @property
    def amounts(self) -> Amounts:
        """How much is measured."""
        return FULL if self.size == "full" else TINY

    @property
    def models(self) -> Path:
        """Where checkpoints and bundles are made."""
        return self.folder / "models"

    def shape(self, name: str) -> LlavaShape:
        """A model's shape; at tiny size a small one stands for it."""
        return SHAPES[TINY_SHAPES.get(name, name) if self.size == "tiny" else name]

    def outcome_file(self, part: str) -> Path:
        """The file of a part's outcome."""
        return self.folder / "parts" / f"{part}.json"

    def outcome(self, part: str) -> PartOutcome | None:
        """A part's outcome; None if it has not begun."""
        return read_outcome(self.outcome_file(part))

    def log(self, part: str) -> Path:
        """The file of what a part's process prints."""
        return self.folder / "logs" / f"{part}.txt"


def open_folder(campaign: Campaign) -> None:
    """Make the campaign's folder, or continue in it; raises UsageError for another campaign's."""
    path = campaign.folder / "campaign.json"
    if path.exists():
        before = parse(Campaign, json.loads(path.read_text(encoding="utf-8")))
        if (before.size, before.device) != (campaign.size, campaign.device):
            raise UsageError(
                f"{campaign.folder} holds a campaign of size {before.size} on {before.device}; "
                "give the same --size and --device, or another folder."
            )
    try:
        campaign.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, as_json(campaign) + "\n")
    except OSError as error:
        raise UsageError(
            f"{campaign.folder} cannot be written ({error}); name another folder."
        ) from error


def as_json(campaign: Campaign) -> str:
    """JSON for the processes that run the parts."""
    return json.dumps(asdict(campaign), default=str)
