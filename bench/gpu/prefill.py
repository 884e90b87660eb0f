"""A prompt of so many tokens, read after nothing."""

from collections.abc import Iterator

from llava_edge.bench.answer_stages import decode
from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, timings
from llava_edge.bench.gpu.models import open_model, roofline_of


def measure(campaign: Campaign, name: str) -> Iterator[Finding]:
    """Seconds until the logits of its last token are there."""
    model = open_model(campaign, name)
    roof = roofline_of(campaign, model)
    for tokens in campaign.amounts.prompts:
        list(decode(model, tokens, 0))  # warms up
        runs = [decode(model, tokens, 0) for _ in range(campaign.amounts.runs)]
        yield from timings((sample for run in runs for sample in run), roof)
