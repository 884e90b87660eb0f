"""`llava-edge inspect`: what a bundle is, what it will take, and whether its files are whole."""

from dataclasses import dataclass
from pathlib import Path

from llava_edge.core.bundle import TOKENIZER_JSON, read_bundle, verify_checksums
from llava_edge.core.bundle_config import BundleConfig, PromptConfig
from llava_edge.core.prompt import Message, Picture
from llava_edge.core.prompt_pieces import as_text
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.runtime.arguments import bundle_folder
from llava_edge.runtime.devices.device import CUDA
from llava_edge.runtime.expected_memory import ExpectedMemory, expected_memory


@dataclass(frozen=True)
class Inspection:
    """A bundle whose files are whole, and the memory that it is expected to take, in bytes."""

    path: Path
    config: BundleConfig  # what bundle.json says
    memory: ExpectedMemory  # on a CPU
    gpu_memory: ExpectedMemory | None  # on an NVIDIA GPU; None for a bundle without graphs for one
    example: str  # a conversation as the bundle's prompt format writes it
    ends: tuple[str, ...]  # the tokens and words that end an answer


def inspect(bundle: Path | str | None = None) -> Inspection:
    """Check the size and sha256 of every file of a bundle, and say what the bundle is.

        print(llava_edge.inspect("bundle").config.quantization)

    It is a folder or the name of a bundle in the models folder; by default the one that
    `$LLAVA_EDGE_BUNDLE` names, or else the demo's. Raises BundleError where the bundle is missing,
    damaged or of another format version.
    """
    path = bundle_folder(bundle)
    config = read_bundle(path)
    verify_checksums(path, config)
    return Inspection(
        path=path,
        config=config,
        memory=expected_memory(config),
        gpu_memory=expected_memory(config, CUDA) if "gpu" in config.devices else None,
        example=_example(config.prompt),
        ends=_ends(config, Tokenizer.from_file(path / TOKENIZER_JSON)),
    )


def _example(prompt: PromptConfig) -> str:
    """System words where they have a place, a picture, and two questions."""
    turns = [
        Message("user", [Picture(), "What is it?"]),
        Message("assistant", "A cat."),
        Message("user", "Which colour?"),
    ]
    if prompt.system_prefix is not None:
        turns.insert(0, Message("system", "Be brief."))
    return as_text(turns, prompt)


def _ends(config: BundleConfig, tokenizer: Tokenizer) -> tuple[str, ...]:
    prompt = config.prompt
    ids = (tokenizer.token(id) or f"the id {id}" for id in config.decoder.stop_ids)
    return tuple(dict.fromkeys((*prompt.stop, *ids, *prompt.stop_strings)))
