"""Execution providers that come as packages of their own, beside any onnxruntime."""

from importlib import import_module
from importlib.util import find_spec

from llava_edge.core.extras import install_command
from llava_edge.errors import DeviceError
from llava_edge.runtime.devices.device import Device, onnxruntime_library, reason

_registered: set[str] = set()


def register_plugin(device: Device) -> None:
    """Make a device's provider known to onnxruntime, once in a process.

    Raises DeviceError where its package is missing or broken, or finds nothing to run on.
    """
    onnxruntime = onnxruntime_library()
    if find_spec(device.plugin) is None:
        raise DeviceError(
            f"The device {device.name} needs {device.plugin.replace('_', '-')}, which is not "
            f"installed; run `{install_command(device.extra)}`."
        )
    try:
        plugin = import_module(device.plugin)
        if device.plugin not in _registered:
            # It stays: a session that outlives its library ends the process.
            onnxruntime.register_execution_provider_library(
                f"llava-edge.{device.name}", plugin.get_library_path()
            )
            _registered.add(device.plugin)
        found = [one for one in onnxruntime.get_ep_devices() if one.ep_name == plugin.get_ep_name()]
    except Exception as error:  # onnxruntime's errors share no narrower base
        raise DeviceError(
            f"{device.plugin.replace('_', '-')} does not start ({reason(error)}); install it anew, "
            "or choose another device."
        ) from error
    if not found:
        raise DeviceError(
            f"{device.plugin.replace('_', '-')} finds nothing here that it can run on; install "
            "your graphics card's driver, or choose another device."
        )
