"""The head's loss in chunks against the plain computation, and what of it stands at once."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from llava_edge.train.models.linear_cross_entropy import linear_cross_entropy, rows_at_once

ROWS, WIDTH, VOCABULARY = 23, 11, 37
CHUNKS = {"one row": 1, "13 rows": 13 * VOCABULARY * 4, "all rows": 2**28}


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden, weight)
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(logits.to(wide), targets, reduction="sum")


def drawn(
    dtype: torch.dtype, *, learns: bool = True, rows: int = ROWS
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=dtype)
    targets = torch.randint(VOCABULARY, (rows,), generator=generator)
    return hidden, weight.requires_grad_(learns), targets


def loss_and_gradients(loss: Tensor, hidden: Tensor, weight: Tensor) -> list[Tensor | None]:
    (loss / 7).backward()  # as by the number of items in a batch
    return [loss.detach(), hidden.grad, weight.grad]


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("learns", [True, False], ids=["head learns", "head frozen"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["fp64", "fp32"]
)
def test_loss_and_gradients_are_the_plain_ones(
    dtype: torch.dtype, tolerance: float, learns: bool, chunk: int
) -> None:
    hidden, weight, targets = drawn(dtype, learns=learns)
    ours = loss_and_gradients(linear_cross_entropy(hidden, weight, targets, chunk), hidden, weight)
    hidden, weight, targets = drawn(dtype, learns=learns)
    theirs = loss_and_gradients(plain(hidden, weight, targets), hidden, weight)
    assert (ours[2] is not None) == learns
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("held", [torch.float32, torch.bfloat16], ids=["held fp32", "held bf16"])
def test_products_are_of_autocasts_type(held: torch.dtype) -> None:
    """A head that learns is held in fp32, a frozen one in bf16; both multiply in bf16."""

    def computed(chunk: int | None) -> list[Tensor | None]:
        hidden, weight, targets = drawn(torch.float32)
        weight = weight.detach().to(held).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (
                linear_cross_entropy(hidden, weight, targets, chunk)
                if chunk
                else plain(hidden, weight, targets)
            )
        return loss_and_gradients(loss, hidden, weight)

    ours, theirs = computed(CHUNKS["13 rows"]), computed(None)
    assert [each.dtype for each in ours if each is not None] == [torch.float32] * 2 + [held]
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours[1:], theirs[1:], atol=2e-2, rtol=2e-2)


def test_no_rows_have_no_loss_and_no_gradient() -> None:
    hidden, weight, targets = drawn(torch.float32, rows=0)
    loss, _, gradient = loss_and_gradients(
        linear_cross_entropy(hidden, weight, targets), hidden, weight
    )
    assert loss == 0 and gradient is not None and not gradient.any()


@pytest.mark.parametrize("training", [True, False])
def test_no_tensor_is_larger_than_a_chunk_of_logits(training: bool) -> None:
    hidden, weight, targets = drawn(torch.float32)
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                sizes.append(result.numel())
            return result

    with Sizes(), torch.set_grad_enabled(training):
        loss = linear_cross_entropy(hidden, weight, targets, CHUNKS["13 rows"])
    assert loss.requires_grad == training
    assert max(sizes) == 13 * VOCABULARY > weight.numel()


def test_a_chunk_holds_a_row_at_least() -> None:
    assert rows_at_once(32_000) == 2097
    assert rows_at_once(10, chunk=1) == 1
