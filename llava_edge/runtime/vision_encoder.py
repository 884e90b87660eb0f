"""VisionEncoder: pixels to image embeddings, remembered by content."""

from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import VisionConfig
from llava_edge.core.machine import release_unused
from llava_edge.core.picture_source import PictureSource
from llava_edge.core.tiles import assemble
from llava_edge.errors import BundleError
from llava_edge.runtime.aside import aside
from llava_edge.runtime.devices.call_queue import CallersThread, CallQueue
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.devices.device_memory import DeviceTensor, FixedRun, compute
from llava_edge.runtime.devices.fair_lock import FairLock
from llava_edge.runtime.devices.onnx_session import OpenGraph, open_graph
from llava_edge.runtime.image_embeddings import ImageEmbeddings, frozen
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.known_pictures import KnownPictures
from llava_edge.runtime.mapped_tensor import map_tensor
from llava_edge.runtime.picture_pixels import PicturePixels, decode, read

IMAGE_CACHE = 256 * 2**20  # bytes of image embeddings that are remembered


class VisionEncoder:
    """The vision tower and projector of a bundle.

    The embeddings of pictures are remembered, up to `cache_bytes`, those that were asked for last.
    `queue` and `limit` are as for a Decoder.
    """

    def __init__(
        self,
        graph: Path,
        weights: Path,
        config: VisionConfig,
        device: Device,
        *,
        hidden_size: int,
        cache_bytes: int = IMAGE_CACHE,
        queue: CallQueue | None = None,
        limit: int | None = None,
    ) -> None:
        self._config = config
        self._queue = queue or CallersThread()
        self._newline: Floats | None = None
        if config.tiles is not None:
            newline = map_tensor(weights, config.tiles.newline, (hidden_size,), "float32")
            self._newline = newline.astype(np.float32)
        self._graph = OpenGraph(
            self._queue.run(lambda: open_graph(graph, device, often=False, limit=limit))
        )
        self._check_graph(graph, hidden_size)
        self._one = self._queue.run(lambda: compute(lambda: self._fixed_run(device, hidden_size)))
        self.known = KnownPictures(cache_bytes)
        self._encoding = FairLock()  # one picture at a time, so that none is encoded twice

    @property
    def not_recorded(self) -> str:
        """Why a picture's run is no CUDA graph, where it should be one."""
        return "" if self._one is None else self._one.failure

    def apart(self) -> "VisionEncoder":
        """The same encoder, which remembers none of the pictures that this one has seen."""
        twin = copy(self)
        twin.known = KnownPictures(self.known.most)
        return twin

    def close(self) -> None:
        """Give all memory back, for those that `apart` made too; no call may be made meanwhile."""

        def release() -> None:
            self._one = None
            self._graph.close()

        self._queue.run(release)

    def encode(self, source: PictureSource, interrupt: Interrupt | None = None) -> ImageEmbeddings:
        """Encode a picture; the same picture again costs no run.

        Raises PictureError, and Interrupted where the answer has been ended, at whatever step.
        """
        interrupt = interrupt or Interrupt()
        seen = aside(lambda check: self._look(source, check), interrupt.check)
        if isinstance(seen, ImageEmbeddings):
            return seen
        with self._encoding.held(interrupt.check):
            known = self.known.of_pixels(seen.key)  # asked for by two at once, it is encoded once
            if known is not None:
                return known
            embeddings = ImageEmbeddings(self.rows(seen.pixels, seen.size, interrupt))
            self.known.put(seen.key, embeddings)
        release_unused()  # what the tower computed with is many times its result
        return embeddings

    def _look(
        self, source: PictureSource, check: Callable[[], None]
    ) -> ImageEmbeddings | PicturePixels:
        """What is known of a picture's file, or else its pixels."""
        picture = read(source, check)
        if (known := self.known.of_file(picture.digest)) is not None:
            return known
        seen = decode(picture, self._config, check)
        self.known.name(picture.digest, seen.key)
        return seen

    def _check_graph(self, graph: Path, hidden_size: int) -> None:
        size = self._config.image.size
        expected = {
            "pixel_values": [3, size, size],
            "image_embeds": [self._config.image_tokens, hidden_size],
        }
        nodes = (*self._graph.session.get_inputs(), *self._graph.session.get_outputs())
        if (found := {node.name: node.shape[1:] for node in nodes}) != expected:
            raise BundleError(
                f"The graph {graph} has {found}, and its bundle.json says {expected}; "
                "export the bundle again."
            )

    def rows(
        self, pixels: Floats, size: tuple[int, int], interrupt: Interrupt | None = None
    ) -> Floats:
        """Pixels [n, 3, H, W] of a picture (width, height) -> [T, D], which are not remembered."""
        interrupt = interrupt or Interrupt()
        embeds = self._queue.run(
            lambda: interrupt.compute(lambda: self._compute(pixels, interrupt)), interrupt.check
        )
        rows: Floats = embeds[0]
        tiles = self._config.tiles
        if tiles is not None and self._newline is not None:
            rows = assemble(embeds, size[::-1], self._config.image, tiles, self._newline)
        return frozen(rows)

    def _compute(self, pixels: Floats, interrupt: Interrupt) -> Floats:
        """Pixels [n, 3, H, W] -> [n, T, D]."""
        embeds: Floats
        if self._one is not None and len(pixels) == 1:  # a recorded run ends by itself
            self._one.inputs["pixel_values"].write(pixels)
            self._one()
            return self._one.outputs["image_embeds"].read().astype(np.float32)
        inputs = {"pixel_values": pixels}
        (embeds,) = self._graph.session.run(["image_embeds"], inputs, interrupt.run_options)
        return embeds

    def _fixed_run(self, device: Device, hidden_size: int) -> FixedRun | None:
        """For one picture of one tile, where that can be recorded."""
        if not device.records:
            return None
        side = self._config.image.size
        shapes = {
            "pixel_values": (1, 3, side, side),
            "image_embeds": (1, self._config.image_tokens, hidden_size),
        }
        pixels, embeds = (
            {name: DeviceTensor(self._graph.session, device, shape, np.float32)}
            for name, shape in shapes.items()
        )
        return FixedRun(self._graph.session, device, pixels, embeds, graph_id=1)
