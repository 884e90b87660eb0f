"""Checkpoints on disk: Hugging Face LLaVA folders, and the small form with an adapter."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from llava_edge.config import ImageConfig
from llava_edge.errors import TrainingError
from llava_edge.train.model import Learner
from llava_edge.train.recipe import Recipe

PROJECTOR = "multi_modal_projector."


def save_checkpoint(learner: Learner, recipe: Recipe, folder: Path) -> None:
    """Write the whole model as a Hugging Face LLaVA checkpoint, complete or not at all."""
    with _whole(folder) as partial:
        learner.model.save_pretrained(partial)
        _write_companions(learner, recipe, partial)


def save_adapter(learner: Learner, recipe: Recipe, folder: Path) -> None:
    """Write tower, projector and LoRA adapter in fp16; the language model itself stays outside.

    `base.json` says which one that is: what the language model's own folder says it was made of, or
    else the file that its weights were read from.
    """
    model = learner.model.model
    parts = {
        "vision_tower": model.vision_tower,
        "multi_modal_projector": model.multi_modal_projector,
    }
    tensors = {
        f"{part}.{name}": tensor
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with _whole(folder) as partial:
        save_file(_half(tensors), partial / "model.safetensors", {"format": "pt"})
        _write_lora(model.language_model, partial)
        learner.model.config.save_pretrained(partial)
        _write_companions(learner, recipe, partial, tokenizer=False)
        base = json.dumps(_base(Path(recipe.language_model)), indent=2)
        (partial / "base.json").write_text(base + "\n")


def load_projector(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Take the projector, and nothing else, from a checkpoint that this recipe wrote before."""
    shards = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    tensors = {
        name.split(PROJECTOR)[1]: tensor
        for shard in shards
        for name, tensor in shard.items()
        if PROJECTOR in name
    }
    if not tensors:
        raise TrainingError(f"{folder} holds no projector; train anew with --force.")
    model.model.multi_modal_projector.load_state_dict(tensors)


def _write_lora(language_model: PeftModel, folder: Path) -> None:
    # The adapter was trained on the bare decoder; peft's users attach it to the causal model.
    tensors = {
        name.replace("base_model.model.", "base_model.model.model.", 1): tensor
        for name, tensor in get_peft_model_state_dict(language_model).items()
    }
    save_file(_half(tensors), folder / "adapter_model.safetensors", {"format": "pt"})
    config = language_model.peft_config["default"]
    config.task_type = "CAUSAL_LM"
    config.inference_mode = True
    config.save_pretrained(folder)


def _write_companions(
    learner: Learner, recipe: Recipe, folder: Path, *, tokenizer: bool = True
) -> None:
    image = learner.encoding.image
    (folder / "preprocessor_config.json").write_text(json.dumps(_processor(image), indent=2) + "\n")
    if tokenizer:
        learner.tokenizer.save(str(folder / "tokenizer.json"))
        config = Path(recipe.language_model) / "tokenizer_config.json"
        if config.exists():
            shutil.copyfile(config, folder / config.name)


def _base(language_model: Path) -> dict[str, str]:
    named = language_model / "base.json"
    if named.exists():
        content: dict[str, str] = json.loads(named.read_text())
        return content
    names = ("model.safetensors", "model.safetensors.index.json", "config.json")
    file = next(language_model / name for name in names if (language_model / name).exists())
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"name": language_model.name, "file": file.name, "sha256": digest}


def _processor(image: ImageConfig) -> dict[str, object]:
    return {
        "image_processor_type": "LlavaImageProcessor",
        "image_mean": list(image.mean),
        "image_std": list(image.std),
        "size": {"shortest_edge": image.size},
        "crop_size": {"height": image.size, "width": image.size},
        "do_pad": image.mode == "pad",
        "resample": 3,
    }


def _half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write in, which takes the place of `folder` at the end or vanishes."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
