"""A bundle is inspected: its files are whole or it is refused, and its memory is estimated."""

import shutil
from pathlib import Path

import pytest

import llava_edge
from llava_edge.core.bundle import read_bundle
from llava_edge.export.export import export
from llava_edge.runtime.expected_memory import expected_memory


def test_what_a_bundle_is(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = llava_edge.inspect(tiny_bundle)
    assert (found.path, found.config) == (tiny_bundle, read_bundle(tiny_bundle))
    assert found.memory == expected_memory(found.config)
    assert found.gpu_memory is not None
    assert found.gpu_memory.kv_cache_per_token == found.memory.kv_cache_per_token // 2
    monkeypatch.setenv("LLAVA_EDGE_BUNDLE", str(tiny_bundle))
    assert llava_edge.inspect() == found


def test_a_bundle_without_graphs_for_a_gpu(tiny_checkpoint: Path, tmp_path: Path) -> None:
    export(tiny_checkpoint, tmp_path / "bundle", devices=("cpu",))
    assert llava_edge.inspect(tmp_path / "bundle").gpu_memory is None


def test_every_file_is_read(tiny_bundle: Path, tmp_path: Path) -> None:
    for name in read_bundle(tiny_bundle).files:
        altered = Path(shutil.copytree(tiny_bundle, tmp_path / name))
        data = bytearray((altered / name).read_bytes())
        data[-1] ^= 1
        (altered / name).write_bytes(data)
        with pytest.raises(llava_edge.BundleError, match=f"{name} was altered"):
            llava_edge.inspect(altered)
