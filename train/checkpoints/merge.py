"""`llava-edge merge`: an adapter's folder and its base become a whole LLaVA checkpoint."""

import shutil
import warnings
from pathlib import Path

from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from llava_edge.errors import CheckpointError
from llava_edge.hub.find_model import find_model
from llava_edge.hub.tokenizer_file import read_tokenizer_file
from llava_edge.train.checkpoints.processor_files import TEMPLATES, write_tokenizer
from llava_edge.train.checkpoints.save import named_base, whole, write_weights
from llava_edge.train.models.language_model import grow_vocabulary, load_language_model, untie
from llava_edge.train.models.learner import join
from llava_edge.train.models.llava_kind import (
    NEWLINE,
    AnyConfig,
    newline_of,
    read_llava_config,
)
from llava_edge.train.models.projector import new_projector
from llava_edge.train.models.text_encoding import add_image_token
from llava_edge.train.provenance import RUN

_NEEDED = ("adapter_config.json", "adapter_model.safetensors", "base.json", "model.safetensors")
_COPIED = ("preprocessor_config.json", "processor_config.json", *TEMPLATES, RUN)


def merge(adapter: Path, out: Path, base: Path | None = None) -> None:
    """Merge a run's `adapter/` into its language model and write the whole checkpoint to `out`.

    `base` is the language model that the adapter was trained on; by default it is looked for
    where the adapter says. Products are computed in fp32 and stored in the language model's own
    precision. Nothing is left at `out` after a failure. Raises CheckpointError if the folder
    holds no adapter of a run, if the base is another one, or if `out` exists or cannot be
    written.
    """
    try:
        write_merged(adapter, out, base)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{out} cannot be written ({getattr(error, 'strerror', None) or error}); name another "
            "folder, on a disk with enough space."
        ) from error


def write_merged(adapter: Path, out: Path, base: Path | None = None) -> None:
    """The same, but a disk's own errors are not translated."""
    if out.exists():
        raise CheckpointError(f"{out} exists already; name a folder that does not.")
    missing = [name for name in _NEEDED if not (adapter / name).exists()]
    if missing:
        raise CheckpointError(
            f"{adapter} is not the adapter folder of a run, since it lacks {missing[0]}; give the "
            "folder adapter/ that `llava-edge train` wrote."
        )
    base = _find_base(adapter, base)
    try:
        config = read_llava_config(adapter)
        language_model = _merged(adapter, base, config)
        tensors = load_file(adapter / "model.safetensors")
        tower, projector = _parts(tensors, config)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{adapter} cannot be merged into {base} ({reason}); give the base that the adapter "
            "was trained on."
        ) from error
    tokenizer = read_tokenizer_file(base)
    if token := getattr(config, "llava_edge", {}).get("image_token"):
        add_image_token(tokenizer, token)
    model = join(config, tower, projector, language_model)
    if newline_of(model) is not None:
        setattr(model.model, NEWLINE, nn.Parameter(tensors[NEWLINE]))
    with whole(out) as partial:
        write_weights(model, partial)
        write_tokenizer(tokenizer, (base,), partial)
        for name in _COPIED:
            if (adapter / name).exists():
                shutil.copyfile(adapter / name, partial / name)


def _find_base(adapter: Path, base: Path | None) -> Path:
    named = named_base(adapter)
    if base is None:
        trained_from = PeftConfig.from_pretrained(adapter).base_model_name_or_path
        base = find_model(trained_from or "", "--base")
    if not (base / "config.json").exists():
        raise CheckpointError(
            f"The base {base} is no language model's folder; give that of {named['name']}."
        )
    found = named_base(base)
    if found["sha256"] != named["sha256"]:
        raise CheckpointError(
            f"The base {base} has {found['file']} with the sha256 {found['sha256']}, but the "
            f"adapter was trained on {named['name']} with {named['sha256']}; give that one."
        )
    return base


def _merged(adapter: Path, base: Path, config: AnyConfig) -> PreTrainedModel:
    """The base with the adapter in its weights: no more than one copy of it is ever held."""
    model = load_language_model(base, config.text_config.dtype)
    grow_vocabulary(model, config.text_config.vocab_size)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of peft's making
        attached = PeftModel.from_pretrained(model, adapter)
    merged: PreTrainedModel = attached.merge_and_unload(safe_merge=False)
    untie(merged)
    return merged


def _parts(tensors: dict[str, Tensor], config: AnyConfig) -> tuple[nn.Module, nn.Module]:
    """Tower and projector, in the precision that they are stored in."""
    tower, projector = AutoModel.from_config(config.vision_config), new_projector(config)
    for prefix, module in (("vision_tower.", tower), ("multi_modal_projector.", projector)):
        own = {
            name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)
        }
        counters = [name for name in module.state_dict() if name.endswith("num_batches_tracked")]
        report = module.load_state_dict(own, strict=False, assign=True)
        wrong = {*report.missing_keys, *report.unexpected_keys} - set(counters)
        if wrong:
            raise ValueError(f"{prefix}{min(wrong)} does not match its config.json")
    return tower, projector
