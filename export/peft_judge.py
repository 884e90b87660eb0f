"""The adapter of an original as peft itself reads it, over transformers' model of the base."""

import logging
import warnings
from importlib import import_module
from typing import Any

from llava_edge.core.extras import install_command
from llava_edge.errors import OriginalError
from llava_edge.export.causal_model import causal_model
from llava_edge.export.formats.weight_files import open_file
from llava_edge.export.layouts.adapter_tensors import PREFIX
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.layouts.lora import adapter_file
from llava_edge.export.progress_bars import note

_LANGUAGE_MODEL = ("model.layers.", "model.embed_tokens.", "model.norm.")  # that stands alone


def peft_is_here() -> bool:
    """Whether peft can read an adapter; where it cannot, that is noted."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft brings it; it warns of kernels
    try:
        import_module("peft")
    except (ImportError, OSError) as error:  # as where a library of the system is missing
        note(
            f"peft cannot be imported ({error}), so the adapter is compared as llava-edge itself "
            f"reads it; `{install_command('adapters')}` makes peft the judge.",
            logging.WARNING,
        )
        return False
    return True


def add_adapter(llava: Any, checkpoint: Checkpoint) -> None:
    """Put peft's layers, with the checkpoint's adapter, into transformers' model of its base.

    They are not merged: where head and embedding table are tied, peft's merging would change both.
    Raises OriginalError where peft does not take every tensor of the adapter.
    """
    import peft

    keys = open_file(adapter_file(checkpoint.folder))
    alone = any(key.removeprefix(PREFIX).startswith(_LANGUAGE_MODEL) for key in keys)
    model = causal_model(llava) if alone else llava
    model.config.tie_word_embeddings = llava.config.tie_word_embeddings
    rows = checkpoint.config.text.vocab_size
    with warnings.catch_warnings(action="ignore"):  # about tied tables
        if rows != model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(rows, mean_resizing=False)
        try:
            config = peft.PeftConfig.from_pretrained(str(checkpoint.folder))
            config.inference_mode = True
            loaded = peft.PeftModel(model, config).load_adapter(str(checkpoint.folder), "default")
        except Exception as error:  # many kinds, for a file or a setting that it refuses
            raise _unread(checkpoint, " ".join(str(error).split())) from error
    if lost := [*loaded.missing_keys, *loaded.unexpected_keys]:
        raise _unread(checkpoint, f"{lost[0]} has no counterpart")
    if alone:
        llava.lm_head = model.lm_head


def _unread(checkpoint: Checkpoint, reason: str) -> OriginalError:
    return OriginalError(
        f"peft cannot read the adapter in {checkpoint.folder} ({reason}); save it again with peft, "
        "or leave it unverified."
    )
