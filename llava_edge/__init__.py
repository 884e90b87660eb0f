"""Run LLaVA-style vision-language models from 4-bit bundles."""

from llava_edge.chat import Chat
from llava_edge.errors import (
    BundleError,
    CheckpointError,
    DeviceError,
    LlavaEdgeError,
    PictureError,
    PromptError,
    QualityError,
    RecordError,
    StateError,
    TrainingError,
    UsageError,
)
from llava_edge.generation import Piece, Timings
from llava_edge.model import Llava, load
from llava_edge.options import Options
from llava_edge.sampling import TokenLogprob
from llava_edge.stream import Stream
from llava_edge.vision import ImageEmbeddings

__version__ = "0.1.0"

__all__ = [
    "BundleError",
    "Chat",
    "CheckpointError",
    "DeviceError",
    "ImageEmbeddings",
    "Llava",
    "LlavaEdgeError",
    "Options",
    "PictureError",
    "Piece",
    "PromptError",
    "QualityError",
    "RecordError",
    "StateError",
    "Stream",
    "Timings",
    "TokenLogprob",
    "TrainingError",
    "UsageError",
    "load",
]
