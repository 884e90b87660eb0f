"""Checkpoints on disk: Hugging Face LLaVA folders, and the small form with an adapter."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from llava_edge.core.files import open_to_others
from llava_edge.hub.find_model import hub_name
from llava_edge.hub.weights_sum import weights_sum
from llava_edge.train.checkpoints.chat_template import write_chat_template
from llava_edge.train.checkpoints.config_file import write_config
from llava_edge.train.checkpoints.processor_files import (
    TEMPLATES,
    copy_first,
    write_preprocessing,
    write_tokenizer,
)
from llava_edge.train.checkpoints.projector_file import FILE as PROJECTOR_FILE
from llava_edge.train.checkpoints.projector_file import save_projector
from llava_edge.train.models.language_model import (
    grow_vocabulary,
    is_quantized,
    load_language_model,
    untie,
)
from llava_edge.train.models.learner import Learner, compute_dtype, join
from llava_edge.train.models.llava_kind import NEWLINE, AnyLlava, newline_of
from llava_edge.train.models.towers import KINDS, patch_size
from llava_edge.train.provenance import RUN
from llava_edge.train.recipe import Recipe

TOWER = "vision_tower."
WEIGHTS = (  # the first of them that is there names a language model
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "config.json",
)
SHARD = "5GB"  # what is read again where names are changed


def save_checkpoint(
    learner: Learner, recipe: Recipe, folder: Path, *, projector_file: bool = False
) -> None:
    """Write the whole model as a Hugging Face LLaVA checkpoint; nothing is left after a failure.

    A quantized language model is written with the weights that it was read from. With
    `projector_file`, the original LLaVA's `mm_projector.bin` is written too.
    """
    model = learner.model
    if is_quantized(model.model.language_model):
        model = _with_original_language_model(learner, recipe)
    with whole(folder) as partial:
        write_weights(model, partial)
        _write_processor_files(learner, recipe, partial)
        write_tokenizer(learner.tokenizer, learner.folders, partial)
        if projector_file:
            save_projector(model, partial / PROJECTOR_FILE)


def save_adapter(learner: Learner, recipe: Recipe, folder: Path) -> None:
    """Write the LoRA adapter in fp16, and tower and projector as they were trained.

    The language model is not written. `base.json` names it: as its own folder does, or else by
    the file that its weights were read from.
    """
    model = learner.model.model
    parts = {
        "vision_tower": model.vision_tower,
        "multi_modal_projector": model.multi_modal_projector,
    }
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    if (newline := newline_of(learner.model)) is not None:
        tensors[NEWLINE] = newline.detach().cpu()
    with whole(folder) as partial:
        save_file(tensors, partial / "model.safetensors", {"format": "pt"})
        base = hub_name(Path(recipe.language_model)) or recipe.language_model
        _write_lora(model.language_model, base, partial)
        write_config(learner.model.config, partial)
        _write_processor_files(learner, recipe, partial)
        named = json.dumps(named_base(Path(recipe.language_model)), indent=2)
        (partial / "base.json").write_text(named + "\n")


def write_weights(model: AnyLlava, folder: Path) -> None:
    """Write weights and config.json so that transformers 4.57 and 5 both read them.

    transformers 5 leaves out `vision_model.` in a tower's names; without it, 4.57 would draw
    the tower at random.
    """
    model.save_pretrained(folder, max_shard_size=SHARD)
    (folder / "generation_config.json").unlink(missing_ok=True)  # made up; the base's is copied
    write_config(model.config, folder)
    kind = KINDS.get(model.config.vision_config.model_type)
    if kind is None or not kind.nested:
        return
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        names = {name: _nested(name) for name in tensors}
        if any(name != nested for name, nested in names.items()):
            renamed = {nested: tensors[name] for name, nested in names.items()}
            save_file(renamed, file.with_suffix(".new"), {"format": "pt"})
            file.with_suffix(".new").replace(file)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        content = json.loads(index.read_text())
        content["weight_map"] = {_nested(k): file for k, file in content["weight_map"].items()}
        index.write_text(json.dumps(content, indent=2) + "\n")


def named_base(language_model: Path) -> dict[str, str]:
    """Name, file and sha256 of what a language model's folder was made of."""
    named = language_model / "base.json"
    if named.exists():
        content: dict[str, str] = json.loads(named.read_text())
        return content
    file = next(language_model / name for name in WEIGHTS if (language_model / name).exists())
    name = hub_name(language_model) or language_model.name
    return {"name": name, "file": file.name, "sha256": weights_sum(file)}


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to write in; at the end it is renamed to `folder`, after a failure it is removed."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        open_to_others(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _nested(name: str) -> str:
    new = name.startswith(TOWER) and not name.startswith(TOWER + "vision_model.")
    return name.replace(TOWER, TOWER + "vision_model.", 1) if new else name


def _with_original_language_model(learner: Learner, recipe: Recipe) -> AnyLlava:
    model, config = learner.model.model, learner.model.config
    original = load_language_model(Path(recipe.language_model), compute_dtype(recipe))
    grow_vocabulary(original, config.text_config.vocab_size)
    untie(original)
    joined = join(config, model.vision_tower, model.multi_modal_projector, original)
    if (newline := newline_of(learner.model)) is not None:
        setattr(joined.model, NEWLINE, newline)
    return joined


def _write_lora(language_model: PeftModel, base: str, folder: Path) -> None:
    # The adapter was trained on the bare decoder; peft's users attach it to the causal model.
    prefix = language_model.get_base_model().base_model_prefix
    tensors = {
        name.replace("base_model.model.", f"base_model.model.{prefix}.", 1): tensor
        for name, tensor in get_peft_model_state_dict(
            language_model,
            save_embedding_layers=False,  # else peft looks for the base, on the hub too
        ).items()
    }
    half = {name: tensor.detach().cpu().half().contiguous() for name, tensor in tensors.items()}
    save_file(half, folder / "adapter_model.safetensors", {"format": "pt"})
    config = language_model.peft_config["default"]
    config.base_model_name_or_path = base
    config.task_type = "CAUSAL_LM"
    config.inference_mode = True
    config.save_pretrained(folder)


def _write_processor_files(learner: Learner, recipe: Recipe, folder: Path) -> None:
    """Write how pictures are prepared, and copy what the run was."""
    if (recipe.out / RUN).exists():
        shutil.copyfile(recipe.out / RUN, folder / RUN)
    if recipe.init and recipe.prompt is None:  # else the template is not what is trained
        copy_first(TEMPLATES, learner.folders, folder)
    image, rows = learner.encoding.image, learner.encoding.image_tokens
    write_preprocessing(
        image,
        folder,
        patch_size=patch_size(learner.model.model.vision_tower, image.size, rows),
        image_tokens=rows,
        select=recipe.vision_feature_select_strategy,
        token=recipe.image_token,
        tiles=learner.encoding.tiles,
    )
    write_chat_template(learner.encoding.prompt, recipe.image_token, learner.tokenizer, folder)
