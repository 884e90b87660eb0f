"""A model by name: a folder on this machine, or one that is fetched from the Hugging Face hub."""

import re
from pathlib import Path

from llava_edge.errors import CheckpointError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SMALL = ["*.json", "*.jinja", "tokenizer.model", "mm_projector.bin", "non_lora_trainables.bin"]


def is_hub_name(name: str) -> bool:
    """Whether it has the form of the hub's `org/name`."""
    return _NAME.fullmatch(name) is not None


def hub_name(folder: Path) -> str | None:
    """The `org/name` of a folder that was fetched, by where the hub's cache keeps it."""
    kind, *names = folder.parent.parent.name.split("--")
    return "/".join(names) if folder.parent.name == "snapshots" and kind == "models" else None


def find_model(name: str | Path, option: str = "", *, weights: bool = True) -> Path:
    """The folder or file of that name, or else the hub's `org/name`, fetched with a progress bar.

    What was fetched before is not fetched again, and a download that broke off goes on. `option` is
    how the caller can be told of another place; without `weights` only small files are fetched.
    Raises CheckpointError.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if isinstance(name, Path) or not is_hub_name(name):
        way_out = f"give an existing one with {option}" if option else "give a checkpoint's folder"
        raise CheckpointError(f"There is no folder {name}; {way_out}, or the hub's org/name.")
    return _fetch(name, weights=weights)


def _fetch(name: str, *, weights: bool) -> Path:
    import huggingface_hub as hub
    from huggingface_hub import errors

    offline = False
    try:
        files = _files(name)
        offline = files is None
        patterns = [*_SMALL, *(_weights(files or []) if weights else [])]
        return Path(
            hub.snapshot_download(
                name,
                allow_patterns=patterns,
                ignore_patterns=["consolidated*"],  # Mistral's own copy of the same weights
                local_files_only=offline,
            )
        )
    except errors.GatedRepoError:
        raise CheckpointError(
            f"{name} is only given to those who accepted its terms; do so at huggingface.co/{name} "
            "and run `hf auth login`."
        ) from None
    except errors.RepositoryNotFoundError:
        raise CheckpointError(
            f"There is neither a folder {name} nor such a model on the Hugging Face hub; check the "
            "name, and for a private model run `hf auth login`."
        ) from None
    except Exception as error:  # of the library below, which is another in each release
        reason = " ".join(str(error).split()).rstrip(".")
        if offline:  # the library then speaks of its own switches
            reason = "which does not answer, and nothing was fetched before"
        raise CheckpointError(
            f"{name} is no folder here and could not be fetched from the Hugging Face hub "
            f"({reason}); check the connection and run the same command again, it goes on where it "
            "stopped."
        ) from None


def _files(name: str) -> list[str] | None:
    """The model's files; None where the hub does not answer."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        siblings = hub.HfApi().model_info(name).siblings or []
    except errors.RepositoryNotFoundError:  # or one that asks to accept its terms
        raise
    except Exception:  # as above
        return None
    return [sibling.rfilename for sibling in siblings]


def _weights(files: list[str]) -> list[str]:
    """Safetensors where there are any, since a pickled copy beside them is the same again."""
    if not files or any(f.endswith(".safetensors") and "adapter" not in f for f in files):
        return ["*.safetensors"]
    return ["*.safetensors", "pytorch_model*.bin", "adapter_model.bin"]
