"""A GPU that is none: its graph is run by the CPU's provider, all else is as on a GPU."""

from dataclasses import replace

from llava_edge.runtime.devices.device import CPU

IMITATED = replace(CPU, name="imitated", graph="gpu", separate=True, records=True)
