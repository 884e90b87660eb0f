"""The models of a campaign: random checkpoints of a shape, and their bundles.

`measure` is the part that makes them and measures what that costs.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llava_edge.bench.call_runtime import timed
from llava_edge.bench.gpu.campaign import Campaign
from llava_edge.bench.gpu.device_limits import limits
from llava_edge.bench.gpu.findings import Finding
from llava_edge.bench.random_checkpoint import write_random_checkpoint
from llava_edge.bench.roofline import Roofline, roofline
from llava_edge.core.bundle import read_bundle
from llava_edge.core.bundle_config import DeviceName
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.devices.onnx_session import prepare
from llava_edge.runtime.model import Llava

if TYPE_CHECKING:
    from llava_edge.export.quantization.precision import Method

ASYMMETRIC = "-asymmetric"  # ends the name of a bundle that has zero points


def checkpoint_of(campaign: Campaign, name: str) -> Path:
    """The folder of a model's checkpoint."""
    return campaign.models / name


def bundle_of(campaign: Campaign, name: str) -> Path:
    """The folder of a model's bundle."""
    return campaign.models / f"{name}-bundle"


def measure(campaign: Campaign, name: str) -> Iterator[Finding]:
    """Make a checkpoint, if there is none yet, and its bundle for GPUs."""
    model = name.removesuffix(ASYMMETRIC)
    checkpoint = checkpoint_of(campaign, model)
    if not checkpoint.exists():
        seconds, _ = timed(lambda: make_checkpoint(campaign, model))
        yield Finding(f"{model}: writing random weights", seconds, "s")
    bundle, symmetric = bundle_of(campaign, name), not name.endswith(ASYMMETRIC)
    devices: tuple[DeviceName, ...] = ("gpu",) if campaign.device == "cuda" else ("cpu", "gpu")
    seconds, _ = timed(
        lambda: make_bundle(checkpoint, bundle, method="rtn", symmetric=symmetric, devices=devices)
    )
    config = read_bundle(bundle)
    size = config.size
    yield Finding(f"{name}: export", seconds, "s")
    yield Finding(f"{name}: size", size / 1e9, "GB")
    yield Finding(f"{name}: bits a weight", config.quantization.bits_per_weight)


def make_checkpoint(campaign: Campaign, name: str) -> Path:
    """Write random weights of a shape, whole or not at all."""
    target = checkpoint_of(campaign, name)
    growing = target.with_name(f".{name}")
    shutil.rmtree(growing, ignore_errors=True)
    write_random_checkpoint(growing, campaign.shape(name))
    return growing.rename(target)


def make_bundle(
    checkpoint: Path,
    bundle: Path,
    *,
    method: "Method",
    symmetric: bool = True,
    devices: tuple[DeviceName, ...] = ("gpu",),
    cache_bits: Literal[8, 16] = 16,
) -> None:
    """Export without verifying it."""
    from llava_edge.export.export import Check, export
    from llava_edge.export.quantization.precision import Precision

    precision = Precision(method, symmetric=symmetric, gpu_cache_bits=cache_bits)
    export(checkpoint, bundle, precision=precision, devices=devices, check=Check(False), force=True)


def open_on(bundle: Path, device: Device, context: int) -> Llava:
    """Open a bundle on a device; its files were checked when they were written."""
    prepare(device)
    config = read_bundle(bundle)
    return Llava.from_path(bundle, config, device, min(context, config.decoder.context_length))


def open_model(campaign: Campaign, name: str) -> Llava:
    """Open a model of the campaign on its GPU."""
    return open_on(bundle_of(campaign, name), campaign.gpu, campaign.amounts.context)


def roofline_of(campaign: Campaign, model: Llava) -> Roofline | None:
    """A model's roofline by the limits that were measured; None if they were not."""
    found = limits(campaign)
    return None if found is None else roofline(model, found[0], floats=found[1])
