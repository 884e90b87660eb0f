"""Write only the language model of a LLaVA checkpoint, for tools that do not know pictures.

    python -m llava_edge.bench.extract_language_model CHECKPOINT OUT [--base MODEL]

Adapters are merged. OUT is a Hugging Face folder in float32, which llama.cpp's
convert_hf_to_gguf.py reads.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from llava_edge.core.exit_on_error import run_command
from llava_edge.core.files import open_to_others
from llava_edge.errors import UsageError


def write_language_model(checkpoint: str, out: Path, base: str | None = None) -> None:
    """Write safetensors, config.json and tokenizer files; raises CheckpointError, UsageError."""
    from safetensors.numpy import save_file
    from transformers import PreTrainedTokenizerFast
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from llava_edge.export.layouts.checkpoint import open_checkpoint
    from llava_edge.export.reference_config import text_config

    if out.exists():
        raise UsageError(f"{out} already exists; name a folder that does not.")
    opened = open_checkpoint(checkpoint, base=base)
    out.mkdir(parents=True)
    tensors = {
        name.replace("language_model.", "model.", 1): tensor.read().astype(np.float32)
        for name, tensor in opened.tensors.items()
        if name.startswith(("language_model.", "lm_head."))
    }
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = text_config(opened.config.text)
    config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]]
    config.save_pretrained(out)
    PreTrainedTokenizerFast(tokenizer_object=opened.tokenizer).save_pretrained(out)
    open_to_others(out)


def main(
    checkpoint: Annotated[str, typer.Argument(help="A LLaVA checkpoint.")],
    out: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    base: Annotated[
        str | None, typer.Option(help="Language model that an adapter was trained on.")
    ] = None,
) -> None:
    """Write only the language model of a LLaVA checkpoint."""
    write_language_model(checkpoint, out, base)


if __name__ == "__main__":
    run_command(lambda: typer.run(main))
