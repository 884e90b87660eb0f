"""A model by name: a folder on this machine, or one that is fetched from the Hugging Face hub."""

import re
from pathlib import Path

from llava_edge.errors import CheckpointError
from llava_edge.hub.fetching import fetching, is_unreachable, reason

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SMALL = ["*.json", "*.jinja", "tokenizer.model", "mm_projector.bin", "non_lora_trainables.bin"]


def is_hub_name(name: str) -> bool:
    """Whether it has the form of the hub's `org/name`, and `org` is no folder on this machine."""
    return HUB_NAME.fullmatch(name) is not None and not Path(name).parent.is_dir()


def hub_name(folder: Path) -> str | None:
    """The `org/name` of a folder that was fetched, by where the hub's cache keeps it."""
    kind, *names = folder.parent.parent.name.split("--")
    return "/".join(names) if folder.parent.name == "snapshots" and kind == "models" else None


def find_model(name: str | Path, option: str = "", *, weights: bool = True) -> Path:
    """The folder or file of that name, or else the hub's `org/name`, fetched with a progress bar.

    Files that were fetched before are not fetched again, and one whose connection broke off goes
    on. `option` is the option that an error names; without `weights` only small files are fetched.
    Raises CheckpointError.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if isinstance(name, Path) or not is_hub_name(name):
        way_out = f"give an existing one with {option}" if option else "give a checkpoint's folder"
        raise CheckpointError(f"There is no folder {name}; {way_out}, or the hub's org/name.")
    with fetching(name, CheckpointError):
        return _download(name, weights=weights)


def _download(name: str, *, weights: bool) -> Path:
    import huggingface_hub as hub

    try:
        siblings = hub.HfApi().model_info(name).siblings or []
    except Exception as error:
        if not is_unreachable(error):
            raise
        return _fetched_before(name, error, weights=weights)
    return _snapshot(name, [sibling.rfilename for sibling in siblings], weights=weights)


def _fetched_before(name: str, silence: Exception, *, weights: bool) -> Path:
    """The model in the hub's cache, as the hub gave no answer."""
    try:
        return _snapshot(name, [], weights=weights, here_alone=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{name} is not on this machine, and the Hugging Face hub does not answer "
            f"({reason(silence)}); check the connection and run the same command again."
        ) from silence


def _snapshot(name: str, files: list[str], *, weights: bool, here_alone: bool = False) -> Path:
    import huggingface_hub as hub

    return Path(
        hub.snapshot_download(
            name,
            allow_patterns=[*_SMALL, *(_weights(files) if weights else [])],
            ignore_patterns=["consolidated*"],  # Mistral's own copy of the same weights
            local_files_only=here_alone,
        )
    )


def _weights(files: list[str]) -> list[str]:
    """Safetensors where there are any, since a pickled copy beside them is the same again."""
    if not files or any(f.endswith(".safetensors") and "adapter" not in f for f in files):
        return ["*.safetensors"]
    return ["*.safetensors", "pytorch_model*.bin", "adapter_model.bin"]
