"""The bundle's own graphs in onnxruntime-genai's loop."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llava_edge.bench.peers.candidate import Peer, PeerSettings
from llava_edge.bench.peers.genai_folder import image_id
from llava_edge.bench.peers.question import PeerQuestion
from llava_edge.core.bundle import read_bundle
from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.picture import load_picture, preprocess

if TYPE_CHECKING:
    import onnxruntime_genai as og


def open_candidate(settings: PeerSettings) -> "Genai":
    """Load the bundle as genai_folder.py wrote it."""
    import onnxruntime_genai as og

    config = read_bundle(settings.bundle)
    model = og.Model(str(settings.genai))
    return Genai(model, config.vision.image, image_id(config), settings.context)


class Genai(Peer):
    """A Generator, which holds the KV cache and chooses greedily."""

    def __init__(self, model: "og.Model", image: ImageConfig, row_id: int, context: int) -> None:
        self._model = model
        self._image = image
        self._row_id = row_id
        self._context = context
        self._last: int | None = None  # chosen by the generator, and not read yet
        self.forget()

    def forget(self) -> None:
        """Begin with a new generator."""
        import onnxruntime_genai as og

        parameters = og.GeneratorParams(self._model)
        parameters.set_search_options(max_length=self._context, do_sample=False)
        self._generator = og.Generator(self._model, parameters)
        self._last = None

    def read(self, ids: list[int]) -> int:
        """Append ids -> the likeliest id after them."""
        if ids != [self._last]:
            if self._last is not None:  # what it chose is not what comes next
                self._generator.rewind_to(self._generator.token_count() - 1)
            self._generator.append_tokens(np.array(ids, np.int32))
        return self._choose()

    def first_turn(self, question: PeerQuestion) -> int:
        """Read the first turn, from the picture's file on -> the likeliest id after it."""
        import onnxruntime_genai as og

        self.forget()
        rows = question.image_tokens
        inputs = og.NamedTensors()
        ids = [*question.before, *[self._row_id] * rows, *question.after]
        picture = load_picture(Path(question.picture))
        inputs["input_ids"] = np.array([ids], np.int32)
        inputs["pixel_values"] = preprocess(picture, self._image)[None]
        inputs["num_image_tokens"] = np.array([rows], np.int64)
        self._generator.set_inputs(inputs)
        return self._choose()

    def _choose(self) -> int:
        self._generator.generate_next_token()
        self._last = int(self._generator.get_next_tokens()[0])
        return self._last
