"""`--quantize calibrated`: the decoder's 4-bit weights are tuned on the inputs that they will see.

auto-round (SignRound, arXiv 2309.05516) learns which way each weight is rounded, layer by layer, on
rows of pictures and text as the runtime feeds them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers
from auto_round import AutoRound
from auto_round.logger import logger
from numpy.typing import NDArray
from torch import Tensor, nn

from llava_edge.core.strict import Section
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.data.record_types import Record
from llava_edge.errors import UsageError
from llava_edge.export.causal_model import causal_model
from llava_edge.export.comparison_samples import conversation_samples, text_samples
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.prequantized import open_model_weights
from llava_edge.export.graphs.decoder_graph import linear_layers
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.layouts.tensor_names import respell
from llava_edge.export.progress_bars import bars_are_drawn
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.reference import Reference
from llava_edge.runtime.scoring import Sample

SAMPLES = 512  # conversations at most
WINDOWS = 64  # stretches of tokens that are learned from
WINDOW = 256  # tokens of a stretch, and as many more as a picture has
LONGEST = 1024  # tokens of a stretch, whatever a picture has
ITERATIONS = 200  # for each layer


@contextmanager
def calibrated(
    checkpoint: Checkpoint, precision: Precision, records: Sequence[Record] | None, scratch: Path
) -> Iterator[dict[str, LazyTensor]]:
    """The checkpoint's tensors, with those of the decoder's 4-bit layers tuned.

    It learns from `records`, or else from drawn pictures that the original describes. The tuned
    tensors lie in a folder in `scratch` until the end.
    """
    logger.setLevel("ERROR")
    with TemporaryDirectory(dir=scratch) as folder:
        _tune(checkpoint, precision, records, folder)
        found = next(path.parent for path in Path(folder).rglob("config.json"))
        weights, _ = open_model_weights(found, Section.from_file(found / "config.json"))
        tensors = respell(weights, found)
        tuned = {name: tensor for name, tensor in tensors.items() if tensor.blocks is not None}
        yield {**checkpoint.tensors, **tuned}


def _tune(
    checkpoint: Checkpoint, precision: Precision, records: Sequence[Record] | None, folder: str
) -> None:
    """Write the language model's integers, its layers learned one after the other."""
    reference, tokenizer = Reference(checkpoint), Tokenizer(checkpoint.tokenizer)
    windows = _windows(
        reference,
        _samples(reference, checkpoint, tokenizer, records),
        min(WINDOW + checkpoint.config.image_tokens, LONGEST),
    )
    tuner = AutoRound(
        _language_model(reference),
        transformers.PreTrainedTokenizerFast(tokenizer_object=checkpoint.tokenizer),
        bits=4,
        group_size=precision.blocks,
        sym=bool(precision.symmetric),
        iters=ITERATIONS,
        seqlen=windows[0]["input_ids"].shape[1],
        nsamples=len(windows),
        batch_size=min(4, len(windows)),
        dataset=windows,
        ignore_layers=",".join(_kept(checkpoint, precision)),
        enable_torch_compile=False,
        amp=reference.model.dtype != torch.float32,
    )
    with nullcontext() if bars_are_drawn() else redirect_stderr(StringIO()):  # it draws its own
        tuner.quantize_and_save(folder, format="auto_round")  # whose zero points can be 0


def _samples(
    reference: Reference,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    records: Sequence[Record] | None,
) -> Iterator[Sample]:
    """A text first, so that pictures are not all that is learned from."""
    yield from text_samples(tokenizer)
    prompt, stop = checkpoint.prompt, checkpoint.stop_ids
    yield from conversation_samples(reference, prompt, stop, tokenizer, records, SAMPLES)


def _language_model(reference: Reference) -> Any:
    """The language model alone, which takes rows."""
    model = causal_model(reference.model)
    model.register_forward_pre_hook(_feed_rows, with_kwargs=True)
    return model.eval()


def _feed_rows(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Leave out the ids, which auto-round insists on, where rows are given."""
    if kwargs.get("inputs_embeds") is None:
        return args, kwargs
    return args, {name: value for name, value in kwargs.items() if name != "input_ids"}


def _kept(checkpoint: Checkpoint, precision: Precision) -> Iterator[str]:
    """The modules that keep more than 4 bits."""
    for index in range(checkpoint.config.text.num_layers):
        for name, modules in linear_layers(index):
            if name in precision.eight_bits:
                yield from (f"model.layers.{index}.{module}" for module in modules)


def _windows(
    reference: Reference, samples: Iterable[Sample], length: int
) -> list[dict[str, Tensor]]:
    """The rows of samples, one after the other, cut into stretches of equal length."""
    parts: list[NDArray[np.float32]] = []
    for sample in samples:
        picture = None if sample.picture is None else reference.encode(sample.picture)
        parts.append(sample.rows(reference.embed, picture))
        if sum(map(len, parts)) >= WINDOWS * length:
            break
    rows = np.concatenate(parts)
    count = min(WINDOWS, len(rows) // length)
    if not count:
        raise UsageError(
            f"The samples have {len(rows)} tokens, but calibration learns from stretches of "
            f"{length}; give more with --records."
        )
    ids = torch.arange(length)[None] % 7  # never the same twice in a row, which would mean padding
    stretches = torch.from_numpy(rows[: count * length]).to(reference.model.dtype)
    return [{"input_ids": ids, "inputs_embeds": part[None]} for part in stretches.split(length)]
