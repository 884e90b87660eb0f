"""`load`: a bundle's folder becomes a model on a device."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from llava_edge.core.bundle import read_bundle, verify_once
from llava_edge.core.strict import PositiveInt
from llava_edge.runtime.arguments import bundle_folder, checked, refusal
from llava_edge.runtime.device_choice import choose
from llava_edge.runtime.devices.device import Device, candidates
from llava_edge.runtime.devices.onnx_session import prepare
from llava_edge.runtime.expected_memory import fitting_context
from llava_edge.runtime.model import Llava
from llava_edge.runtime.open_bundle import LoadProgress
from llava_edge.runtime.vision_encoder import IMAGE_CACHE

_Tokens = Annotated[int, Meta(description="a whole number of tokens")]
_Seconds = Annotated[float, Meta(gt=0, description="a number of seconds above 0")]
_Bytes = Annotated[int, Meta(ge=0, description="a whole number of bytes, 0 or more")]

_log = logging.getLogger("llava_edge")


def load(
    bundle: Path | str | None = None,
    device: str = "auto",
    *,
    context: int | None = None,
    image_cache: int = IMAGE_CACHE,
    contexts: int = 1,
    gpu_memory: int | None = None,
    idle_trim: float | None = None,
    progress: LoadProgress | None = None,
) -> Llava:
    """Load a bundle to run on a device.

        with load("my-bundle") as model:  # or model.close() at the end
            model.answer("What is in the picture?", image="photo.jpg")

    - bundle: the folder that `llava-edge export` wrote, or the name of one in the models folder
      (`llava_edge.models()`); by default the one that the environment variable LLAVA_EDGE_BUNDLE
      names, else the demo's.
    - device: "auto" takes a GPU where one computes the whole bundle correctly, else the CPU;
      `model.device` says which, and `model.notes` why. Or "cpu", "cuda", "webgpu",
      "tensorrt-rtx" or "openvino".
    - context: the most tokens that a conversation may hold; by default 4,096, or fewer where model
      or memory do not allow as many.
    - image_cache: bytes of encoded pictures that are remembered; 0 for none.
    - contexts: how many conversations are remembered from one call of `stream` to the next, each
      of which takes a KV cache, and the next tokens of how many answers are computed together on a
      CPU; a `chat` beyond them has a cache of its own.
    - gpu_memory: the most bytes to take on a GPU; by default what is free there.
    - idle_trim: seconds without a question after which the KV caches of finished prompts are
      forgotten and their memory is given back; by default they are kept.
    - progress: is called in this thread with what is being done ("files" are checked, then the
      "decoder" and the "vision" graph are opened) and how much of that is done, from 0.0 to 1.0.
      What it raises ends the loading.

    What was loaded, where, and how long that took is logged at level INFO by the logger
    "llava_edge", and so are the notes; `logging.basicConfig(level=logging.INFO)` shows them.

    Raises BundleError where the bundle is missing, damaged or of another format version,
    DeviceError where the device does not run it, UsageError for an argument of another type or
    out of its range, and LlavaEdgeError where memory does not hold it.
    """
    start = time.perf_counter()
    context = checked("context", context, _Tokens | None)
    image_cache = checked("image_cache", image_cache, _Bytes)
    contexts = checked("contexts", contexts, PositiveInt)
    gpu_memory = checked("gpu_memory", gpu_memory, _Bytes | None)
    idle_trim = checked("idle_trim", idle_trim, _Seconds | None)
    tell = _checked_progress(progress)
    path = bundle_folder(bundle)
    config = read_bundle(path)
    devices = candidates(device, config.devices)
    verify_once(path, config, lambda done: tell("files", done))

    def open_on(device: Device) -> Llava:
        prepare(device)
        size, note = fitting_context(config, context, device, gpu_memory)
        notes = (note,) if note else ()
        return Llava.from_path(
            path,
            config,
            device,
            size,
            image_cache=image_cache,
            contexts=contexts,
            gpu_memory=gpu_memory,
            notes=notes,
            idle_trim=idle_trim,
            progress=tell,
        )

    model, note = choose(devices, open_on)
    model = replace(model, notes=(*model.notes, note)) if note else model
    _log_loaded(model, time.perf_counter() - start)
    return model


def _checked_progress(progress: LoadProgress | None) -> LoadProgress:
    if progress is None:
        return lambda stage, done: None
    if not callable(progress):
        raise refusal("progress", progress, "a function of two arguments")
    return progress


def _log_loaded(model: Llava, seconds: float) -> None:
    _log.info(
        "Loaded %s (%s) on %s in %.1f s; a conversation may hold %s tokens.",
        model.path,
        model.config.name,
        model.device.name,
        seconds,
        f"{model.decoder.context:,}",
    )
    for note in model.notes:
        _log.info(note)
