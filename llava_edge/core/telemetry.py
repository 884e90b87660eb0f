"""Telemetry of the libraries underneath, which is off unless the user's own setting is there."""

import os

# onnxruntime keeps a device id and a database in the user's cache and looks for a host of
# Microsoft's; huggingface_hub tells the hub about the machine and what runs there.
SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def switch_off_telemetry() -> None:
    """Set the variables that the libraries read as they are imported, where they are not set."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
