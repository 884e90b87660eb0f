"""transformers and llama.cpp on the same GPU, in turns with llava-edge (see bench/peers)."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec

from llava_edge.bench.call_runtime import open_bundle
from llava_edge.bench.defaults import PROMPT
from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut, timing
from llava_edge.bench.gpu.models import bundle_of, checkpoint_of
from llava_edge.bench.gpu.picture_prompts import drawn_picture
from llava_edge.bench.gpu.random_gguf import write_random_gguf
from llava_edge.bench.peers.candidate import PeerSettings
from llava_edge.bench.peers.compare_peers import PeerComparison, compare_peers, our_settings
from llava_edge.bench.peers.peer_results import PeerResults, Sizes
from llava_edge.bench.summary import summarize

SIZES = {"full": Sizes(), "tiny": Sizes(prefill=12, context=20, tokens=3)}
PEERS = {  # and the libraries that each needs
    "transformers, float16": ("torch", "transformers"),
    "transformers, NF4": ("torch", "transformers", "accelerate", "bitsandbytes"),
    "llama.cpp, Q4_0": ("llama_cpp", "gguf"),
}


def measure(campaign: Campaign, name: str) -> Iterator[Finding | LeftOut]:
    """Every stage of each candidate; ratios are the peer's time over llava-edge's."""
    sizes, left_out = SIZES[campaign.size], dict[str, str]()
    model = open_bundle(bundle_of(campaign, name), campaign.device, campaign.amounts.context)
    ours = replace(our_settings(model, sizes), context=campaign.amounts.context)
    peers = []
    for title, libraries in PEERS.items():
        if missing := [library for library in libraries if find_spec(library) is None]:
            left_out[title] = f"{' and '.join(missing)} cannot be imported"
        else:
            peers.append(_settings(campaign, name, title, ours))
    image = drawn_picture(campaign.models)
    plan = PeerComparison([image], PROMPT, campaign.amounts.runs, sizes, starts=False)
    results = compare_peers(model, peers, plan, left_out)
    yield from _findings(results)
    yield from (LeftOut(title, why) for title, why in results.left_out.items())


def _settings(campaign: Campaign, name: str, title: str, ours: PeerSettings) -> PeerSettings:
    common = replace(ours, name=title, gpu=campaign.device == "cuda")
    if title.startswith("llama.cpp"):
        gguf = campaign.models / f"{name}.gguf"
        if not gguf.exists():
            write_random_gguf(gguf, campaign.shape(name))
        return replace(common, module="llamacpp", gguf=gguf)
    checkpoint = str(checkpoint_of(campaign, name))
    return replace(
        common, module="transformers_gpu", checkpoint=checkpoint, nf4=title.endswith("NF4")
    )


def _findings(results: PeerResults) -> Iterator[Finding]:
    sizes = results.sizes
    amounts = {"prefill": sizes.prefill, "decode": sizes.context}
    for candidate, stages in results.rounds.items():
        for stage, seconds in stages.items():
            ratio = results.ratios.get(candidate, {}).get(stage)
            title = f"{stage}: {candidate}"
            yield timing(title, summarize(seconds), at=amounts.get(stage), ratio=ratio)
