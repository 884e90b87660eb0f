"""A model by name comes from the hub, for which a server of our own stands that speaks alike."""

import errno
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import CHUNK, NAME, Hub, serving, settings
from tiny import write_llava

from llava_edge.errors import CheckpointError
from llava_edge.hub.fetching import is_unreachable
from llava_edge.hub.find_model import find_model, hub_name


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, type[Hub]]]:
    folder = tmp_path / "served"
    folder.mkdir()
    write_llava(folder)
    (folder / "pytorch_model.bin").write_bytes(b"the same again")
    (folder / "README.md").write_text("not needed")
    with serving(folder) as found:
        yield found


def find(
    endpoint: str, cache: Path, name: str = NAME, **variables: str
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, since the hub's client reads its settings when it is imported."""
    program = (
        "import sys; from llava_edge.errors import CheckpointError\n"
        "from llava_edge.hub.find_model import find_model\n"
        "try: print(find_model(sys.argv[1]))\n"
        "except CheckpointError as error: sys.exit(str(error))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, name],
        env={**os.environ, **settings(endpoint, cache), **variables},
        capture_output=True,
        text=True,
    )


def test_a_model_is_fetched_once(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    endpoint, handler = hub
    first = find(endpoint, tmp_path / "cache")
    assert first.returncode == 0, first.stderr
    folder = Path(first.stdout.strip())
    assert hub_name(folder) == NAME
    assert hub_name(tmp_path / "cache") is None
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    weights = (handler.folder / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == weights
    handler.sent.clear()
    assert find(endpoint, tmp_path / "cache").stdout == first.stdout
    assert not handler.sent


def test_a_download_that_broke_off_goes_on(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    endpoint, handler = hub
    weights = os.urandom(3 * CHUNK)
    (handler.folder / "model.safetensors").write_bytes(weights)
    handler.breaks.append("model.safetensors")
    done = find(endpoint, tmp_path / "cache")
    assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == weights
    starts = [start for name, start in handler.sent if name == "model.safetensors"]
    assert starts == [0, CHUNK]


def test_what_was_fetched_is_found_without_a_connection(
    hub: tuple[str, type[Hub]], tmp_path: Path
) -> None:
    endpoint, _ = hub
    fetched = find(endpoint, tmp_path / "cache")
    again = find("http://127.0.0.1:9", tmp_path / "cache")
    assert again.stdout == fetched.stdout, again.stderr


@pytest.mark.parametrize(
    ("endpoint", "name", "message"),
    [
        (None, "nobody/nothing", "nor such a model on the Hugging Face hub"),
        (None, "somebody/gated", "accepted its terms"),
        ("http://127.0.0.1:9", NAME, "check the connection"),
    ],
)
def test_what_cannot_be_fetched(
    hub: tuple[str, type[Hub]], tmp_path: Path, endpoint: str | None, name: str, message: str
) -> None:
    done = find(endpoint or hub[0], tmp_path / "cache", name)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["somebody/down", "somebody/garbled"])
def test_a_hub_in_disorder_is_told(hub: tuple[str, type[Hub]], tmp_path: Path, name: str) -> None:
    done = find(hub[0], tmp_path / "cache", name)
    reason = {"somebody/down": "503", "somebody/garbled": "Expecting value"}[name]
    assert done.returncode == 1
    assert reason in done.stderr.splitlines()[-1]


def test_a_broken_encryption_is_not_told_as_silence(
    hub: tuple[str, type[Hub]], tmp_path: Path
) -> None:
    find(hub[0], tmp_path / "cache")
    done = find(hub[0].replace("http:", "https:"), tmp_path / "cache")
    assert done.returncode == 1
    assert "SSL" in done.stderr.splitlines()[-1] and "connection" not in done.stderr


def test_a_cache_that_cannot_be_written_is_told(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, and no folder")
    done = find(hub[0], tmp_path / "cache")
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert "Not a directory" in told and "correct that" in told and "connection" not in told


def test_the_switch_for_no_network_is_named(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    done = find(hub[0], tmp_path / "cache", HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and "HF_HUB_OFFLINE" in done.stderr.splitlines()[-1]
    fetched = find(hub[0], tmp_path / "cache")
    assert find(hub[0], tmp_path / "cache", HF_HUB_OFFLINE="1").stdout == fetched.stdout


def test_a_fault_of_a_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", broken)
    with pytest.raises(TypeError, match="a bug"):
        find_model(NAME)


@pytest.mark.parametrize(
    ("below", "unreachable"),
    [
        (ConnectionRefusedError(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (socket.gaierror(), True),
        (OSError(errno.ENETUNREACH, ""), True),
        (ssl.SSLCertVerificationError(), False),
        (PermissionError(), False),
        (OSError(errno.ENOSPC, ""), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_silence_is_known_by_what_lies_below(below: Exception, unreachable: bool) -> None:
    """As the libraries for HTTP wrap it, each in its own errors."""
    try:
        try:
            raise below
        except Exception as error:
            raise RuntimeError("of the library") from error
    except RuntimeError as error:
        assert is_unreachable(error) == unreachable


def test_a_folder_is_a_folder(tmp_path: Path) -> None:
    assert find_model(str(tmp_path)) == tmp_path
    with pytest.raises(CheckpointError, match=r"There is no folder \./nowhere; give a checkpoint"):
        find_model("./nowhere")
    with pytest.raises(CheckpointError, match="with --base, or the hub's org/name"):
        find_model(tmp_path / "nowhere", "--base")
