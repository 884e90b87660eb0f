"""Goals are judged by what was found at the sizes that they name."""

from llava_edge.bench.gpu.decoder_speed import RECORDED
from llava_edge.bench.gpu.device_limits import COPY
from llava_edge.bench.gpu.findings import Finding, PartOutcome
from llava_edge.bench.gpu.goals import goals
from llava_edge.bench.summary import Ratio


def test_goals_are_met_or_missed() -> None:
    def of(part: str, *findings: Finding) -> PartOutcome:
        return PartOutcome(part, "done", findings=findings)

    slow_card = of("limits", Finding(COPY, 1000.0, "GB/s"))
    fast_card = of("limits", Finding(COPY, 3000.0, "GB/s"))
    decode = of("decode-7b", Finding(RECORDED, 10.0, "ms", at=600, least=6.5))
    prefill = of(
        "prefill-7b",
        Finding("prefill", 10.0, "ms", at=64, least=1.0),  # too short to be judged
        Finding("prefill", 10.0, "ms", at=1024, least=5.0),
    )
    peers = of(
        "peers-7b",
        Finding("decode: llama.cpp, Q4_0", 9.0, "ms", ratio=Ratio(0.9, 0.8, 1.0)),
        Finding("decode: transformers, float16", 9.0, "ms", ratio=Ratio(0.5, 0.5, 0.5)),
    )
    training = of("training-qlora", Finding("MFU: ours", 41.0, "%"))
    outcomes = {one.part: one for one in (fast_card, decode, prefill, peers, training)}
    assert [goal.met for goal in goals(outcomes)] == [True, True, False, True]
    assert next(goal.met for goal in goals(outcomes | {"limits": slow_card})) is False
    assert goals({}) == []
