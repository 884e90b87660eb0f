"""Which kernels ran and for how long, from torch's profiler, which traces the whole process."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut

MOST = 12  # kernels that are named


def obstacle(campaign: Campaign) -> LeftOut | None:
    """Why onnxruntime's kernels cannot be traced; None if they can."""
    what = "the names of CUDA's kernels"
    if campaign.device != "cuda":
        return LeftOut(what, "there is no GPU")
    if find_spec("torch") is None:
        return LeftOut(what, "torch, whose profiler reads them, is not installed")
    return None


def slowest(
    campaign: Campaign, title: str, call: Callable[[], object]
) -> Iterator[Finding | LeftOut]:
    """The slowest kernels of a call on the GPU; without a GPU, torch's operators."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    cuda = campaign.device == "cuda"
    if cuda:
        torch.cuda.init()  # or nothing is traced where torch has not computed yet
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as traced:
        call()

    def microseconds(one: Any) -> float:
        return float(one.self_device_time_total if cuda else one.self_cpu_time_total)

    kernels = sorted(traced.key_averages(), key=microseconds, reverse=True)
    total = sum(map(microseconds, kernels))
    if not total:
        yield LeftOut(f"kernels of {title}", "the profiler saw none; CUPTI may not be allowed here")
        return
    for one in kernels[:MOST]:
        words = f"{microseconds(one) / total:.0%} in {one.count} of {one.key[:120]}"
        yield Finding(f"kernels of {title}", microseconds(one) / 1000, "ms", words=words)
