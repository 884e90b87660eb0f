"""The goals on a GPU, and what was found for each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llava_edge.bench.gpu.decoder_speed import RECORDED
from llava_edge.bench.gpu.device_limits import COPY
from llava_edge.bench.gpu.findings import Finding, PartOutcome
from llava_edge.bench.gpu.picture_prompts import FIRST

SMALL_CARD = 1500  # GB/s; below, launches take less of a token's time
LONG = 512  # tokens of a prompt, from which on the arithmetic outweighs reading the weights
RIVALS = ("llama.cpp, Q4_0", "transformers, NF4")


@dataclass(frozen=True)
class Goal:
    """What is wanted of a finding, and what was found."""

    wanted: str
    found: str
    met: bool


def goals(outcomes: Mapping[str, PartOutcome]) -> list[Goal]:
    """The goals that the outcomes, by part, can decide."""
    return [
        *_shares(outcomes, "decode-7b", RECORDED, _decode_share(outcomes), 0),
        *_shares(outcomes, "prefill-7b", "prefill", 0.45, LONG),
        *_shares(outcomes, "pictures-7b", FIRST, 0.5, 0),
        *_ahead(outcomes),
        *_training(outcomes),
    ]


def _decode_share(outcomes: Mapping[str, PartOutcome]) -> float:
    limits = outcomes.get("limits")
    bandwidth = limits.value(COPY) if limits else None
    return 0.7 if bandwidth and bandwidth < SMALL_CARD else 0.6


def _shares(
    outcomes: Mapping[str, PartOutcome], part: str, name: str, share: float, from_tokens: int
) -> Iterator[Goal]:
    for one in _findings(outcomes, part):
        if one.name == name and one.share is not None and (one.at or LONG) >= from_tokens:
            after = f" at {one.at:,}" if one.at else ""
            wanted = f"{part}: {name}{after}, {share:.0%} of the roofline or more"
            yield Goal(wanted, f"{one.share:.0%}", one.share >= share)


def _ahead(outcomes: Mapping[str, PartOutcome]) -> Iterator[Goal]:
    for one in _findings(outcomes, "peers-7b"):
        if one.ratio is not None and one.name.endswith(RIVALS):
            median = one.ratio.median
            yield Goal(f"peers-7b: ahead in {one.name}", f"{median:.2f} times", median > 1)


def _training(outcomes: Mapping[str, PartOutcome]) -> Iterator[Goal]:
    for part in ("training-v1.5-lora", "training-qlora", "training-demo"):
        for one in _findings(outcomes, part):
            if one.name == "MFU: ours" and one.value is not None:
                yield Goal(f"{part}: MFU of 40% or more", f"{one.value:.0f}%", one.value >= 40)


def _findings(outcomes: Mapping[str, PartOutcome], part: str) -> tuple[Finding, ...]:
    return outcomes[part].findings if part in outcomes else ()
