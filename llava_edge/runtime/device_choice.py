"""Tries devices in their order, and takes the first that computes a bundle correctly."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from llava_edge.core.array_types import Floats
from llava_edge.errors import DeviceError, LlavaEdgeError
from llava_edge.runtime.decoder import Decoder
from llava_edge.runtime.devices.device import CPU, Device

ROWS = 40  # of the trial; WebGPU's attention was seen to be wrong from 32 rows on
SAFE_ROWS = 30  # at once, with which it was right
TOLERANCE = 0.05  # of the logits' size; float16, and other kernels for other numbers of rows
STEPS = 2  # that are timed, after one that is not


class Opened(Protocol):
    """A bundle that was opened on a device."""

    @property
    def decoder(self) -> Decoder:
        """Its language model."""


Model = TypeVar("Model", bound=Opened)


def choose(devices: Sequence[Device], open_on: Callable[[Device], Model]) -> tuple[Model, str]:
    """Open on the first device that passes the trial -> the model, and a note on the choice.

    A GPU that comes by a plugin may be slower than the processor beside it: where the CPU is a
    candidate too, both are timed. Raises what the last device does.
    """
    *others, last = devices
    failures: list[str] = []
    for device in others:
        try:
            model, seconds = _tried(device, open_on)
        except LlavaEdgeError as error:
            failures.append(str(error))
            continue
        if device.plugin and last.graph == CPU.graph:
            return _faster(model, device, seconds, open_on, last)
        note = f"Running on {device.name}, where a token takes {_ms(seconds)}."
        return model, " ".join([note, *_pieces(model.decoder, device)])
    model = open_on(last)
    if last.graph != CPU.graph:
        trial(model.decoder)
        return model, " ".join([*failures, *_pieces(model.decoder, last)])
    return model, " ".join([f"Running on the device {last.name}.", *failures] if failures else [])


def _tried(device: Device, open_on: Callable[[Device], Model]) -> tuple[Model, float]:
    """In a function of its own, so that a model that fails has gone before the next one comes."""
    model = open_on(device)
    return model, trial(model.decoder)


def trial(decoder: Decoder) -> float:
    """Seconds that a token takes; raises DeviceError where a prompt's pieces change its logits.

    Where they do so for many rows alone, the decoder reads fewer at once from now on.
    """
    rows = min(ROWS, decoder.context - 1)
    ids = np.random.default_rng(0).integers(0, decoder.vocab_size, rows).tolist()
    in_safe_pieces = _logits(decoder, ids, SAFE_ROWS)
    if not _alike(_logits(decoder, ids, decoder.chunk), in_safe_pieces):
        decoder.chunk = SAFE_ROWS
    if not _alike(_logits(decoder, ids, SAFE_ROWS // 3), in_safe_pieces):
        raise DeviceError(
            "The device does not compute attention correctly: a prompt read in other pieces gives "
            "other logits; update its driver, or choose another device."
        )
    return _seconds(decoder, ids[0])


def _logits(decoder: Decoder, ids: Sequence[int], chunk: int) -> Floats:
    """[V] after ids that are read in chunks."""
    cache = decoder.new_cache()
    for start in range(0, len(ids), chunk):
        read = decoder.read(cache, decoder.embed(ids[start : start + chunk]))
    logits: Floats = read[0].copy()
    return logits


def _alike(found: Floats, expected: Floats) -> bool:
    """Whether logits differ by rounding alone; NaN never passes."""
    return bool(np.linalg.norm(found - expected) < TOLERANCE * np.linalg.norm(expected))


def _seconds(decoder: Decoder, id: int) -> float:
    seconds = []
    for _ in range(STEPS + 1):
        cache = decoder.new_cache()
        start = time.perf_counter()
        decoder.top(cache, id)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _pieces(decoder: Decoder, device: Device) -> list[str]:
    """What a user should know where prompts are read in smaller pieces than the device's."""
    if decoder.chunk == device.chunk:
        return []
    return [
        f"{device.name} reads prompts {decoder.chunk} tokens at a time, since its "
        "attention is wrong for more."
    ]


def _faster(
    model: Model,
    device: Device,
    seconds: float,
    open_on: Callable[[Device], Model],
    cpu: Device,
) -> tuple[Model, str]:
    """The GPU's model, or the CPU's where that takes less time for a token."""
    try:
        on_cpu = open_on(cpu)
        cpu_seconds = _seconds(on_cpu.decoder, 0)
    except LlavaEdgeError:  # as where memory does not hold both
        return model, " ".join([f"Running on {device.name}.", *_pieces(model.decoder, device)])
    times = f"{_ms(seconds)} on {device.name} and {_ms(cpu_seconds)} on the CPU"
    if cpu_seconds < seconds:
        return on_cpu, f"Running on the CPU: a token takes {times}."
    note = f"Running on {device.name}: a token takes {times}."
    return model, " ".join([note, *_pieces(model.decoder, device)])


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
