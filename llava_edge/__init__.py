"""Run LLaVA-style vision-language models from 4-bit bundles."""

import logging

from llava_edge.core.prompt import Message, Picture
from llava_edge.core.stored_models import StoredModel, models
from llava_edge.core.telemetry import switch_off_telemetry
from llava_edge.core.version import __version__
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
from llava_edge.runtime.answer import Piece, Timings
from llava_edge.runtime.async_model import AsyncChat, AsyncLlava, load_async
from llava_edge.runtime.async_stream import AsyncStream
from llava_edge.runtime.chat import Chat
from llava_edge.runtime.image_embeddings import ImageEmbeddings
from llava_edge.runtime.inspect import Inspection, inspect
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.runtime.options import Options
from llava_edge.runtime.sampling import TokenLogprob
from llava_edge.runtime.stream import Stream

switch_off_telemetry()  # no library that has telemetry is imported yet
logging.getLogger(__name__).addHandler(logging.NullHandler())  # quiet unless a program asks

__all__ = [
    "AsyncChat",
    "AsyncLlava",
    "AsyncStream",
    "BundleError",
    "Chat",
    "CheckpointError",
    "DeviceError",
    "ImageEmbeddings",
    "Inspection",
    "Llava",
    "LlavaEdgeError",
    "Message",
    "Options",
    "Picture",
    "PictureError",
    "Piece",
    "PromptError",
    "QualityError",
    "RecordError",
    "StateError",
    "StoredModel",
    "Stream",
    "Timings",
    "TokenLogprob",
    "TrainingError",
    "UsageError",
    "__version__",
    "inspect",
    "load",
    "load_async",
    "models",
]
