"""Files are written whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from llava_edge.core.files import sha256_of, write_atomically


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
