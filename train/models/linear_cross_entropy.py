"""The cross-entropy of a linear head, computed without holding all of its logits at once.

torch has such a function since 2.13. It sums in the type of its input, and bf16 keeps three digits;
and it does not follow autocast, under which a head that learns is held in fp32.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Of a chunk's logits in fp32: 2,097 rows of 32,000. The more rows, the less often the head is read
# and its gradient added to; all logits of 32 records of 1,472 labels would take 6 GB.
CHUNK = 2**28  # bytes


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = CHUNK
) -> Tensor:
    """The sum of the cross-entropies of targets [n] under the logits hidden [n, D] x weight [V, D].

    Products are computed in autocast's type where it is on. The gradients equal those of the
    plain computation. They are computed together with the loss, a chunk of rows at a time, as
    Liger does (arXiv 2410.10989); so `backward` may be called once.
    """
    if not torch.is_grad_enabled():
        hidden, weight = hidden.detach(), weight.detach()
    total: Tensor = _LinearCrossEntropy.apply(
        hidden, weight, targets, rows_at_once(len(weight), chunk)
    )
    return total


def rows_at_once(vocabulary: int, chunk: int = CHUNK) -> int:
    """How many rows of logits a chunk of so many bytes holds."""
    return max(1, chunk // (4 * vocabulary))


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        sums = torch.promote_types(weight.dtype, torch.float32)
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight, dtype=sums) if ctx.needs_input_grad[1] else None
        total = hidden.new_zeros((), dtype=sums)
        head = weight.to(_product_type(weight))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            inputs = hidden[part].to(head.dtype)
            losses, gradient = _of_logits(F.linear(inputs, head), targets[part], sums)
            total += losses
            gradient = gradient.to(head.dtype)
            if of_hidden is not None:
                of_hidden[part] = gradient @ head
            if of_weight is not None:
                of_weight += gradient.T @ inputs
            del gradient  # before there are other logits
        ctx.gradients = of_hidden, of_weight
        return total

    @staticmethod
    def backward(ctx: Any, *scales: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # they are handed on, and not copied
        (scale,) = scales
        return (*(None if each is None else each.mul_(scale) for each in gradients), None, None)


def _of_logits(logits: Tensor, targets: Tensor, sums: torch.dtype) -> tuple[Tensor, Tensor]:
    """The summed cross-entropies, and their gradient: softmax, less 1 at the targets [n, V]."""
    log_probabilities = logits.log_softmax(-1, dtype=sums)
    total = F.nll_loss(log_probabilities, targets, reduction="sum")
    gradient = log_probabilities.exp_()
    gradient[torch.arange(len(targets), device=targets.device), targets] -= 1
    return total, gradient


def _product_type(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
