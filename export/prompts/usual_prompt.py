"""The prompt format that a checkpoint without any word of it was most likely trained with."""

from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import CHATML, LLAMA_3, MISTRAL, PHI, QWEN, VICUNA_V1


@dataclass(frozen=True)
class Kind:
    """What is known of a checkpoint: its language model, layout, and whether it has tiles."""

    model_type: str
    original: bool  # in the original LLaVA's layout, so trained by its code or its followers'
    tiled: bool


def usual_prompt(tokenizer: Tokenizer, kind: Kind) -> tuple[PromptConfig, str]:
    """The usual format of such a vocabulary and kind, and why it is taken.

    LLaVA's own code begins with a system sentence; others' is not made up here.
    """

    def knows(*tokens: str) -> bool:
        return all(tokenizer.token_to_id(token) is not None for token in tokens)

    if knows("<|im_start|>"):
        own = kind.original and kind.model_type == "qwen2"
        return (QWEN if own else CHATML), "the vocabulary has <|im_start|>"
    if knows("<|start_header_id|>"):
        bare = replace(LLAMA_3, name="llama_3 without a system sentence", opening="")
        return (LLAMA_3 if kind.original else bare), "the vocabulary has <|start_header_id|>"
    if knows("<|user|>", "<|end|>", "<|assistant|>"):
        return PHI, "the vocabulary has <|user|>, <|end|> and <|assistant|>"
    if kind.model_type == "mistral" and kind.tiled:
        return MISTRAL, "LLaVA-1.6 was trained so on Mistral"
    return VICUNA_V1, "LLaVA-1.5 was trained so"
