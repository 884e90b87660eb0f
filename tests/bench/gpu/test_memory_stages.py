"""A GPU with less memory is a GPU whose memory is held."""

import ctypes

import pytest

from llava_edge.bench.gpu.memory_stages import held
from llava_edge.errors import DeviceError


def test_memory_is_held_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    class Driver:
        def __getattr__(self, name: str) -> object:
            def call(*arguments: object) -> int:
                called.append(name)
                return 2 if name == "cuMemAlloc_v2" and arguments[1].value > 10**9 else 0  # type: ignore[attr-defined]

            return call

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    with held(10**9):
        assert "cuMemAlloc_v2" in called and "cuMemFree_v2" not in called
    assert "cuMemFree_v2" in called
    with pytest.raises(DeviceError, match="2 GB of the GPU's memory could not be held"):
        with held(2 * 10**9):
            pass
