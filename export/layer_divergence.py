"""What 4 bits cost in each linear layer of the language model, measured.

One layer at a time is quantized in transformers' model, and the distribution of the next token is
compared with the original's, on answers about pictures and on text.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.record_types import Record
from llava_edge.export.comparison_samples import conversation_samples, text_samples
from llava_edge.export.graphs.decoder_graph import linear_layers
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.progress_bars import step_bar
from llava_edge.export.quantization.precision import Precision, dequantized
from llava_edge.export.reference import Reference
from llava_edge.export.sensitivity_file import Sensitivity
from llava_edge.runtime.scoring import Sample

RECORDS = 12
TEXTS = 2


@dataclass(frozen=True)
class _Prompt:
    """A sample on its way through the layers."""

    hidden: Tensor  # [1, S, D], what enters the layer that is looked at
    options: Sequence[Mapping[str, Any]]  # of each layer
    positions: Tensor  # [P]
    expected: Tensor  # [P, V], the original's log probabilities


@torch.no_grad()
def measure(
    checkpoint: Checkpoint, precision: Precision, records: Sequence[Record] | None = None
) -> Sensitivity:
    """Quantize each linear layer alone, as `precision` says.

    `records` are measured on, instead of drawn pictures that the original describes.
    """
    reference, tokenizer = Reference(checkpoint), Tokenizer(checkpoint.tokenizer)
    samples = [
        *conversation_samples(
            reference, checkpoint.prompt, checkpoint.stop_ids, tokenizer, records, RECORDS
        ),
        *text_samples(tokenizer)[:TEXTS],
    ]
    language = reference.model.model.language_model
    layers = language.layers
    prompts = [_prompt(reference, sample) for sample in samples]
    divergence: dict[str, float] = {}
    for index in step_bar("Measuring layers", range(len(layers))):
        for name, modules in linear_layers(index):
            found = [layers[index].get_submodule(module) for module in modules]
            with _quantized(name, found, precision):
                divergence[name] = _divergence(reference, prompts, index)
        prompts = [_advanced(prompt, layers[index], index) for prompt in prompts]
    tokens = sum(len(prompt.positions) for prompt in prompts)
    return Sensitivity(precision.scheme, precision.blocks, tokens, divergence)


def _prompt(reference: Reference, sample: Sample) -> _Prompt:
    """Run the original once and keep what each layer was given beside the hidden states."""
    language = reference.model.model.language_model
    picture = None if sample.picture is None else reference.encode(sample.picture)
    targets = sample.targets(0 if picture is None else len(picture))
    hidden: list[Tensor] = []
    options: list[Mapping[str, Any]] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        hidden.append(args[0])
        options.append({name: value for name, value in kwargs.items() if "past_key" not in name})

    hooks = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in language.layers]
    rows = sample.rows(reference.embed, picture)
    expected = reference.score(rows, targets.positions.tolist())
    for hook in hooks:
        hook.remove()
    device = hidden[0].device
    return _Prompt(
        hidden[0],
        options,
        torch.from_numpy(targets.positions).to(device),
        torch.from_numpy(expected).to(device).log_softmax(-1),
    )


def _advanced(prompt: _Prompt, layer: nn.Module, index: int) -> _Prompt:
    hidden = _run(layer, prompt.hidden, prompt.options[index])
    return _Prompt(hidden, prompt.options, prompt.positions, prompt.expected)


def _divergence(reference: Reference, prompts: Sequence[_Prompt], start: int) -> float:
    """The mean KL divergence with the layers as they are now, from layer `start` on."""
    language = reference.model.model.language_model
    total, count = 0.0, 0
    for prompt in prompts:
        hidden = prompt.hidden
        for index in range(start, len(language.layers)):
            hidden = _run(language.layers[index], hidden, prompt.options[index])
        logits = reference.model.lm_head(language.norm(hidden[0, prompt.positions])).float()
        found = logits.log_softmax(-1)
        total += float((prompt.expected.exp() * (prompt.expected - found)).sum())
        count += len(prompt.positions)
    return total / count


def _run(layer: nn.Module, hidden: Tensor, options: Mapping[str, Any]) -> Tensor:
    output = layer(hidden, **options)
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result


@contextmanager
def _quantized(name: str, modules: Sequence[nn.Module], precision: Precision) -> Iterator[None]:
    """The modules with the weights that 4 bits stand for, and their own again afterwards."""
    kept = [module.weight.data for module in modules]
    joined = torch.cat(kept).float().cpu().numpy()
    rounded = torch.from_numpy(dequantized(precision.linear(name, joined)))
    parts = rounded.split([len(weight) for weight in kept])
    for module, weight, part in zip(modules, kept, parts, strict=True):
        module.weight.data = part.to(weight.device, weight.dtype)
    try:
        yield
    finally:
        for module, weight in zip(modules, kept, strict=True):
            module.weight.data = weight
