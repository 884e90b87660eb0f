"""Where a checkpoint's chat template, special tokens and ends of answers are looked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llava_edge.errors import CheckpointError
from llava_edge.export.prompts.chat_files import ChatTemplate, find_template, read_section
from llava_edge.export.prompts.eos_ids import folder_eos_ids, gguf_eos_ids
from llava_edge.export.prompts.special_tokens import (
    SpecialTokens,
    gguf_special_tokens,
    read_special_tokens,
)
from llava_edge.hub.tokenizer_file import has_tokenizer

_GGUF_TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True)
class ChatSources:
    """Folders, the checkpoint's own first and its language model's last, or a GGUF's metadata."""

    folders: Sequence[Path]
    gguf: Mapping[str, Any] = field(default_factory=dict)
    gguf_path: Path = Path()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folders, and the GGUF file."""
        return (*self.folders, *([self.gguf_path] if self.gguf else []))

    def under(self, folder: Path) -> "ChatSources":
        """The same under a folder that goes first."""
        return replace(self, folders=tuple(dict.fromkeys((folder, *self.folders))))

    def template(self, *, processor: bool) -> ChatTemplate | None:
        """The first chat template; a folder of transformers' LLaVA has a processor.

        Raises CheckpointError where a file is broken.
        """
        for folder in self.folders:
            found = find_template(folder, processor=processor)
            if found is not None:
                return found
        text = self.gguf.get(_GGUF_TEMPLATE)
        if text is not None and not isinstance(text, str):
            raise CheckpointError(
                f"{self.gguf_path} gives no text as {_GGUF_TEMPLATE}; choose a format with "
                "--prompt."
            )
        return None if text is None else ChatTemplate(text, self.gguf_path, of_processor=False)

    def special_tokens(self, tokenizer: Tokenizer) -> SpecialTokens:
        """What stands beside the tokenizer; raises CheckpointError where a file is broken."""
        folder = next((folder for folder in self.folders if has_tokenizer(folder)), None)
        if folder is None:
            return gguf_special_tokens(self.gguf)
        return read_special_tokens(folder, tokenizer)

    def eos_ids(self, tokenizer: Tokenizer) -> set[int]:
        """All ids that a file says end an answer; raises CheckpointError where one is broken."""
        found = [folder_eos_ids(folder, tokenizer) for folder in self.folders]
        return gguf_eos_ids(self.gguf).union(*found)

    def image_tokens(self, tokenizer: Tokenizer) -> tuple[str, ...]:
        """What may stand for a picture, the likeliest first."""
        named: list[object] = [self.special_tokens(tokenizer).named.get("image_token")]
        for folder in self.folders:
            named.append(read_section(folder / "processor_config.json").values.get("image_token"))
            config = read_section(folder / "config.json").values
            for key in ("image_token_index", "image_token_id"):
                if type(id := config.get(key)) is int and id >= 0:
                    named.append(tokenizer.id_to_token(id))
        texts = [token for token in (*named, "<image>") if isinstance(token, str) and token]
        return tuple(dict.fromkeys(texts))
