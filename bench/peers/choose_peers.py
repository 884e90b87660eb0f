"""Which peers can be compared here, and with which files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from llava_edge.bench.llama_cpp import quantize
from llava_edge.bench.peers.candidate import PeerSettings
from llava_edge.bench.peers.genai_folder import can_be_written, write_genai_folder
from llava_edge.core.bundle import read_bundle
from llava_edge.core.extras import install_command
from llava_edge.errors import UsageError

INSTALL = {  # a library that a peer needs, and the command that installs it
    "llama.cpp": ("llama_cpp", "pip install llama-cpp-python"),
    "transformers": ("torch", install_command("verify")),
    "onnxruntime-genai": ("onnxruntime_genai", "pip install onnxruntime-genai"),
}
KINDS = ("Q4_K_M", "Q4_0")  # of llama.cpp's files


@dataclass(frozen=True)
class Weights:
    """The bundle's weights in the peers' formats; None if they are not given."""

    gguf: Path | None = None  # the language model in float32
    checkpoint: str | None = None
    base: str | None = None


def choose_peers(
    wanted: Sequence[str], weights: Weights, ours: PeerSettings, folder: Path
) -> tuple[list[PeerSettings], dict[str, str]]:
    """The peers that can be compared, and why others are left out.

    Files that are quantized for them go to `folder`. Raises UsageError for an unknown peer.
    """
    if unknown := sorted(set(wanted) - set(INSTALL)):
        raise UsageError(f'"{unknown[0]}" is not a peer; give some of {", ".join(INSTALL)}.')
    peers: list[PeerSettings] = []
    left_out: dict[str, str] = {}
    for name in wanted:
        if reason := _reason(name, weights, ours):
            left_out[name] = reason
        else:
            peers += _settings(name, weights, ours, folder)
    return peers, left_out


def _reason(name: str, weights: Weights, ours: PeerSettings) -> str | None:
    """Why a peer cannot be compared; None if it can."""
    library, command = INSTALL[name]
    if find_spec(library) is None:
        return f"{name} is not installed; run `{command}`."
    if name == "llama.cpp" and weights.gguf is None:
        return "llama.cpp reads GGUF files; give one of the language model in float32 with --gguf."
    if name == "transformers" and weights.checkpoint is None:
        return "transformers reads checkpoints; give that of the bundle with --checkpoint."
    if name == "onnxruntime-genai" and not can_be_written(read_bundle(ours.bundle)):
        return (
            "onnxruntime-genai needs a bundle with graphs for CPUs, without tiles, and with an "
            "embedding table of 4 or 8 bits; export such a bundle."
        )
    return None


def _settings(
    name: str, weights: Weights, ours: PeerSettings, folder: Path
) -> Iterator[PeerSettings]:
    if name == "llama.cpp" and weights.gguf is not None:
        for kind in KINDS:
            file = quantize(weights.gguf, kind, folder)
            yield replace(ours, name=f"llama.cpp {kind}", module="llamacpp", gguf=file)
    elif name == "transformers":
        yield replace(
            ours,
            name="transformers float32",
            module="transformers_cpu",
            checkpoint=weights.checkpoint,
            base=weights.base,
        )
    else:
        target = folder / "genai"
        target.mkdir()
        write_genai_folder(ours.bundle, target, threads=ours.threads, context=ours.context)
        yield replace(ours, name=name, module="genai", genai=target)
