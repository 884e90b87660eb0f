"""Attention within each record of a packed row, by the implementation that transformers has."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from llava_edge.errors import TrainingError

PACKED = "llava_edge_packed"
NOT_COMPUTED = ("softcap", "s_aux")  # Gemma 2 caps its scores, and gpt-oss has attention sinks


@torch.no_grad()
def pack_attention(decoder: PreTrainedModel) -> None:
    """Make a decoder compute its attention within each record alone.

    Raises TrainingError if a layer would look beyond a record, since its attention is computed
    in another way (ALiBi in Falcon and BLOOM) or it has none (Mamba).
    """
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        nonlocal calls
        calls += 1
        return packed_attention(*args, **kwargs)

    ids = torch.zeros(1, 2, dtype=torch.long, device=decoder.device)
    AttentionInterface.register(PACKED, counted)
    try:
        decoder.set_attn_implementation(PACKED)
        decoder(ids, position_ids=torch.zeros_like(ids), segments=[0, 1, 2], use_cache=False)
    except (TypeError, ValueError) as error:  # it takes no segments, or no other attention
        raise _not_packable() from error
    finally:
        AttentionInterface.register(PACKED, packed_attention)
    if calls != decoder.config.num_hidden_layers:
        raise _not_packable()


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Sequence[int] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of query [1, H, S, d] over key and value [1, G, S, d], per segment.

    `segments` are the bounds 0, ..., S of the records; products between two records are never
    computed, so a packed row costs no more than its records do. Returns [1, S, H, d].
    """
    if segments is None or any(kwargs.get(name) is not None for name in NOT_COMPUTED):
        raise _not_packable()
    window = kwargs.get("sliding_window")
    lengths = [end - begin for begin, end in pairwise(segments)]
    # Split, not sliced: each slice's gradient would be a whole row of zeros, added up.
    parts = zip(*(rows.split(lengths, dim=2) for rows in (query, key, value)), strict=True)
    outputs = []
    for length, part in zip(lengths, parts, strict=True):
        mask = _window_mask(length, window, query) if window else None
        rows, _ = sdpa_attention_forward(module, *part, mask, **kwargs)
        outputs.append(rows)
    return torch.cat(outputs, dim=1), None


def _not_packable() -> TrainingError:
    return TrainingError(
        "This language model's attention cannot be computed in packed rows; "
        "set packing = false in the recipe."
    )


def _window_mask(length: int, window: int, like: Tensor) -> Tensor | None:
    """True [1, 1, s, s] where a token may look: at itself and the window - 1 before it."""
    if length <= window:
        return None
    distance = torch.arange(length, device=like.device)
    distance = distance[:, None] - distance[None, :]
    return ((distance >= 0) & (distance < window))[None, None]


def _no_mask(*args: object, **kwargs: object) -> None:
    """No mask is made: the segments say what it would."""


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)
