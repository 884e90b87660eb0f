"""What PyInstaller cannot see of an app that runs bundles, since it is imported by name or read.

https://pyinstaller.org/en/stable/hooks.html#provide-hooks-with-package
"""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs, copy_metadata

from llava_edge.runtime.devices.device import GPUS

plugins = [gpu.plugin for gpu in GPUS if gpu.plugin and find_spec(gpu.plugin) is not None]
hiddenimports = ["onnxruntime", *plugins]
binaries = [library for plugin in plugins for library in collect_dynamic_libs(plugin)]
datas = collect_data_files("llava_edge", excludes=["**/export/**", "**/train/**"])
if find_spec("llguidance") is not None:  # it reads its own version from there as it is imported
    datas += copy_metadata("llguidance")
