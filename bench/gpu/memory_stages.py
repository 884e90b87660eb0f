"""How much of the GPU's memory a model needs, stage by stage, and how it does in a smaller one.

A smaller GPU is imitated by taking the rest of the memory away. So everything counts that a process
needs there, also CUDA's context and libraries, which a limit given to `load` would not cover.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from llava_edge.bench.answer_stages import decode
from llava_edge.bench.call_runtime import ask, open_bundle
from llava_edge.bench.defaults import PROMPT
from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.findings import Finding, LeftOut, timings
from llava_edge.bench.gpu.models import bundle_of, open_model
from llava_edge.bench.gpu.picture_prompts import drawn_picture
from llava_edge.core.machine import peak_memory
from llava_edge.errors import DeviceError, LlavaEdgeError
from llava_edge.runtime.devices.cuda_driver import gpu_memory
from llava_edge.runtime.expected_memory import expected_memory
from llava_edge.runtime.model import Llava


def measure(campaign: Campaign, name: str) -> Iterator[Finding]:
    """Bytes of the whole GPU after each stage; without a GPU, this process's peak so far."""
    amounts = campaign.amounts
    yield _taken("before anything")
    model = open_model(campaign, name)
    yield _taken(f"loaded, context {model.decoder.context:,}")
    longest = amounts.contexts[-1]
    for tokens in (0, amounts.decoded):
        list(decode(model, longest, tokens))
        yield _taken(f"{longest:,} tokens read{f', {tokens} decoded' if tokens else ''}")
    ask(model, PROMPT, drawn_picture(campaign.models), tokens=2)
    yield _taken("a picture asked about")
    kept = model.decoder.new_cache()
    yield _taken(f"a second KV cache of {kept.shape[3]:,}")
    expected = expected_memory(model.config, campaign.gpu)
    yield Finding(
        "expected by llava_edge.runtime.expected_memory, without a cache",
        expected.loaded / 1e9,
        "GB",
    )


def measure_limited(campaign: Campaign, name: str, gigabytes: str) -> Iterator[Finding | LeftOut]:
    """The model in so many GB: whether it loads, with which context, and its speed."""
    found = gpu_memory() if campaign.device == "cuda" else None
    limit = int(gigabytes) * 10**9
    if found is None or found.total < limit:
        why = "there is no GPU" if found is None else f"it has {found.total / 1e9:.0f} GB itself"
        yield LeftOut(f"a GPU of {gigabytes} GB", why)
        return
    with held(found.total - limit):
        yield _taken("before anything, the rest held")
        try:
            model = open_bundle(bundle_of(campaign, name), campaign.device)
        except LlavaEdgeError as error:
            yield Finding(f"load in {gigabytes} GB", words=f"refused: {error}")
            return
        yield Finding("context", model.decoder.context, "tokens", words=" ".join(model.notes))
        yield _taken("loaded")
        yield from _speed(campaign, model)
        yield _taken("prompts read and tokens decoded")


def _speed(campaign: Campaign, model: Llava) -> Iterator[Finding]:
    amounts, room = campaign.amounts, model.decoder.context - campaign.amounts.decoded
    for context in (context for context in amounts.contexts if context <= room):
        list(decode(model, context, 2))
        yield from timings(decode(model, context, amounts.decoded), None)
    ask(model, PROMPT, drawn_picture(campaign.models), tokens=2)


def _taken(stage: str) -> Finding:
    found = gpu_memory()
    taken = found.total - found.free if found else peak_memory() or 0
    return Finding(f"taken: {stage}", taken / 1e9, "GB")


@contextmanager
def held(size: int) -> Iterator[None]:
    """Hold so many bytes of the first GPU's memory, taken from the driver."""
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    place, context, device = ctypes.c_uint64(), ctypes.c_void_p(), ctypes.c_int()

    def call(name: str, *arguments: object) -> None:
        if code := getattr(driver, name)(*arguments):
            raise DeviceError(
                f"{size / 1e9:.0f} GB of the GPU's memory could not be held ({name}: {code}); end "
                "the other programs there."
            )

    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxPushCurrent_v2", context)
    call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(size))
    call("cuCtxPopCurrent_v2", ctypes.byref(context))
    try:
        yield
    finally:
        call("cuCtxPushCurrent_v2", context)
        call("cuMemFree_v2", place)
        call("cuCtxPopCurrent_v2", ctypes.byref(context))
