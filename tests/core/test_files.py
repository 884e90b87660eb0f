"""Files are written whole or not at all."""

import hashlib
import os
from pathlib import Path
from stat import S_IMODE

import numpy as np
import pytest
from safetensors.numpy import save_file

from llava_edge.core.files import obey_umask, sha256_of, write_atomically


@pytest.mark.parametrize("content", ["", "wörds\n", b"\x00\xff", b"x" * 2**21])
def test_a_file_is_written_and_known_by_its_sum(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "file"
    path.write_text("what was there before")
    write_atomically(path, content)
    data = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == data
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError):
        write_atomically(folder, "a file in the place of a folder")
    assert path.read_text() == "before"
    assert sorted(tmp_path.iterdir()) == [path, folder]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_get_the_mode_that_the_umask_asks_for(umask: int, tmp_path: Path) -> None:
    save_file({"a": np.zeros(3)}, tmp_path / "private.safetensors")
    before = os.umask(umask)
    try:
        obey_umask(tmp_path)
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["private.safetensors"]
    assert S_IMODE((tmp_path / "private.safetensors").stat().st_mode) == 0o666 & ~umask
