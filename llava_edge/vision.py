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
from llava_edge.tensors import map_tensor
from llava_edge.tiles import assemble, cut

Floats = npt.NDArray[np.float32]

REMEMBERED = 8  # pictures


@dataclass(frozen=True, eq=False)
class ImageEmbeddings:
    """A picture as the language model sees it: rows [T, D]; may be used in several prompts."""

    rows: Floats


class VisionEncoder:
    """The vision tower and projector of a bundle."""

    def __init__(
        self, graph: Path, weights: Path, config: VisionConfig, device: Device, *, hidden_size: int
    ) -> None:
        self._config = config
        self._newline: Floats | None = None
        if config.tiles is not None:
            newline = map_tensor(weights, config.tiles.newline, (hidden_size,), "float32")
            self._newline = newline.astype(np.float32)
        self._session = open_graph(graph, device, spin=False)
        self._check_graph(graph, hidden_size)
        self._remembered: OrderedDict[bytes, ImageEmbeddings] = OrderedDict()

    def encode(self, source: PictureSource) -> ImageEmbeddings:
        """Encode a picture; the same picture again costs no run. Raises PictureError."""
        picture = load_picture(source)
        tiles, image = self._config.tiles, self._config.image
        pixels = cut(picture, image, tiles) if tiles else preprocess(picture, image)[None]
        key = hashlib.sha256(pixels.tobytes() + repr(picture.size).encode()).digest()
        if key not in self._remembered:
            self._remembered[key] = ImageEmbeddings(self._rows(pixels, picture.size))
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        return self._remembered[key]

    def _check_graph(self, graph: Path, hidden_size: int) -> None:
        size = self._config.image.size
        expected = {
            "pixel_values": [3, size, size],
            "image_embeds": [self._config.image_tokens, hidden_size],
        }
        nodes = (*self._session.get_inputs(), *self._session.get_outputs())
        if (found := {node.name: node.shape[1:] for node in nodes}) != expected:
            raise BundleError(
                f"The graph {graph} has {found}, but by its bundle.json {expected}; "
                "export the bundle again."
            )

    def _rows(self, pixels: Floats, size: tuple[int, int]) -> Floats:
        """Pixels [n, 3, H, W] of a picture (width, height) -> [T, D]."""
        embeds: Floats
        (embeds,) = self._session.run(["image_embeds"], {"pixel_values": pixels})
        rows: Floats = embeds[0]
        tiles = self._config.tiles
        if tiles is not None and self._newline is not None:
            rows = assemble(embeds, size[::-1], self._config.image, tiles, self._newline)
        rows.flags.writeable = False  # shared by all who ask
        return rows
