"""Weights without zero points beside weights with them, measured in turns."""

from collections import defaultdict
from collections.abc import Iterator

from llava_edge.bench.answer_stages import decode
from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, timing
from llava_edge.bench.gpu.models import ASYMMETRIC, open_model
from llava_edge.bench.peers.compare_peers import rotated
from llava_edge.bench.summary import ratio_by_rounds, summarize


def measure(campaign: Campaign, name: str) -> Iterator[Finding]:
    """Prefill and decode at one context, round by round; ratios are asymmetric over symmetric."""
    amounts = campaign.amounts
    context = amounts.contexts[1]
    names = {"symmetric": name, "asymmetric": name + ASYMMETRIC}
    models = {title: open_model(campaign, model) for title, model in names.items()}
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(1 + amounts.runs):
        for title in rotated(list(models), number):
            samples = list(decode(models[title], context, amounts.decoded))
            for kind in ("prefill", "decode") if number else ():
                of_kind = [sample.seconds for sample in samples if sample.kind == kind]
                seconds[title, kind].append(summarize(of_kind).median)
    for kind in ("prefill", "decode"):
        first, second = (seconds[title, kind] for title in models)
        yield timing(f"{kind}, symmetric", summarize(first), at=context)
        ratio = ratio_by_rounds(first, second)
        yield timing(f"{kind}, asymmetric", summarize(second), at=context, ratio=ratio)
