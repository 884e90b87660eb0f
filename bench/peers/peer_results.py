"""What a comparison with peers found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llava_edge.bench.machine_info import Machine
from llava_edge.bench.summary import Ratio, ratio_by_rounds

OURS = "llava-edge"
WITHOUT_TOWER = ", without the tower"  # a stage of a peer that is given our tower's rows

PeerRounds = Mapping[str, Mapping[str, Sequence[float]]]  # candidate -> stage -> seconds by round


@dataclass(frozen=True)
class Sizes:
    """Tokens: prefilled at once, in the KV cache before decoding, and decoded."""

    prefill: int = 512
    context: int = 600
    tokens: int = 64


@dataclass(frozen=True)
class PeerResults:
    """All that was measured; decode is seconds a token, memory is bytes."""

    command: str
    date: str
    machine: Machine
    versions: dict[str, str]  # of the peers' libraries
    bundle: str
    sizes: Sizes
    question_tokens: int
    rounds: dict[str, dict[str, tuple[float, ...]]]
    ratios: dict[str, dict[str, Ratio]]
    peak_memory: dict[str, int | None]
    left_out: dict[str, str]  # why


def ratios(rounds: PeerRounds) -> dict[str, dict[str, Ratio]]:
    """Every peer's seconds over llava-edge's; above 1, the peer takes longer.

    What a peer took without the tower is compared with the whole of llava-edge's stage.
    """
    ours = rounds[OURS]
    return {
        name: {
            stage: ratio_by_rounds(ours[stage.removesuffix(WITHOUT_TOWER)], seconds)
            for stage, seconds in stages.items()
        }
        for name, stages in rounds.items()
        if name != OURS
    }
