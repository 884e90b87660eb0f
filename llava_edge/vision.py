"""VisionEncoder: pixels to image embeddings, remembered by content."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llava_edge.config import VisionConfig
from llava_edge.devices import Device, open_graph
from llava_edge.errors import BundleError
from llava_edge.image import PictureSource, load_picture, preprocess

REMEMBERED = 8  # pictures


@dataclass(frozen=True, eq=False)
class ImageEmbeddings:
    """A picture as the language model sees it: rows [T, D]; may be used in several prompts."""

    rows: npt.NDArray[np.float32]


class VisionEncoder:
    """The vision tower and projector of a bundle."""

    def __init__(
        self, path: Path, config: VisionConfig, device: Device, *, hidden_size: int
    ) -> None:
        self._config = config
        self._session = open_graph(path, device, spin=False)
        self._check_graph(path, hidden_size)
        self._remembered: OrderedDict[bytes, ImageEmbeddings] = OrderedDict()

    def encode(self, source: PictureSource) -> ImageEmbeddings:
        """Encode a picture; the same picture again costs no run. Raises PictureError."""
        pixels = preprocess(load_picture(source), self._config.image)
        key = hashlib.sha256(pixels.tobytes()).digest()
        if key not in self._remembered:
            self._remembered[key] = ImageEmbeddings(self._run(pixels))
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        return self._remembered[key]

    def _check_graph(self, path: Path, hidden_size: int) -> None:
        size = self._config.image.size
        expected = {
            "pixel_values": [3, size, size],
            "image_embeds": [self._config.image_tokens, hidden_size],
        }
        nodes = (*self._session.get_inputs(), *self._session.get_outputs())
        if (found := {node.name: node.shape[1:] for node in nodes}) != expected:
            raise BundleError(
                f"The graph {path} has {found}, but by its bundle.json {expected}; "
                "export the bundle again."
            )

    def _run(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        (embeddings,) = self._session.run(["image_embeds"], {"pixel_values": pixels[None]})
        rows: npt.NDArray[np.float32] = embeddings[0]  # [T, D]
        rows.flags.writeable = False  # shared by all who ask
        return rows
