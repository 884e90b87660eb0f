"""What a runtime must do to be compared, and the settings that it is opened with."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from llava_edge.bench.call_runtime import timed
from llava_edge.bench.peers.question import PeerQuestion


@dataclass(frozen=True)
class PeerSettings:
    """A runtime and its files; `module` of this package opens it."""

    name: str
    module: str
    bundle: Path
    threads: int
    context: int  # tokens
    gguf: Path | None = None
    checkpoint: str | None = None
    base: str | None = None
    genai: Path | None = None  # the bundle as genai_folder.py writes it
    device: str = "auto"  # of llava-edge
    gpu: bool = False  # whether a peer computes on one
    nf4: bool = False  # of transformers: bitsandbytes' 4 bits instead of 16

    @property
    def lacks_tower(self) -> bool:
        """Whether it gets the rows of llava-edge's tower instead of pictures."""
        return self.module == "llamacpp"


class Candidate(Protocol):
    """A model in a runtime, with one KV cache."""

    def forget(self) -> None:
        """Empty the KV cache."""

    def read(self, ids: list[int]) -> int:
        """Append ids -> the likeliest id after them."""

    def ask(self, question: PeerQuestion) -> float:
        """Begin again with the first turn -> seconds until the first token of its answer.

        The answer is then read as well, untimed.
        """

    def follow_up(self, question: PeerQuestion) -> float:
        """Read the second turn -> seconds until the first token."""


class Peer(ABC):
    """A Candidate that gets each turn as ids and the picture's rows or pixels."""

    @abstractmethod
    def read(self, ids: list[int]) -> int:
        """Append ids -> the likeliest id after them."""

    @abstractmethod
    def first_turn(self, question: PeerQuestion) -> int:
        """Begin again with the first turn -> the likeliest id after it."""

    def ask(self, question: PeerQuestion) -> float:
        """Seconds of the first turn; the answer is then read as well, untimed."""
        seconds, _ = timed(lambda: self.first_turn(question))
        self.read(list(question.answer))
        return seconds

    def follow_up(self, question: PeerQuestion) -> float:
        """Seconds of the second turn."""
        seconds, _ = timed(lambda: self.read(list(question.follow_up)))
        return seconds


def open_candidate(settings: PeerSettings) -> Candidate:
    """Load the model that the settings name."""
    module = import_module(f"llava_edge.bench.peers.{settings.module}")
    candidate: Candidate = module.open_candidate(settings)
    return candidate
