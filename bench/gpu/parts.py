"""The parts of a campaign, the most useful answers first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.models import ASYMMETRIC, bundle_of
from llava_edge.errors import UsageError

PACKAGE = "llava_edge.bench.gpu"
TINY = 10  # a part at tiny size takes at most a so-many-th of its time at full size
SHORTEST = 5  # seconds
SMALL = ("tiny", "tiny-shared")  # shapes that are made by the parts that ask about them
EXACT = ("tiny-none",)  # a bundle that parity-tiny makes, of 16 bits
ASKS = {  # by kind: the function, and what it asks
    "decode": (
        "decoder_speed:measure_decode",
        "a token after others, with and without a CUDA graph",
    ),
    "kernels": ("kernels:measure", "which kernels products and attention took"),
    "memory": ("memory_stages:measure", "the GPU's memory after each stage"),
    "peers": (
        "beside_peers:measure",
        "transformers in fp16 and NF4, and llama.cpp, in turns with ours",
    ),
    "pictures": (
        "picture_prompts:measure",
        "the tower, and the first token about a new and a known picture",
    ),
    "prefill": ("decoder_speed:measure_prefill", "prompts of several lengths"),
    "symmetry": ("zero_points:measure", "weights without zero points beside weights with them"),
}


@dataclass(frozen=True)
class CampaignPart:
    """A measurement in a process of its own; `call` is its MODULE:FUNCTION."""

    name: str
    asks: str
    call: str  # is given the campaign and `given`, and yields what it finds
    given: tuple[str, ...] = ()
    seconds: int = 60  # about, at full size on a large machine
    needs: tuple[str, ...] = ()  # models whose bundles it opens
    makes: tuple[str, ...] = ()

    def estimate(self, campaign: Campaign) -> int:
        """About how many seconds it takes."""
        return self.seconds if campaign.size == "full" else max(SHORTEST, self.seconds // TINY)

    def settled(self, campaign: Campaign, *, again: bool) -> bool:
        """Whether it has run and what it made is there; with `again`, also left nothing out."""
        found = campaign.outcome(self.name)
        if found is None or found.state == "begun":
            return False
        if again and (found.state == "failed" or found.left_out):
            return False
        made = all(bundle_of(campaign, name).exists() for name in self.makes)
        return made or found.state == "failed"

    def missing(self, campaign: Campaign) -> list[str]:
        """The models that it needs and that are not made yet."""
        return [name for name in self.needs if not bundle_of(campaign, name).exists()]

    def obstacle(self, campaign: Campaign) -> str:
        """Why it cannot run now; empty if it can."""
        if missing := self.missing(campaign):
            return f"the bundle {missing[0]}, which it opens, has not been made"
        if self.name == "parity-given" and campaign.bundle is None:
            return "no bundle was given with --bundle"
        return ""


def all_parts() -> list[CampaignPart]:
    """All parts, in the order in which they run."""
    original = "a small model beside transformers"
    given = "the bundle given with --bundle beside other devices and its checkpoint"
    demo = "stage 2 of the demo beside a plain Trainer"
    return [
        CampaignPart(
            "limits",
            "how fast the GPU copies and multiplies",
            _call("device_limits:measure"),
            (),
            30,
        ),
        *(_of_shape("kernels", name, seconds=30) for name in SMALL),
        *(_parity(name) for name in SMALL),
        _export("7b", 120),
        _of_shape("decode", "7b", seconds=90),
        _of_shape("kernels", "7b", seconds=60),
        CampaignPart(
            "parity-original", original, _call("parity:measure_original"), ("tiny",), 60, EXACT
        ),
        CampaignPart("parity-given", given, _call("parity:measure_given"), (), 90),
        _of_shape("prefill", "7b", seconds=45),
        _of_shape("pictures", "7b", seconds=60),
        _export(f"7b{ASYMMETRIC}", 120),
        replace(_of_shape("symmetry", "7b", seconds=90), needs=("7b", f"7b{ASYMMETRIC}")),
        _of_shape("memory", "7b", seconds=45),
        *(_in_less_memory("7b", size) for size in ("8", "12")),
        _of_shape("peers", "7b", seconds=240),
        _export("2b", 60),
        _of_shape("decode", "2b", seconds=60),
        _of_shape("prefill", "2b", seconds=45),
        _of_shape("pictures", "2b", seconds=60),
        *(part for recipe in ("v1.5-lora", "qlora") for part in _training(recipe)),
        CampaignPart("training-demo", demo, _call("beside_trainer:measure_demo"), (), 150),
    ]


def choose(names: str | None) -> list[CampaignPart]:
    """All parts, or those of a list with commas; raises UsageError for an unknown one."""
    parts = {part.name: part for part in all_parts()}
    if names is None:
        return list(parts.values())
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in parts]:
        raise UsageError(f'"{unknown[0]}" is not a part; --list prints them.')
    return [part for part in parts.values() if part.name in wanted]


def left_for_later(campaign: Campaign, parts: Sequence[CampaignPart]) -> list[CampaignPart]:
    """The parts that another call would run, with those that wait for one of them."""
    open_parts = [part for part in parts if not part.settled(campaign, again=False)]
    coming = {name for part in open_parts for name in part.makes}
    return [
        part
        for part in open_parts
        if not part.obstacle(campaign) or (part.needs and coming.issuperset(part.missing(campaign)))
    ]


def _call(function: str) -> str:
    """Of a MODULE:FUNCTION of this package."""
    return f"{PACKAGE}.{function}"


def _of_shape(kind: str, name: str, *, seconds: int) -> CampaignPart:
    """A kind of ASKS for a shape, whose bundle another part makes unless it is small."""
    function, asks = ASKS[kind]
    needs = () if name in SMALL else (name,)
    return CampaignPart(
        f"{kind}-{name}", f"{asks}, {name}", _call(function), (name,), seconds, needs
    )


def _parity(name: str) -> CampaignPart:
    asks = f"the GPU's logits beside the CPU's, and with and without a CUDA graph, {name}"
    makes = (f"{name}-none",)
    return CampaignPart(f"parity-{name}", asks, _call("parity:measure"), (name,), 30, makes=makes)


def _export(name: str, seconds: int) -> CampaignPart:
    asks = f"what random weights and their export cost, {name}"
    return CampaignPart(
        f"export-{name}", asks, _call("models:measure"), (name,), seconds, makes=(name,)
    )


def _in_less_memory(name: str, size: str) -> CampaignPart:
    asks = f"what a GPU of {size} GB would do, {name}"
    call = _call("memory_stages:measure_limited")
    return CampaignPart(f"memory-{size}gb", asks, call, (name, size), 60, (name,))


def _training(recipe: str) -> list[CampaignPart]:
    stage, given = f"{recipe}'s stage 2 at the 7B shape", (recipe, "7b")
    beside, kernels = f"{stage} beside a plain Trainer", f"which kernels a step of {stage} took"
    return [
        CampaignPart(f"training-{recipe}", beside, _call("beside_trainer:measure"), given, 240),
        CampaignPart(f"kernels-{recipe}", kernels, _call("beside_trainer:trace"), given, 90),
    ]
