"""The floating point operations that training needs and a device could do, for the MFU.

Counted as in PaLM's appendix B (arXiv 2204.02311): a product with a weight matrix takes 2
operations a weight and token, attention is counted in full, and what gradient checkpointing
computes again is not counted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from llava_edge.train.models.learner import learns, tower_rows
from llava_edge.train.models.llava_kind import AnyLlava

# Dense bf16 products summed in fp32, from NVIDIA's data sheets and architecture whitepapers; the
# names are torch.cuda.get_device_name's, without the maker's.
BF16_PEAKS = {
    r"A100.*": 312e12,
    r"H100 80GB HBM3": 989e12,
    r"H100 PCIe": 756e12,
    r"H100 NVL|H200 NVL": 835e12,
    r"H200": 989e12,
    r"L4": 121e12,
    r"L40S": 362e12,
    r"A10": 125e12,
    r"RTX A6000": 154.8e12,
    r"GeForce RTX 3090": 71e12,
    r"GeForce RTX 4090": 165.2e12,
    r"GeForce RTX 5090": 209.5e12,
}
MEASURED_SIZES = {"cpu": (512, 1024), "cuda": (8192,)}  # rows and columns of the products


@dataclass(frozen=True)
class Cost:
    """Floating point operations of training, forward and backward."""

    token: float  # the language model's products with its weights
    pair: float  # attention of one token to one of its record's
    label: float  # the head, which is computed where a token counts in the loss
    image: float  # of a view: the tower, unless its features are cached, and the projector

    def operations(self, lengths: Sequence[int], labels: int, images: int) -> float:
        """For a batch: its records' lengths in tokens, the labels that count and the views."""
        pairs = sum(length**2 for length in lengths)
        rows = self.token * sum(lengths) + self.pair * pairs
        return rows + self.label * labels + self.image * images


def training_cost(llava: AnyLlava, image_size: int, *, cached: bool = False) -> Cost:
    """The cost of training the parts that learn, with pictures of `image_size` pixels a side.

    `cached` features need no tower. Frozen weights pass the gradient on to their inputs but
    receive none themselves. If adapters learn alone, the first layer's inputs need no gradient
    either; it is counted all the same.
    """
    config, parts = llava.config.text_config, llava.model
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    tower = 0.0 if cached else _tower(llava, image_size)
    projector = llava.config.image_seq_length * _projector(parts.multi_modal_projector)
    return Cost(
        token=sum(map(_linear, _linears(parts.language_model))),
        pair=3 * 4.0 * config.num_hidden_layers * heads * head_dim,
        label=_linear(llava.lm_head),
        image=tower + projector,
    )


def peak_operations(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that the device could do in this dtype.

    For known NVIDIA cards in bf16 the maker's figure; else what the fastest of a few short products
    reaches, in this dtype or in fp32: a CPU without bf16 instructions is slower in bf16.
    """
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        if (known := known_peak(name)) is not None:
            return known
    return max(_measured_peak(device, dtype), _measured_peak(device, torch.float32))


def known_peak(name: str) -> float | None:
    """The maker's figure for a card of this name, in bf16."""
    name = name.removeprefix("NVIDIA ")
    return next((peak for known, peak in BF16_PEAKS.items() if re.fullmatch(known, name)), None)


@cache
def _measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    return max(_product_rate(device, dtype, size) for size in MEASURED_SIZES[device.type])


def _product_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    timer = Timer(  # as a linear layer multiplies
        "matrix @ matrix.T", globals={"matrix": matrix}, num_threads=torch.get_num_threads()
    )
    return 2 * size**3 / float(min(timer.blocked_autorange(min_run_time=0.2).times))


def _linear(layer: nn.Linear, *, to_inputs: bool = True) -> float:
    """A row's operations: forward, the gradient of the inputs, and that of weights that learn."""
    # Not the weight's own shape, which is a packed one where it is quantized.
    weights: int = layer.in_features * layer.out_features
    products: int = 1 + to_inputs + layer.weight.requires_grad
    return 2.0 * weights * products


def _projector(projector: nn.Module) -> float:
    """For one row; before the first layer that learns, nothing needs a gradient."""
    total, learns = 0.0, False
    for layer in _linears(projector):
        total += _linear(layer, to_inputs=learns)
        learns = learns or layer.weight.requires_grad
    return total


def _linears(part: nn.Module) -> list[nn.Linear]:
    return [module for module in part.modules() if isinstance(module, nn.Linear)]


def _tower(llava: AnyLlava, size: int) -> float:
    """For one view, counted by torch: a tower may have convolutions as well as products."""
    tower = llava.model.vision_tower
    pixels = torch.zeros(1, 3, size, size, device=tower.device, dtype=tower.dtype)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:  # the CPU's fused attention is not counted
        rows = tower_rows(llava, pixels)
        if learns(tower):
            learned = [p for p in tower.parameters() if p.requires_grad]
            torch.autograd.grad(rows.float().sum(), learned)
    return float(counter.get_total_flops())
