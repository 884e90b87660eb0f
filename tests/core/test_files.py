"""Files are written whole or not at all."""

import hashlib
import os
import stat
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from safetensors.numpy import save_file

from llava_edge.core.files import open_to_others, sha256_of, write_atomically


@pytest.mark.parametrize("content", ["", "wörds\n", b"\x00\xff", b"x" * 2**21])
def test_a_file_is_written_and_known_by_its_sum(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "file"
    path.write_text("what was there before")
    write_atomically(path, content)
    data = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == data
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_what_was_for_the_owner_alone_gets_the_umasks_modes(tmp_path: Path, umask: int) -> None:
    folder = Path(mkdtemp(dir=tmp_path))
    save_file({"a": np.zeros(2)}, folder / "a.safetensors")
    (folder / "inner").mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        open_to_others(folder)
    finally:
        os.umask(before)
    assert _mode(folder) == _mode(folder / "inner") == 0o777 & ~umask
    assert _mode(folder / "a.safetensors") == 0o666 & ~umask
    assert sorted(path.name for path in folder.iterdir()) == ["a.safetensors", "inner"]
    assert list(tmp_path.iterdir()) == [folder]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


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
