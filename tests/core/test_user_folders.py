"""The program's own folders are where each system expects them."""

import sys
from pathlib import Path

import pytest

from llava_edge.core.user_folders import cache_folder, data_folder


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's custom")
def test_linux_has_variables_and_places_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder() == tmp_path / "data" / "llava-edge"
    assert cache_folder() == tmp_path / "cache" / "llava-edge"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert data_folder() == tmp_path / "home/.local/share/llava-edge"
    assert cache_folder() == tmp_path / "home/.cache/llava-edge"


def test_asking_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert data_folder().name and cache_folder().name
    assert not list(tmp_path.iterdir())
