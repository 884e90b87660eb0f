"""`--quantize calibrated`: the decoder's 4-bit weights are tuned on the inputs that they will see.

auto-round (SignRound, arXiv 2309.05516) learns which way each weight is rounded, layer by layer, on
rows of pictures and text as the runtime feeds them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers
from auto_round import AutoRound
from auto_round.logger import logger
from torch import Tensor, nn

from llava_edge.errors import UsageError
from llava_edge.export.checkpoints.checkpoint import Checkpoint
from llava_edge.export.checkpoints.lazy_tensor import LazyTensor
from llava_edge.export.checkpoints.packed import PackedFormat, unpack
from llava_edge.export.checkpoints.tensor_names import respell
from llava_edge.export.checkpoints.weight_files import open_weights
from llava_edge.export.graphs.decoder import linear_layers
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.reference import Reference
from llava_edge.export.samples import conversation_samples, text_samples
from llava_edge.records import Data
from llava_edge.scoring import Sample
from llava_edge.tokenizer import Tokenizer

SAMPLES = 256  # conversations, of which so many stretches are cut as are needed
WINDOWS = 64  # stretches of tokens that are learned from
WINDOW = 256  # tokens, and a picture's more
ITERATIONS = 200  # for each layer


@contextmanager
def calibrated(
    checkpoint: Checkpoint, precision: Precision, data: Data | None = None
) -> Iterator[dict[str, LazyTensor]]:
    """The checkpoint's tensors, those of the decoder's 4-bit layers quantized.

    They lie in a temporary folder, which is gone afterwards. `data` are records to learn from,
    instead of drawn pictures that the original describes.
    """
    logger.setLevel("ERROR")
    reference, tokenizer = Reference(checkpoint), Tokenizer(checkpoint.tokenizer)
    samples = conversation_samples(reference, checkpoint.prompt, tokenizer, data, SAMPLES)
    samples += text_samples(tokenizer)
    windows = _windows(reference, samples)
    tuner = AutoRound(
        _language_model(reference),
        transformers.PreTrainedTokenizerFast(tokenizer_object=checkpoint.tokenizer),
        bits=4,
        group_size=precision.blocks,
        sym=False,
        iters=ITERATIONS,
        seqlen=windows[0]["input_ids"].shape[1],
        nsamples=len(windows),
        batch_size=min(4, len(windows)),
        dataset=windows,
        ignore_layers=",".join(_kept(checkpoint, precision)),
        enable_torch_compile=False,
        amp=reference.model.dtype != torch.float32,
    )
    with TemporaryDirectory(prefix="llava-edge-") as folder:
        tuner.quantize_and_save(folder, format="auto_gptq")
        del tuner, reference
        found = next(path.parent for path in Path(folder).rglob("config.json"))
        packed = PackedFormat("gptq", 4, precision.blocks, 1)
        tensors = unpack(respell(open_weights(found), found), packed, found)
        tuned = {name: tensor for name, tensor in tensors.items() if tensor.blocks is not None}
        yield {**checkpoint.tensors, **tuned}


def _language_model(reference: Reference) -> Any:
    """The language model alone, as transformers' class of its kind, over the same weights."""
    inner = reference.model.model.language_model
    with torch.device("meta"):  # nothing is allocated twice
        model = transformers.AutoModelForCausalLM.from_config(inner.config)
    model.model, model.lm_head = inner, reference.model.lm_head
    model.register_forward_pre_hook(_feed_rows, with_kwargs=True)
    return model.eval()


def _feed_rows(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Rows count, and not the ids beside them, which auto-round itself asks for."""
    if kwargs.get("inputs_embeds") is None:
        return args, kwargs
    return args, {name: value for name, value in kwargs.items() if name != "input_ids"}


def _kept(checkpoint: Checkpoint, precision: Precision) -> Iterator[str]:
    """The modules that 4 bits are not for."""
    for index in range(checkpoint.config.text.num_layers):
        for name, modules in linear_layers(index):
            if name in precision.eight_bits:
                yield from (f"model.layers.{index}.{module}" for module in modules)


def _windows(reference: Reference, samples: Sequence[Sample]) -> list[dict[str, Tensor]]:
    """All samples' rows, one after the other, cut into stretches of equal length."""
    pictures = [s.picture if s.picture is None else reference.encode(s.picture) for s in samples]
    length = WINDOW + max((len(picture) for picture in pictures if picture is not None), default=0)
    pairs = zip(samples, pictures, strict=True)
    rows = np.concatenate([sample.rows(reference.embed, picture) for sample, picture in pairs])
    if len(rows) < length:
        raise UsageError(
            f"The samples have {len(rows)} tokens, but calibration learns from stretches of "
            f"{length}; give more with --records."
        )
    count = min(WINDOWS, len(rows) // length)
    ids = torch.arange(length)[None] % 7  # never the same twice in a row, which would mean padding
    stretches = torch.from_numpy(rows[: count * length]).to(reference.model.dtype)
    return [{"input_ids": ids, "inputs_embeds": part[None]} for part in stretches.split(length)]
