"""A language model on its own: what stage 1, adapters and the demo's checkpoint are based on."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.gguf_file import open_gguf
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.formats.prequantized import open_model_weights
from llava_edge.export.layouts.tensor_names import respell
from llava_edge.export.layouts.text_config import TextConfig, read_text_config
from llava_edge.export.prompts.chat_sources import ChatSources
from llava_edge.hub.tokenizer_file import has_tokenizer, read_tokenizer_file
from llava_edge.hub.weights_sum import weights_sum

# The original LLaVA names its language model's kind by its own class.
_ORIGINAL = {"LlavaMistral": "mistral", "LlavaQwen3": "qwen3", "LlavaQwen": "qwen2"}


@dataclass(frozen=True)
class LanguageModel:
    """A language model under the canonical spelling, with what else of a LLaVA its folder holds."""

    text: TextConfig
    tensors: dict[str, LazyTensor]
    tokenizer: Tokenizer | None
    chat: ChatSources
    method: QuantizedBefore | None  # where it is quantized already
    path: Path  # the folder or the GGUF file


@dataclass(frozen=True)
class NamedBase:
    """What a checkpoint's base.json says of the language model it needs."""

    name: str
    file: str
    sha256: str


def open_language_model(base: Path) -> LanguageModel:
    """Open a GGUF file, or a Hugging Face folder of a language model or of a LLaVA.

    Raises CheckpointError where it is broken or of an unsupported kind.
    """
    if not base.is_dir():
        opened = open_gguf(base)
        chat = ChatSources((), opened.metadata, base)
        return LanguageModel(opened.text, opened.tensors, opened.tokenizer, chat, None, base)
    config = Section.from_file(base / "config.json")
    weights, method = open_model_weights(base, config)
    tensors = respell(weights, base)
    tokenizer = read_tokenizer_file(base) if has_tokenizer(base) else None
    text = with_head(read_text_config(text_section(config)), tensors)
    return LanguageModel(text, tensors, tokenizer, ChatSources((base,)), method, base)


def nearest_tokenizer(folder: Path, language: LanguageModel) -> tuple[Tokenizer, Path]:
    """A checkpoint's own tokenizer, else its language model's, and where it lies.

    Raises CheckpointError where neither has one.
    """
    if has_tokenizer(folder) or language.tokenizer is None:
        return read_tokenizer_file(folder), folder
    return language.tokenizer, language.path


def text_section(config: Section) -> Section:
    """Where config.json describes the language model: in text_config, or at its top."""
    if config.has("text_config"):
        return config.section("text_config")
    if not config.text("model_type", "llama").startswith("llava"):
        return config
    names = config.strings("architectures") if config.has("architectures") else []
    kinds = [kind for prefix, kind in _ORIGINAL.items() if names and names[0].startswith(prefix)]
    model_type = kinds[0] if kinds else "llama"
    return Section({**config.values, "model_type": model_type}, config.where)


def with_head(text: TextConfig, tensors: dict[str, LazyTensor]) -> TextConfig:
    """The same, not tied where the file has a head of its own."""
    return replace(text, tied=False) if "lm_head.weight" in tensors else text


def read_named_base(folder: Path) -> NamedBase | None:
    """What the checkpoint's base.json says, or None where it has none; raises CheckpointError."""
    if not (folder / "base.json").exists():
        return None
    section = Section.from_file(folder / "base.json")
    return NamedBase(*(section.text(field.name) for field in fields(NamedBase)))


def check_same_text(text: TextConfig, base: TextConfig, folder: Path) -> None:
    """Raises CheckpointError where config.json describes another language model than the base."""
    compared = [field.name for field in fields(TextConfig) if field.compare]
    differ = [name for name in compared if getattr(text, name) != getattr(base, name)]
    if differ:
        listed = ", ".join(
            f"{name} {getattr(base, name)} instead of {getattr(text, name)}" for name in differ
        )
        raise CheckpointError(
            f"The base does not fit text_config in {folder / 'config.json'} ({listed}); give the "
            "base that the checkpoint was trained on."
        )


def check_sum(path: Path, named: NamedBase) -> None:
    """Raises CheckpointError where the base is another file than the one named."""
    path = path / named.file if path.is_dir() else path
    try:
        digest = weights_sum(path)
    except OSError as error:
        raise CheckpointError(
            f"The base {path} cannot be read ({error.strerror}); give the path of {named.file}."
        ) from None
    if digest != named.sha256:
        raise CheckpointError(
            f"The base {path} has the sha256 {digest}, but the checkpoint was trained "
            f"on {named.name} with {named.sha256}; give that file."
        )
