"""The language model that a checkpoint of tower, projector and adapter is based on."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.checkpoint_config import TextConfig, read_text_config
from llava_edge.export.checkpoint_section import Section
from llava_edge.export.gguf_base import open_gguf
from llava_edge.export.lazy_tensor import LazyTensor
from llava_edge.export.safetensors_files import open_folder
from llava_edge.export.tensor_names import respell
from llava_edge.export.tokenizer_file import read_tokenizer_file


@dataclass(frozen=True)
class LanguageModel:
    """A language model under the canonical spelling."""

    text: TextConfig
    tensors: dict[str, LazyTensor]
    tokenizer: Tokenizer


@dataclass(frozen=True)
class NamedBase:
    """What a checkpoint's base.json says of the language model it needs."""

    name: str
    file: str
    sha256: str


def open_language_model(base: Path) -> LanguageModel:
    """Open a GGUF file, or a Hugging Face folder of a Llama.

    Raises CheckpointError where it is broken or of an unsupported kind.
    """
    if not base.is_dir():
        opened = open_gguf(base)
        return LanguageModel(opened.text, opened.tensors, opened.tokenizer)
    config = Section.from_file(base / "config.json")
    config.choice("model_type", ("llama",))
    tensors = respell(open_folder(base), base)
    return LanguageModel(read_text_config(config), tensors, read_tokenizer_file(base))


def read_named_base(folder: Path, base: Path | None) -> NamedBase | None:
    """What the checkpoint needs, or None where it is whole; checks that `base` is given if so.

    Raises CheckpointError where the base is not given or not the one named, UsageError where one
    is given that is not needed.
    """
    if not (folder / "base.json").exists():
        if base is not None:
            raise UsageError(
                f"A base is given ({base}), but {folder} holds a language model of its own; "
                "leave the base out."
            )
        return None
    section = Section.from_file(folder / "base.json")
    named = NamedBase(*(section.text(field.name) for field in fields(NamedBase)))
    if base is None:
        raise CheckpointError(
            f"{folder} needs the language model {named.name} as its base; give the path of "
            f"{named.file} with --base."
        )
    _check_sum(base / named.file if base.is_dir() else base, named)
    return named


def check_same_text(text: TextConfig, base: TextConfig, folder: Path) -> None:
    """Raises CheckpointError where config.json describes another language model than the base."""
    names = [field.name for field in fields(TextConfig)]
    differ = [name for name in names if getattr(text, name) != getattr(base, name)]
    if differ:
        listed = ", ".join(
            f"{name} {getattr(base, name)} instead of {getattr(text, name)}" for name in differ
        )
        raise CheckpointError(
            f"The base does not fit text_config in {folder / 'config.json'} ({listed}); give the "
            "base that the checkpoint was trained on."
        )


def _check_sum(path: Path, named: NamedBase) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"The base {path} cannot be read ({error.strerror}); give the path of {named.file}."
        ) from None
    if digest != named.sha256:
        raise CheckpointError(
            f"The base {path} has the sha256 {digest}, but the checkpoint was trained "
            f"on {named.name} with {named.sha256}; give that file."
        )
