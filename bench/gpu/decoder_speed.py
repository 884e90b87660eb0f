"""How fast the language model reads prompts, and decodes with and without a CUDA graph."""

from collections.abc import Iterator
from dataclasses import replace

from llava_edge.bench.answer_stages import decode
from llava_edge.bench.call_runtime import timed
from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut, timings
from llava_edge.bench.gpu.models import bundle_of, open_model, open_on, roofline_of

RECORDED, EAGER = "decode, CUDA graph", "decode, no graph"


def measure_decode(campaign: Campaign, name: str) -> Iterator[Finding | LeftOut]:
    """Seconds for a token after so many others, its greedy choice included."""
    amounts = campaign.amounts
    for title, records in ((RECORDED, True), (EAGER, False)):
        device = replace(campaign.gpu, records=records)
        bundle = bundle_of(campaign, name)
        seconds, model = timed(
            lambda path=bundle, on=device: open_on(path, on, amounts.context)  # type: ignore[misc]
        )
        yield Finding(f"load, {title.removeprefix('decode, ')}", seconds, "s")
        if model.decoder.not_recorded:
            yield LeftOut(title, model.decoder.not_recorded)
            continue
        roof = roofline_of(campaign, model)
        for context in amounts.contexts:
            list(decode(model, context, 2))  # warms up
            samples = decode(model, context, amounts.decoded)
            for found in timings((one for one in samples if one.kind == "decode"), roof):
                yield replace(found, name=title)
        del model


def measure_prefill(campaign: Campaign, name: str) -> Iterator[Finding]:
    """Seconds to read a prompt of so many tokens into an empty KV cache, with its last logits."""
    model = open_model(campaign, name)
    roof = roofline_of(campaign, model)
    for tokens in campaign.amounts.prompts:
        list(decode(model, tokens, 0))  # warms up
        runs = [decode(model, tokens, 0) for _ in range(campaign.amounts.runs)]
        yield from timings((sample for run in runs for sample in run), roof)
