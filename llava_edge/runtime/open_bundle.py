"""Opens the graphs of a bundle on a device, one after the other."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from llava_edge.core.bundle import TOKENIZER_JSON, WEIGHTS_BIN, decoder_onnx, vision_onnx
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.machine import release_unused
from llava_edge.core.stop_ids import stop_ids
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.runtime.answer import Vocabulary
from llava_edge.runtime.constraint import Grammars
from llava_edge.runtime.decoder import Decoder
from llava_edge.runtime.devices.call_queue import gpu_thread
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.expected_memory import expected_memory, free_memory
from llava_edge.runtime.loaded_bundle import LoadedBundle, model_lifetime
from llava_edge.runtime.prefix_cache import PrefixCaches
from llava_edge.runtime.said import SaidAnswers
from llava_edge.runtime.vision_encoder import VisionEncoder

LoadStage = Literal["files", "decoder", "vision"]
LoadProgress = Callable[[LoadStage, float], None]


def open_bundle(
    path: Path,
    config: BundleConfig,
    device: Device,
    context: int,
    *,
    image_cache: int,
    contexts: int,
    gpu_memory: int | None,
    idle_trim: float | None = None,
    progress: LoadProgress = lambda stage, done: None,
) -> LoadedBundle:
    """Open the graphs of a bundle whose files were checked; `progress` is as for `load`."""
    tokenizer = Tokenizer.from_file(path / TOKENIZER_JSON)
    stop, size = stop_ids(config, tokenizer), config.decoder.vocab_size
    queue = gpu_thread() if device.separate else None
    limit = _limit(config, device, gpu_memory)
    release_unused()
    progress("decoder", 0.0)
    decoder = Decoder(
        path / decoder_onnx(device.graph),
        path / WEIGHTS_BIN,
        config.decoder,
        device,
        context=context,
        parallel=contexts,
        queue=queue,
        limit=limit,
    )
    progress("decoder", 1.0)
    release_unused()
    progress("vision", 0.0)
    vision = VisionEncoder(
        path / vision_onnx(device.graph),
        path / WEIGHTS_BIN,
        config.vision,
        device,
        hidden_size=config.decoder.hidden_size,
        cache_bytes=image_cache,
        queue=queue,
        limit=limit,
    )
    progress("vision", 1.0)
    release_unused()
    prefix_caches = PrefixCaches(decoder, contexts)
    return LoadedBundle(
        config=config,
        device=device,
        tokenizer=tokenizer,
        vision=vision,
        decoder=decoder,
        vocabulary=Vocabulary(tokenizer, size, stop, config.prompt.stop_strings),
        grammars=Grammars(tokenizer, vocab_size=size, stop=stop),
        prefix_caches=prefix_caches,
        said=SaidAnswers(tokenizer),
        lifetime=model_lifetime(prefix_caches, idle_trim),
    )


def _limit(config: BundleConfig, device: Device, wanted: int | None) -> int | None:
    """Bytes that each graph's runs may take on a GPU, beside the weights."""
    free = free_memory(device, wanted) if device.separate else None
    if free is None:
        return None
    return max(free - expected_memory(config, device).weights, 0)
